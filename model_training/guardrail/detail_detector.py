"""Fits the network that finds the worst fine detail (`service.quality.detail`) to harmless changes and faults.

An example is a pair of versions of a native-resolution view of one clean photo that differ by light, sharpness, grain,
file or restoration; in half of them a fault was planted last, so that it is seen as sharply as it was made. The network
says for each tile whether detail departs there; the loss asks that of every tile, and of the worst one.
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
from model_training.guardrail import detail_faults
from model_training.guardrail.fitting import changed, fit_network, worst_and_each
from model_training.guardrail.harmless import sharpen
from model_training.runs.progress import Start, silent
from service.errors import DataError
from service.quality.detail import PICTURE_FACTS, TILE_MAPS, TILE_PX, detail_evidence
from service.quality.pyramid import Image

VIEW_PX = 256
WIDTH, SECOND_WIDTH = 32, 16
"""Channels of the hidden layers."""

FAULTY_SHARE = 0.5
VISIBLE_LEVELS = 4.0
"""A planted fault must change some tile by this root mean square of grey levels to count as one."""

MARKED_LEVELS, UNMARKED_LEVELS = 2.5, 0.3
"""Tiles that changed by more than the first are where the fault is; those by less than the second are outside it."""

TILE_WEIGHT = 1.0


@dataclass(frozen=True, slots=True)
class DetailExamples:
    """Pairs as the network sees them.

    Attributes:
        tiles: (N, 18, h, w) float16.
        picture: (N, 10) float32.
        levels: (N, h, w) float16, how many grey levels the fault changed each tile by.
        faulty: (N,) bool.
    """

    tiles: NDArray[np.float16]
    picture: NDArray[np.float32]
    levels: NDArray[np.float16]
    faulty: NDArray[np.bool_]


class DetailDetector(nn.Module):
    """The network of `service.quality.detail`. Shape: (B, 18, h, w) and (B, 10) -> (B, h, w) logits."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(TILE_MAPS + PICTURE_FACTS, WIDTH, 1)
        self.second = nn.Conv2d(WIDTH, SECOND_WIDTH, 1)
        self.last = nn.Conv2d(SECOND_WIDTH, 1, 1)

    def forward(self, tiles: Tensor, picture: Tensor) -> Tensor:
        """Logits that detail departs in each tile."""
        everywhere = picture[:, :, None, None].expand(-1, -1, *tiles.shape[2:])
        hidden = F.relu(self.second(F.relu(self.first(torch.cat([tiles, everywhere], dim=1)))))
        return torch.squeeze(self.last(hidden), 1)


def make_detail_examples(photos: Sequence[Image], count: int, seed: int, start: Start = silent) -> DetailExamples:
    """`count` pairs made of clean `photos`, (H, W, 3) uint8 RGB in native resolution; one seed, one set.

    Raises:
        DataError: no photo.
    """
    if not photos:
        raise DataError("The detector needs clean photos to make its examples of.")
    generator = np.random.default_rng(seed)
    advance = start(count)
    tiles, picture, levels = [], [], []
    for _ in range(count):
        output, input, changed = _pair(_view(photos[int(generator.integers(len(photos)))], generator), generator)
        found, means = detail_evidence(output, input)
        tiles.append(found.astype(np.float16))
        picture.append(means)
        levels.append(changed.astype(np.float16))
        advance()
    marked = np.stack(levels)
    return DetailExamples(np.stack(tiles), np.stack(picture), marked, marked.max(axis=(1, 2)) > 0)


def _view(photo: Image, generator: np.random.Generator) -> Image:
    """A square of the photo, as it is or shrunk by up to a half, perhaps mirrored and turned."""
    height, width = photo.shape[:2]
    least = VIEW_PX / min(height, width)
    scale = max(least, 1.0 if generator.random() < 0.6 else generator.uniform(0.5, 1.0))
    if scale != 1.0:
        size = (max(VIEW_PX, round(width * scale)), max(VIEW_PX, round(height * scale)))
        photo = np.asarray(cv2.resize(photo, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC))
    top, left = (int(generator.integers(side - VIEW_PX + 1)) for side in photo.shape[:2])
    view = np.rot90(photo[top : top + VIEW_PX, left : left + VIEW_PX], int(generator.integers(4)))
    return np.ascontiguousarray(view[:, ::-1] if generator.random() < 0.5 else view)


def _pair(photo: Image, generator: np.random.Generator) -> tuple[Image, Image, NDArray[np.float32]]:
    """(output, input, how much a fault changed each tile): harmless versions, or with a fault in one of them."""
    output, input = _versions(photo, generator)
    if generator.random() >= FAULTY_SHARE:
        return output, input, np.zeros((VIEW_PX // TILE_PX, VIEW_PX // TILE_PX), np.float32)
    for _ in range(3):
        erase = generator.random() < 0.25
        target = input if erase else output
        faulty = _planted(target, generator, only_vessels=erase)
        changed = _tile_levels(faulty, target)
        if changed.max() > VISIBLE_LEVELS:
            return (output, faulty, changed) if erase else (faulty, input, changed)
    return output, input, np.zeros_like(changed)


def _planted(photo: Image, generator: np.random.Generator, *, only_vessels: bool) -> Image:
    kind, between = 0.0 if only_vessels else generator.random(), generator.uniform
    if kind < 0.5:
        width = between(1, 3.5)
        return detail_faults.vessel(
            photo, generator, width_px=width, depth=between(0.15, 0.3) + 0.2 / width, length_px=between(24, 60)
        )
    if kind < 0.65:
        return detail_faults.halo(photo, generator, amount=between(3, 7))
    if kind < 0.78:
        return detail_faults.blotches(photo, generator, levels=between(4, 12), sigma_px=between(1, 2.5))
    if kind < 0.88:
        return detail_faults.amplified(photo, generator, gain=between(3, 9))
    period = int(generator.choice([2, 4, 8]))
    return detail_faults.checkerboard(photo, generator, levels=between(3, 10), period_px=period)


def _versions(photo: Image, generator: np.random.Generator) -> tuple[Image, Image]:
    """Two harmless versions of one photo, (output, input): changed, degraded, or restored from a degraded one."""
    kind = generator.random()
    if kind < 0.05:
        return photo, photo
    if kind < 0.6:
        return changed(photo, generator, 1 if kind < 0.45 else 2), photo
    strength = float(generator.choice([1.0, 0.6, 0.3]))
    recipe = TRAINING if generator.random() < 0.7 else HELD_OUT
    degraded = degrade(photo, int(generator.integers(1 << 30)), recipe=recipe, strength=strength)
    if kind < 0.7:
        return degraded, photo
    if kind < 0.85:
        return _restored(degraded, photo, generator), degraded
    return changed(degraded, generator, 1), degraded


def _restored(degraded: Image, photo: Image, generator: np.random.Generator) -> Image:
    """What a good generator makes of `degraded`: most of the way to `photo`, perhaps sharpened."""
    share = generator.uniform(0.5, 1.0)
    made = np.asarray(cv2.addWeighted(photo, share, degraded, 1 - share, 0), np.uint8)
    return sharpen(made, generator) if generator.random() < 0.3 else made


def _tile_levels(faulty: Image, sound: Image) -> NDArray[np.float32]:
    """(h, w) root mean square of the change of luminance in each tile."""
    gray = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32) for image in (faulty, sound)]
    size = (VIEW_PX // TILE_PX, VIEW_PX // TILE_PX)
    squared = np.square(gray[0] - gray[1])
    return np.sqrt(np.asarray(cv2.resize(squared, size, interpolation=cv2.INTER_AREA), np.float32))


def fit_detail_detector(examples: DetailExamples, epochs: int, seed: int, start: Start = silent) -> DetailDetector:
    """A detector fitted to `examples` in `epochs` passes; the same on the same machine for the same seed."""
    parts = (examples.tiles, examples.picture, examples.levels)
    return fit_network(DetailDetector, _loss, parts, epochs=epochs, seed=seed, start=start)


def _loss(detector: DetailDetector, tiles: Tensor, picture: Tensor, levels: Tensor) -> Tensor:
    return detail_loss(detector(tiles, picture), levels)


def detail_loss(logits: Tensor, levels: Tensor) -> Tensor:
    """Cross-entropy of the worst tile, plus that of tiles surely in or out of a fault (`levels`, (B, h, w))."""
    faulty = (levels.flatten(1).amax(dim=1) > 0).float()
    return worst_and_each(logits, faulty, levels > MARKED_LEVELS, levels < UNMARKED_LEVELS, weight=TILE_WEIGHT)
