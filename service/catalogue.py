"""What `lamegan models` does: lists, verifies and activates the installed models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from service.app import engine_loader, model_store
from service.errors import UnknownModel
from service.registry.store import self_test
from service.settings import Settings


@dataclass(frozen=True, slots=True)
class Entry:
    """An installed model as the list shows it."""

    reference: str
    active: bool
    size_bytes: int | None
    parameters: int | None
    fault: str | None

    def facts(self) -> dict[str, object]:
        """The same for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Verification:
    """A model that passed: where it ran, and how far it was from its golden image."""

    reference: str
    provider: str
    difference: int

    @property
    def words(self) -> str:
        """The same in one sentence."""
        levels = "grey level" if self.difference == 1 else "grey levels"
        return (
            f"{self.reference} is sound: digest right, self-test within {self.difference} {levels} on {self.provider}."
        )


def catalogue(settings: Settings) -> list[Entry]:
    """Every installed model, with the default one marked."""
    store = model_store(settings)
    history = store.history()
    try:
        active = store.resolve(history[-1] if history else settings.model)
    except UnknownModel:
        active = ""
    return [
        Entry(
            reference=found.reference,
            active=found.reference == active,
            size_bytes=found.card.file.size_bytes if found.card else None,
            parameters=found.card.network.parameters if found.card else None,
            fault=found.fault,
        )
        for found in store.installed()
    ]


def as_table(entries: Sequence[Entry]) -> str:
    """A line a model: `*` marks the default."""
    if not entries:
        return "No model is installed."
    width = max(len(entry.reference) for entry in entries)
    return "\n".join(
        f"{'*' if entry.active else ' '} {entry.reference:{width}}  "
        + (entry.fault or f"{entry.parameters:>12,} parameters  {(entry.size_bytes or 0) / 1e6:8.2f} MB")
        for entry in entries
    )


def verify(settings: Settings, reference: str) -> Verification:
    """Load the model and run its golden self-test.

    Raises:
        LameganError: it is unknown, invalid, corrupt, or fails its test.
    """
    store = model_store(settings)
    card = store.card(store.resolve(reference))
    engine = engine_loader(settings)(store.weights(card))
    try:
        return Verification(card.reference, engine.provider, self_test(card, engine.run))
    finally:
        engine.close()


def activate(settings: Settings, reference: str) -> str:
    """Verify the model, then make it the active one and name it; a bad one changes nothing.

    Raises:
        LameganError: as `verify`, or the choice cannot be kept.
    """
    verified = verify(settings, reference)
    model_store(settings).activate(verified.reference)
    return verified.reference
