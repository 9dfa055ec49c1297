"""The same faults at native scale, through the whole service: what is left of a gain in a large photo.

A photo smaller than a size is mirrored out to it, never enlarged: enlarged photos hold no detail at the scale of their
pixels, so that a blur of one pixel would cost nothing and mending it gain nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from model_training.evaluation.classical import Enhance
from model_training.evaluation.faults.domains import Domain, Photo
from model_training.evaluation.faults.kinds import Fault, damaged
from model_training.evaluation.psnr import psnr
from model_training.runs.progress import Start, silent
from service.engine.engine import EngineOptions
from service.errors import DataError
from service.imaging.codecs import decode, encode
from service.pipeline.enhancer import Enhancer
from service.quality.pyramid import Image
from service.registry.store import ModelStore
from service.serving.single_model import SingleModel

WORKING = "working size"
NATIVE_SIZES = ((1280, 720), (1920, 1080))
"""(width, height): a video frame of an older and of a newer camera."""


@dataclass(frozen=True, slots=True)
class NativeTrial:
    """One photo under one fault through the service at one size; `size` is `WORKING` or WIDTHxHEIGHT."""

    model: str
    domain: str
    fault: str
    photo: str
    size: str
    psnr_in_db: float
    psnr_db: float

    @property
    def gain_db(self) -> float:
        """How much closer to the clean photo the service came, in dB."""
        return self.psnr_db - self.psnr_in_db


def model_folder(path: Path) -> Path:
    """The folder models/<name>/<version> that `path` (itself or its model.onnx) means.

    Raises:
        DataError: it has no card, without which the service loads no model.
    """
    folder = (path if path.is_dir() else path.parent).resolve()
    if not (folder / "card.json").is_file() or not (folder / "model.onnx").is_file():
        raise DataError(
            f"{path} cannot go through the service: give the folder NAME/VERSION with its model.onnx and card.json."
        )
    return folder


@contextmanager
def served(folder: Path) -> Iterator[Enhance]:
    """The whole way of a request, as the service goes it with the model in `folder`, on one core.

    Raises:
        ModelError: the model cannot be served.
    """
    reference = f"{folder.parent.name}/{folder.name}"
    options = EngineOptions(device="cpu", threads=1, streams=1)
    with SingleModel(ModelStore(folder.parent.parent), reference, options) as model:
        enhancer = Enhancer(model)
        yield lambda image: decode(enhancer.enhance(encode(image, "bmp")).body).pixels


def at_native_size(photo: Image, size: tuple[int, int]) -> Image:
    """`photo` cut about its middle and mirrored out to `size` = (width, height), its pixels as they are."""
    width, height = size
    top, left = (max(0, (side - target) // 2) for side, target in zip(photo.shape[:2], (height, width), strict=True))
    cut = photo[top : top + height, left : left + width]
    down, across = height - cut.shape[0], width - cut.shape[1]
    edges = (down // 2, down - down // 2, across // 2, across - across // 2)
    return np.ascontiguousarray(cv2.copyMakeBorder(cut, *edges, cv2.BORDER_REFLECT))


def run_native(
    models: dict[str, Path],
    domains: Sequence[Domain],
    faults: Sequence[Fault],
    *,
    sizes: Sequence[tuple[int, int]] = NATIVE_SIZES,
    photos: int = 1,
    seed: int = 1,
    start: Start = silent,
) -> list[NativeTrial]:
    """Every trial of the first `photos` of each domain at working size and at `sizes`, in this order.

    `models`: folders of models by the name they have in tables. Clean photos are not asked: nothing can be gained.

    Raises:
        ModelError: a model cannot be served.
    """
    targets = [None, *sizes]
    mendable = [fault for fault in faults if fault.kind != "clean"]
    asked = [(d, p, f) for d in domains for p in d.photos[:photos] for f in mendable if d.asks(f)]
    advance, found = start(len(asked) * len(targets)), list[NativeTrial]()
    with ExitStack() as stack:
        enhancers = {name: stack.enter_context(served(folder)) for name, folder in models.items()}
        for domain, photo, fault in asked:
            for size in targets:
                clean = _clean(photo, size)
                bad = damaged(clean, fault, seed, key=photo.name)
                for name, enhance in enhancers.items():
                    made, title = enhance(bad), WORKING if size is None else f"{size[0]}x{size[1]}"
                    before, after = psnr(bad, clean), psnr(made, clean)
                    found.append(NativeTrial(name, domain.name, fault.name, photo.name, title, before, after))
                advance()
    return found


def _clean(photo: Photo, size: tuple[int, int] | None) -> Image:
    return photo.at_working_size() if size is None else at_native_size(photo.pixels, size)
