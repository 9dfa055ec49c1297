"""The models on disk: models/<name>/<version>/{model.onnx, card.json}, which one is active, and whether it is sound.

The active model is the last entry of a history kept in `active.json`; rolling back drops that entry. Nothing here runs
a model: a self-test is handed the function that does.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.errors import CommandError, ModelCorrupt, ModelError, ModelInvalid, SelfTestFailed, UnknownModel
from service.registry.card import MODEL_REFERENCE, ModelCard, read_card

WEIGHTS_FILE = "model.onnx"
CARD_FILE = "card.json"
STATE_FILE = "active.json"
HISTORY_LENGTH = 20
"""Activations that can be rolled back."""

Run = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
"""Runs a batch (B, H, W, 3) uint8 RGB through a model."""


@dataclass(frozen=True, slots=True)
class Installed:
    """A model folder: its reference, and its card or what is wrong with it."""

    reference: str
    card: ModelCard | None
    fault: str | None


class ModelStore:
    """Finds models under one folder and remembers which is active; holds no state but the files."""

    def __init__(self, models_dir: Path, state_dir: Path | None = None) -> None:
        """`state_dir` is where `active.json` lies; None: in `models_dir`."""
        self._models_dir = models_dir
        self.state_file = (state_dir or models_dir) / STATE_FILE

    def installed(self) -> list[Installed]:
        """Every model folder, by name, newest version first; broken ones too, with what is wrong."""
        references = [
            f"{folder.parent.name}/{folder.name}"
            for folder in self._models_dir.glob("*/*/")
            if MODEL_REFERENCE.match(f"{folder.parent.name}/{folder.name}")
        ]
        found = []
        for reference in sorted(references, key=_by_name_then_newest):
            try:
                found.append(Installed(reference, self.card(reference), None))
            except ModelError as error:
                found.append(Installed(reference, None, error.detail))
        return found

    def resolve(self, reference: str) -> str:
        """The `name/version` that `reference` means: itself, or the version of that name to serve.

        The version of a name to serve is its last activated one, else the newest installed.

        Raises:
            UnknownModel: no such model is installed.
        """
        if MODEL_REFERENCE.match(reference) is None:
            raise UnknownModel("A model is named as name or name/version.")
        installed = [entry.reference for entry in self.installed()]
        if "/" in reference:
            candidates = [reference]
        else:
            of_this_name = [r for r in (*reversed(self.history()), *installed) if r.startswith(f"{reference}/")]
            candidates = [r for r in of_this_name if r in installed]
        if not candidates or candidates[0] not in installed:
            raise UnknownModel(f"No model {reference} is installed.")
        return candidates[0]

    def card(self, reference: str) -> ModelCard:
        """The card of `name/version`.

        Raises:
            ModelInvalid: it cannot be read, is not valid, or is another model's.
        """
        card = read_card(self._folder(reference) / CARD_FILE)
        if card.reference != reference:
            raise ModelInvalid(f"The card in {reference} is that of {card.reference}.")
        return card

    def weights(self, card: ModelCard) -> bytes:
        """The bytes of the model file, which are those the card was written for.

        Raises:
            ModelInvalid: the file cannot be read.
            ModelCorrupt: its SHA-256 is not the card's.
        """
        try:
            weights = (self._folder(card.reference) / WEIGHTS_FILE).read_bytes()
        except OSError as error:
            raise ModelInvalid(f"The model file of {card.reference} cannot be read: {error.strerror}.") from error
        if hashlib.sha256(weights).hexdigest() != card.file.sha256:
            raise ModelCorrupt(f"The model file of {card.reference} is not the one its card describes.")
        return weights

    def history(self) -> list[str]:
        """Activated models, oldest first; empty when none was ever activated.

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

    def activate(self, reference: str) -> None:
        """Make the installed `name/version` the active one, durably and atomically.

        Raises:
            UnknownModel: it is not installed.
            CommandError: the state cannot be written.
        """
        reference = self.resolve(reference)
        history = self.history()
        if not history or history[-1] != reference:
            self._remember([*history, reference])

    def roll_back(self) -> str:
        """Return to the model that was active before, and name it.

        Raises:
            CommandError: there is none, or the state cannot be written.
        """
        history = self.history()
        if len(history) < 2:
            raise CommandError("There is no earlier activation to roll back to.")
        self._remember(history[:-1])
        return history[-2]

    def _remember(self, history: list[str]) -> None:
        partial = self.state_file.with_suffix(".partial")
        try:
            partial.write_text(json.dumps({"history": history[-HISTORY_LENGTH:]}, indent=2) + "\n", encoding="utf-8")
            partial.replace(self.state_file)
        except OSError as error:
            raise CommandError(
                f"The choice of model cannot be kept ({error.strerror}); set LAMEGAN_STATE_DIR to a writable folder."
            ) from error

    def _folder(self, reference: str) -> Path:
        if MODEL_REFERENCE.match(reference) is None or "/" not in reference:
            raise UnknownModel("A model is named as name/version.")
        return self._models_dir / reference


def self_test(card: ModelCard, run: Run) -> int:
    """Run the card's golden image; answer the largest difference in grey levels, within the card's tolerance.

    Raises:
        SelfTestFailed: the output differs by more, or has another shape.
        ModelInvalid: the card's images cannot be decoded.
    """
    given, expected = _decode(card.golden.input_png), _decode(card.golden.output_png)
    actual = run(given[None])[0]
    if actual.shape != expected.shape:
        raise SelfTestFailed(f"{card.reference} answers its golden image with another shape.")
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


def _by_name_then_newest(reference: str) -> tuple[str, tuple[int, ...], bool, list[int]]:
    """Sorting key; a release comes before its own pre-releases, later ones first (SemVer 2.0, clause 11, in part)."""
    name, version = reference.split("/")
    core, _, pre = version.partition("-")
    numbers = tuple(-int(number) for number in re.findall(r"\d+", core))
    return name, numbers, bool(pre), [-ord(letter) for letter in pre]
