"""The models on disk: models/<name>/<version>/{model.onnx, card.json}, which one is active, and whether it is sound.

The active model is the last entry of a history kept in `active.json`; rolling back drops that entry. While nothing was
ever activated there is no history, and the newest sound version serves. Nothing here runs a model: a self-test is
handed the function that does.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.durable import write_whole
from service.errors import (
    CommandError,
    InferenceFailed,
    ModelCorrupt,
    ModelError,
    ModelInvalid,
    SelfTestFailed,
    UnknownModel,
)
from service.registry.card import MODEL_REFERENCE, ModelCard, read_card
from service.registry.model_file import ModelFile
from service.registry.signature import TrustedKeys, sign
from service.vocabulary import VARIANT_FILES, Precision

try:
    import fcntl
except ImportError:  # Windows locks no folders
    fcntl = None  # type: ignore[assignment]

WEIGHTS_FILE = "model.onnx"
CARD_FILE = "card.json"
STATE_FILE = "active.json"
HISTORY_LENGTH = 20
"""Activations that can be rolled back."""

Run = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
"""Runs a batch (B, H, W, 3) uint8 RGB through a model."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Installed:
    """A model folder: its reference, and its card or what is wrong with it."""

    reference: str
    card: ModelCard | None
    fault: str | None


class ModelStore:
    """Finds models under one folder and remembers which is active; holds no state but the files."""

    def __init__(self, models_dir: Path, state_dir: Path | None = None, trusted: TrustedKeys | None = None) -> None:
        """`state_dir` is where `active.json` lies; None: in `models_dir`. `trusted`: only what one signed is sound."""
        self._trusted = trusted
        self._models_dir = models_dir
        self.state_file = (state_dir or models_dir) / STATE_FILE

    @property
    def folder(self) -> Path:
        """Where the models are looked for."""
        return self._models_dir.absolute()

    def references(self) -> list[str]:
        """`name/version` of every model folder, by name, newest version first; broken ones too."""
        folders = (f"{folder.parent.name}/{folder.name}" for folder in self._models_dir.glob("*/*/"))
        newest_first = sorted(filter(MODEL_REFERENCE.match, folders), key=_precedence, reverse=True)
        return sorted(newest_first, key=_name)

    def installed(self) -> list[Installed]:
        """Every model folder in the order of `references`; the unsound ones with what is wrong."""
        return [self._inspect(reference) for reference in self.references()]

    def candidates(self, reference: str) -> list[str]:
        """What `reference` may mean, in the order to try.

        That of `name/version` is itself alone; that of a name the version activated last, alone, else every version of
        that name, newest first: the first sound one is meant.

        Raises:
            UnknownModel: no such model is installed.
        """
        if MODEL_REFERENCE.match(reference) is None:
            raise UnknownModel("A model is named as name or name/version.")
        versions = [found for found in self.references() if reference in (found, _name(found))]
        activated = [chosen for chosen in reversed(self.history()) if chosen in versions]
        if not versions:
            raise UnknownModel(f"No model {reference} is installed.")
        return activated[:1] or versions

    def at_start(self, default: str) -> list[str]:
        """What a service that starts now tries as its default model, in this order, until one can be served.

        The activated ones, last first; while nothing was activated, the candidates of the settings' `default`.

        Raises:
            UnknownModel: nothing was activated, and `default` is not installed.
        """
        return list(dict.fromkeys(reversed(self.history()))) or self.candidates(default)

    def first_sound(self, candidates: Iterable[str]) -> str | None:
        """The first of `candidates` whose card is valid and whose weights are those of its card; None otherwise."""
        return next((reference for reference in candidates if self._inspect(reference).fault is None), None)

    def resolve(self, reference: str) -> str:
        """The `name/version` that `reference` means: the first sound one of its candidates.

        Newer ones that are passed over because they are broken are named in a warning. Where none is sound it is the
        first, so that whoever loads it says what is wrong with it.

        Raises:
            UnknownModel: no such model is installed.
        """
        candidates = self.candidates(reference)
        chosen = self.first_sound(candidates) if len(candidates) > 1 else None
        for passed_over in candidates[: candidates.index(chosen)] if chosen else []:
            _log.warning("%s is passed over for %s: %s", passed_over, chosen, self._inspect(passed_over).fault)
        return chosen or candidates[0]

    def card(self, reference: str) -> ModelCard:
        """The card of `name/version`.

        Raises:
            UnknownModel: there is no such folder.
            ModelInvalid: it cannot be read, is not valid, or is another model's.
        """
        folder = self._folder(reference)
        if not folder.is_dir():
            raise UnknownModel(f"No model {reference} is installed.")
        card = read_card(folder / CARD_FILE)
        if card.reference != reference:
            raise ModelInvalid(f"{folder / CARD_FILE}: the card is that of {card.reference}.")
        return card

    def weights(self, card: ModelCard, precision: Precision = "float32") -> bytes:
        """The bytes of the model file, or of a variant; all are those the card was written for.

        Raises:
            ModelInvalid: a file cannot be read, or a variant is in the folder or the card alone, or in neither where it
                is asked for.
            ModelCorrupt: the SHA-256 of one is not the card's.
            ModelUntrusted: signatures are asked for, and no trusted key signed card and weights as they are.
        """
        folder = self._folder(card.reference)
        weights = _verified(folder / WEIGHTS_FILE, card.file)
        if self._trusted is not None:
            self._trusted.check(folder, weights)  # the card's digest is among what is signed, and the variant's in it
        files = {"float32": weights, **_variants(folder, card)}
        if precision not in files:
            raise ModelInvalid(f"{folder}: the model has no {precision} variant; lamegan-train quantise makes one.")
        return files[precision]

    def signer(self, card: ModelCard) -> str | None:
        """The fingerprint of the trusted key that signed the model; None where signatures are not asked for.

        Raises:
            ModelError: as `weights`.
        """
        return self._trusted.check(self._folder(card.reference), self.weights(card)) if self._trusted else None

    def sign(self, reference: str, private_key: Path) -> str:
        """Sign the installed `name/version`, which is sound but for its signature; return the key's fingerprint.

        Raises:
            LameganError: it is not installed or broken, or the key cannot be used.
        """
        ModelStore(self._models_dir).weights(self.card(reference))
        return sign(self._folder(reference), private_key)

    def history(self) -> list[str]:
        """Activated models, oldest first, led by what served before the first; empty when none was ever activated.

        Raises:
            ModelInvalid: the state file cannot be understood.
        """
        try:
            state = json.loads(self.state_file.read_bytes())
            return [str(reference) for reference in state["history"]]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelInvalid(f"{STATE_FILE} cannot be understood; remove it to forget activations.") from error

    def activate(self, reference: str, default: str | None = None) -> str | None:
        """Make the installed `name/version` the active one, durably and atomically; return what rolling back gives.

        `default` is the settings' default model (None: the name in `reference`). The first activation keeps what of it
        served before, to roll back to: the first sound candidate of `default` other than `reference` itself, which may
        be the newest only since its folder was copied in to be activated.

        Raises:
            UnknownModel: it is not installed.
            CommandError: the state cannot be written.
        """
        reference = self.resolve(reference)
        with self._alone():
            history = self.history() or self._served_before(reference, default or _name(reference))
            if not history or history[-1] != reference:
                history = [*history, reference]
                self._remember(history)
            return history[-2] if len(history) > 1 else None

    def roll_back(self) -> str:
        """Return to the model that was active before, or served before the first activation, and name it.

        Raises:
            CommandError: no earlier model, a broken one, or the state cannot be written; nothing changes then.
        """
        with self._alone():
            history = self.history()
            if len(history) < 2:
                raise CommandError("There is no earlier model to roll back to; lamegan models activate chooses one.")
            if fault := self._inspect(history[-2]).fault:
                raise CommandError(f"{history[-2]} cannot serve: {fault} lamegan models activate chooses another.")
            self._remember(history[:-1])
            return history[-2]

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Lock the state's folder, so that of two changes at once neither is lost; without locks, do not."""
        folder: int | None = None
        try:
            with suppress(OSError):
                folder = os.open(self.state_file.parent, os.O_RDONLY)
                if fcntl is not None:
                    fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            if folder is not None:
                os.close(folder)

    def _served_before(self, reference: str, default: str) -> list[str]:
        try:
            others = [candidate for candidate in self.candidates(default) if candidate != reference]
        except UnknownModel:
            return []
        served = self.first_sound(others)
        return [served] if served else []

    def _inspect(self, reference: str) -> Installed:
        try:
            card = self.card(reference)
            self.weights(card)
        except (ModelError, UnknownModel) as error:
            return Installed(reference, None, error.detail)
        return Installed(reference, card, None)

    def _remember(self, history: list[str]) -> None:
        text = json.dumps({"history": history[-HISTORY_LENGTH:]}, indent=2) + "\n"
        try:
            write_whole(self.state_file, text.encode())
        except OSError as error:
            raise CommandError(
                f"The choice of model cannot be kept ({error.strerror}), so nothing changed; LAMEGAN_STATE_DIR must "
                "name a writable folder with room."
            ) from error

    def _folder(self, reference: str) -> Path:
        if MODEL_REFERENCE.match(reference) is None or "/" not in reference:
            raise UnknownModel("A model is named as name/version.")
        return self._models_dir / reference


def _verified(path: Path, described: ModelFile) -> bytes:
    """The bytes of the file at `path`, which is the one that is described."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelInvalid(f"{path}: the model file cannot be read: {error.strerror}.") from error
    if hashlib.sha256(content).hexdigest() != described.sha256:
        raise ModelCorrupt(f"{path}: the model file is not the one its card describes.")
    return content


def _variants(folder: Path, card: ModelCard) -> dict[str, bytes]:
    """The bytes of the variants that the model has."""
    for precision, name in VARIANT_FILES.items():
        if precision not in card.variants and (folder / name).exists():
            raise ModelInvalid(f"{folder / name}: the card says nothing of it; lamegan-train quantise writes both.")
    return {name: _verified(folder / VARIANT_FILES[name], variant) for name, variant in card.variants.items()}


def self_test(card: ModelCard, run: Run, precision: Precision = "float32") -> int:
    """Run the card's golden image; return the largest difference in grey levels, within the card's tolerance.

    Raises:
        SelfTestFailed: the run fails, or the output differs by more or has another shape.
        ModelInvalid: the card's images cannot be decoded.
    """
    variant = card.variants.get(precision)
    given = _decode(card.golden.input_png)
    expected = _decode(variant.golden_png if variant else card.golden.output_png)
    try:
        actual = run(given[None])[0]
    except InferenceFailed as error:
        raise SelfTestFailed(f"{card.reference} fails on its golden image: {error.detail}") from error
    if actual.shape != expected.shape:
        raise SelfTestFailed(f"{card.reference} gives its golden image another shape.")
    difference = int(np.abs(actual.astype(np.int16) - expected.astype(np.int16)).max())
    if difference > card.golden.tolerance:
        raise SelfTestFailed(
            f"{card.reference} misses its golden image by {difference} grey levels; {card.golden.tolerance} may be.",
            limit=card.golden.tolerance,
            actual=difference,
        )
    return difference


def _decode(png: str) -> NDArray[np.uint8]:
    try:
        with Image.open(BytesIO(base64.b64decode(png, validate=True)), formats=["PNG"]) as image:
            return np.asarray(image.convert("RGB"))
    except (ValueError, OSError) as error:
        raise ModelInvalid("The card's golden image cannot be decoded.") from error


def _name(reference: str) -> str:
    return reference.partition("/")[0]


def _precedence(reference: str) -> tuple[list[int], bool, list[tuple[bool, int, str]]]:
    """Sorting key of versions, the oldest first (SemVer 2.0, clause 11)."""
    core, _, pre = reference.partition("/")[2].partition("-")
    parts = [(False, int(part), "") if part.isdecimal() else (True, 0, part) for part in pre.split(".")]
    return [int(number) for number in core.split(".")], not pre, parts
