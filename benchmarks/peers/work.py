"""The work that every server does: one photo's bytes in, the enhanced photo's bytes out, by this project's Enhancer.

Each library of pixels and numbers gets one thread, because photos run side by side on all cores: measured best for
every peer (more threads make a lone photo up to a fifth quicker and a crowd of them slower).
"""

from __future__ import annotations

import os
from pathlib import Path

import cv2

from service.engine.engine import EngineOptions
from service.pipeline import Enhancer
from service.registry.store import ModelStore
from service.serving.single_model import SingleModel

PHOTO_TYPE = "image/jpeg"


class Work:
    """A loaded model and the whole way of a photo; safe to call from any number of threads."""

    def __init__(self, streams: int = 1) -> None:
        """Load the model that `PEERS_MODEL` names; `streams` photos may be in the generator at the same time."""
        cv2.setNumThreads(1)
        store = ModelStore(Path(os.environ.get("PEERS_MODELS_DIR", "models")))
        model = os.environ.get("PEERS_MODEL", "lamegan-fast")
        self._model = SingleModel(store, model, EngineOptions("cpu", threads=1, streams=streams, precision="auto"))
        self._enhancer = Enhancer(self._model)

    def __call__(self, photo: bytes) -> bytes:
        """The enhanced photo, in its own format."""
        return self._enhancer.enhance(photo).body
