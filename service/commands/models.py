"""What `lamegan models` does: lists, verifies and activates the installed models."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from service.composition import engine_loader, engine_options, model_store, searched_folders
from service.engine.runtime import Provider
from service.errors import CommandError, UnknownModel
from service.registry.card import ModelCard
from service.registry.store import ModelStore, self_test
from service.settings import Settings
from service.vocabulary import Precision

LEGEND = "* is what a service started now would serve by default; a running one serves what it loaded (GET /models)."
NONE_AT_START = "A service started now would have no default model to serve."


@dataclass(frozen=True, slots=True)
class Entry:
    """An installed model as the list shows it.

    Attributes:
        at_start: a service started now would serve it by default; one that runs serves what it loaded.
        fault: what is wrong with its card or weights; None if nothing is.
        calibrated: whether its guardrail is calibrated; None for a broken model.
        eight_bit_bytes, half_bytes: size of its variants; None: there is no such variant.
    """

    reference: str
    at_start: bool
    size_bytes: int | None
    parameters: int | None
    fault: str | None
    calibrated: bool | None
    eight_bit_bytes: int | None = None
    half_bytes: int | None = None

    def facts(self) -> dict[str, object]:
        """The same for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Verification:
    """A model that passed: where it ran, and how far it was from its golden image."""

    reference: str
    provider: str
    difference: int
    calibrated: bool
    variant: tuple[Precision, int] | None = None
    """The same of the variant that runs here; None: the model itself does."""

    @property
    def words(self) -> str:
        """The same in one sentence."""
        levels = "grey level" if self.difference == 1 else "grey levels"
        return (
            f"{self.reference} is sound: digest right, self-test within {self.difference} {levels} on {self.provider}."
            f"{self._of_variant}"
            f"{'' if self.calibrated else ' Its guardrail is not calibrated: built-in thresholds hold.'}"
        )

    @property
    def _of_variant(self) -> str:
        if self.variant is None:
            return ""
        precision, off = self.variant
        return f" Its {precision} variant, which serves here, is within {off} of its own image."


@dataclass(frozen=True, slots=True)
class Activation:
    """What is active now, and what rolling back would return to."""

    reference: str
    before: str | None

    @property
    def words(self) -> str:
        """The same in one sentence."""
        back = f"rollback returns to {self.before}" if self.before else "there is nothing before it to roll back to"
        return f"{self.reference} is active; {back}."


def catalogue(settings: Settings) -> list[Entry]:
    """Every installed model, with the one marked that a service started now would serve by default.

    Sound is what has a valid card and the weights of that card; no self-test is run.
    """
    store = model_store(settings)
    try:
        at_start = store.first_sound(store.at_start(settings.model))
    except UnknownModel:
        at_start = None
    return [
        Entry(
            reference=found.reference,
            at_start=found.reference == at_start,
            size_bytes=found.card.file.size_bytes if found.card else None,
            parameters=found.card.network.parameters if found.card else None,
            fault=found.fault,
            calibrated=found.card.calibrated if found.card else None,
            eight_bit_bytes=found.card.eight_bit.size_bytes if found.card and found.card.eight_bit else None,
            half_bytes=found.card.half.size_bytes if found.card and found.card.half else None,
        )
        for found in store.installed()
    ]


def as_table(entries: Sequence[Entry]) -> str:
    """A line a model, and a last one that says what `*` marks."""
    if not entries:
        return "No model is installed."
    width = max(len(entry.reference) for entry in entries)
    lines = [
        f"{'*' if entry.at_start else ' '} {entry.reference:{width}}  "
        + (
            f"broken: {entry.fault}"
            if entry.fault
            else f"{entry.parameters:>12,} parameters  {(entry.size_bytes or 0) / 1e6:8.2f} MB"
            f"{f'  int8 {entry.eight_bit_bytes / 1e6:.2f} MB' if entry.eight_bit_bytes else ''}"
            f"{f'  float16 {entry.half_bytes / 1e6:.2f} MB' if entry.half_bytes else ''}"
            f"{'' if entry.calibrated else '  guardrail not calibrated'}"
        )
        for entry in entries
    ]
    return "\n".join((*lines, LEGEND if any(entry.at_start for entry in entries) else NONE_AT_START))


def verify(settings: Settings, reference: str) -> Verification:
    """Load the model and run its golden self-test.

    Raises:
        LameganError: it is unknown, invalid, corrupt, or fails its test.
    """
    store = model_store(settings)
    card = store.card(store.resolve(reference))
    provider, difference = _tested(settings, store, card, "float32")
    precision = engine_options(settings).precision_of(card.variants)
    variant = None if precision == "float32" else (precision, _tested(settings, store, card, precision)[1])
    return Verification(card.reference, provider, difference, card.calibrated, variant)


def _tested(settings: Settings, store: ModelStore, card: ModelCard, precision: Precision) -> tuple[Provider, int]:
    """Where the model ran, and how far it was from its golden image."""
    engine = engine_loader(settings)(store.weights(card, precision))
    try:
        return engine.provider, self_test(card, engine.run, precision)
    finally:
        engine.close()


def activate(settings: Settings, reference: str, *, uncalibrated: bool = False) -> Activation:
    """Verify the model, then make it the active one; one that fails changes nothing.

    Raises:
        LameganError: as `verify`, its guardrail is not calibrated and `uncalibrated` does not allow that, or the choice
            cannot be kept.
    """
    verified = verify(settings, reference)
    if not (verified.calibrated or uncalibrated):
        raise CommandError(
            f"{verified.reference} is not activated: its guardrail is not calibrated. Calibrate it with lamegan-train "
            "evaluate PHOTOS --out REPORT --calibrate MODEL, or add --uncalibrated: built-in thresholds hold then."
        )
    before = model_store(settings).activate(verified.reference, settings.model)
    return Activation(verified.reference, before)


@contextmanager
def told_where(settings: Settings) -> Iterator[None]:
    """Adds to the error that there is no such model where it was looked for; clients of a service are not told."""
    try:
        yield
    except UnknownModel as error:
        folders = ", ".join(map(str, searched_folders(settings)))
        raise UnknownModel(
            f"{error.detail} Models were looked for in {folders}; --models-dir or LAMEGAN_MODELS_DIR names another."
        ) from error
