"""Fits the network that finds the worst region (`service.quality.change_detector`) to harmless changes and faults.

An example is a pair of versions of one clean photo. Half of them differ by light, sharpness, noise, file or a whole
degradation only, in either direction; in the other half a fault was planted in one of the two first. The network
says for each position whether structure departs there; the loss asks that of every position, and of the worst one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from model_training.data.degradation import HELD_OUT, TRAINING, degrade
from model_training.evaluation.images import resized
from model_training.guardrail import faults
from model_training.guardrail.fitting import changed, fit_network, worst_and_each
from model_training.runs.progress import Start, silent
from service.errors import DataError
from service.quality.change_detector import CHANNELS, evidence
from service.quality.pyramid import Image

SIZE = (480, 272)
WIDTH = 24
"""Channels of the hidden layers."""

FAULTY_SHARE = 0.55
VISIBLE_LEVELS = 9
"""A planted fault must change some place, averaged over sigma 4 px, by this many grey levels to count as one."""

MARKED_LEVELS = 6
"""Regions that changed by more than this are where the fault is."""

POSITION_WEIGHT = 0.5


@dataclass(frozen=True, slots=True)
class Examples:
    """Pairs as the network sees them.

    Attributes:
        maps: (N, 34, h, w) float16 evidence.
        marks: (N, h, w) float16 in [0, 1], where the fault is.
        faulty: (N,) bool.
    """

    maps: NDArray[np.float16]
    marks: NDArray[np.float16]
    faulty: NDArray[np.bool_]


class Detector(nn.Module):
    """The network of `service.quality.change_detector`. Shape: (B, 34, h, w) evidence -> (B, h, w) logits."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(CHANNELS, WIDTH, 3, padding=1, padding_mode="replicate")
        self.second = nn.Conv2d(WIDTH, WIDTH, 3, padding=1, padding_mode="replicate")
        self.last = nn.Conv2d(WIDTH, 1, 1)

    def forward(self, maps: Tensor) -> Tensor:
        """Logits that structure departs at each position."""
        hidden = F.relu(self.second(F.relu(self.first(maps))))
        return torch.squeeze(self.last(hidden), 1)


def make_examples(photos: Sequence[Image], count: int, seed: int, start: Start = silent) -> Examples:
    """`count` pairs made of clean `photos`, (H, W, 3) uint8 RGB; one seed, one set.

    Raises:
        DataError: no photo.
    """
    if not photos:
        raise DataError("The detector needs clean photos to make its examples of.")
    generator = np.random.default_rng(seed)
    advance = start(count)
    maps, marks, faulty = [], [], []
    for _ in range(count):
        photo = _view(photos[int(generator.integers(len(photos)))], generator)
        planted, mark = _planted(photo, generator) if generator.random() < FAULTY_SHARE else (photo, None)
        maps.append(evidence(*_versions(photo, planted, generator)).astype(np.float16))
        marks.append(np.zeros(maps[-1].shape[1:], np.float16) if mark is None else _on_grid(mark, maps[-1].shape))
        faulty.append(mark is not None)
        advance()
    return Examples(np.stack(maps), np.stack(marks), np.array(faulty))


def _view(photo: Image, generator: np.random.Generator) -> Image:
    """The photo squeezed to 480x272 or cut to its shape, perhaps mirrored."""
    height = round(photo.shape[1] * SIZE[1] / SIZE[0])
    if generator.random() < 0.5 and height <= photo.shape[0]:
        top = int(generator.integers(photo.shape[0] - height + 1))
        photo = photo[top : top + height]
    view = resized(photo, SIZE)
    if generator.random() < 0.5:
        view = view[:, ::-1]
    return np.ascontiguousarray(view[::-1] if generator.random() < 0.3 else view)


def _planted(photo: Image, generator: np.random.Generator) -> tuple[Image, NDArray[np.float32] | None]:
    """The photo with a visible fault, and how many grey levels each pixel changed; a few tries, then none."""
    for _ in range(4):
        changed = _plant(photo, generator)
        levels = np.abs(changed.astype(np.int16) - photo).max(axis=2).astype(np.float32)
        if cv2.GaussianBlur(levels, (0, 0), 4).max() > VISIBLE_LEVELS:
            return changed, levels
    return photo, None


def _plant(photo: Image, generator: np.random.Generator) -> Image:
    """More than half are lesions: they are the smallest fault that matters."""
    kind, between = generator.random(), generator.uniform
    if kind < 0.55:
        depth = between(0.2, 0.5) * (1 if generator.random() < 0.8 else -1)
        return faults.lesion(photo, generator, sigma_px=between(4, 14), depth=depth)
    if kind < 0.67:
        return faults.moved(photo, generator, shift_px=between(4, 8), reach_px=between(12, 24))
    if kind < 0.79:
        return faults.inpainted(photo, generator, radius_px=between(9, 18))
    if kind < 0.9:
        return faults.pasted(photo, generator, radius_px=between(10, 20))
    return faults.warp(photo, between(18, 35), generator)


def _versions(photo: Image, planted: Image, generator: np.random.Generator) -> tuple[Image, Image]:
    """Two versions of one photo, one of them made from `planted`, either of them the output."""
    kind = generator.random()
    if kind < 0.5:
        versions = [photo, changed(planted, generator, 1 if kind < 0.4 else 2)]
    elif kind < 0.53:
        versions = [photo, planted]
    elif kind < 0.92:
        versions = [photo, _degraded(planted, generator)]
    else:
        versions = [changed(photo, generator, 2), _degraded(planted, generator)]
    if generator.random() < 0.5:
        versions.reverse()
    return versions[0], versions[1]


def _degraded(photo: Image, generator: np.random.Generator) -> Image:
    recipe = TRAINING if generator.random() < 0.7 else HELD_OUT
    strength = float(generator.choice([1.0, 0.6, 0.3]))
    return degrade(photo, int(generator.integers(1 << 30)), recipe=recipe, strength=strength)


def _on_grid(levels: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float16]:
    marked = (cv2.GaussianBlur(levels, (0, 0), 3) > MARKED_LEVELS).astype(np.float32)
    size = (shape[2], shape[1])
    return np.asarray(cv2.resize(marked, size, interpolation=cv2.INTER_AREA), np.float16)


def fit_detector(examples: Examples, epochs: int, seed: int, start: Start = silent) -> Detector:
    """A detector fitted to `examples` in `epochs` passes; the same on the same machine for the same seed."""
    parts = (examples.maps, examples.marks, examples.faulty)
    return fit_network(Detector, _loss, parts, epochs=epochs, seed=seed, start=start)


def _loss(detector: Detector, maps: Tensor, marks: Tensor, faulty: Tensor) -> Tensor:
    return detector_loss(detector(maps), marks, faulty)


def detector_loss(logits: Tensor, marks: Tensor, faulty: Tensor) -> Tensor:
    """Cross-entropy of the worst region against `faulty` (B,), plus that of positions surely in or out of a fault."""
    return worst_and_each(logits, faulty, marks > 0.5, marks < 0.01, weight=POSITION_WEIGHT)
