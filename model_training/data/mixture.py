"""Batches for the warm start: real photos, phantoms and everyday pictures, at many scales and shapes.

A batch is a pure function of seed and step. Some of its pairs are clean on both sides, so that the generator also
learns when to do nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from model_training.config.pretrain import Mixture
from model_training.data.degradation import HEAVY, TRAINING, degrade
from model_training.data.overlays import on_screen
from model_training.data.phantom import phantom
from model_training.data.synthetic import everyday
from service.errors import DataError
from service.pixels import Pixels

SHAPES = ((160, 160), (160, 160), (192, 192), (144, 192), (192, 144), (128, 208), (208, 128), (224, 224))
"""(H, W) of batches, all multiples of the fast generator's 16."""

LARGE_SHAPES = ((272, 480), (480, 272), (352, 352), (288, 384), (384, 288), (320, 320))
"""(H, W) of the last batches: about the size at which the service works."""

SYNTHETIC_SHAPES = ((272, 480), (320, 320), (288, 384), (384, 288))


@dataclass(frozen=True, slots=True)
class Odds:
    """Probabilities that a picture's pair is clean on both sides and that its colours are changed.

    `as_is`: its degraded photo is the target.
    """

    clean: float
    jitter: float = 0.0
    as_is: bool = False


def jitter_colour(image: Pixels, rng: np.random.Generator) -> Pixels:
    """`image` with another hue, saturation, brightness and gamma, as another lamp, camera and throat would have."""
    ycc = cv2.cvtColor(image, cv2.COLOR_RGB2YCrCb).astype(np.float32)
    angle = np.deg2rad(rng.uniform(-22, 12))
    colour = 1 + rng.uniform(-0.35, 0.2)
    red, blue = ycc[..., 1] - 128, ycc[..., 2] - 128
    ycc[..., 1] = 128 + colour * (np.cos(angle) * red + np.sin(angle) * blue)
    ycc[..., 2] = 128 + colour * (np.cos(angle) * blue - np.sin(angle) * red)
    gamma = np.exp(rng.uniform(-0.3, 0.3))
    ycc[..., 0] = 255 * np.power(np.clip(ycc[..., 0] / 255, 0, 1), gamma) * (1 + rng.uniform(-0.1, 0.2))
    stored = np.clip(np.rint(ycc), 0, 255).astype(np.uint8)
    return cv2.cvtColor(stored, cv2.COLOR_YCrCb2RGB).astype(np.uint8)


def extreme(image: Pixels, rng: np.random.Generator) -> Pixels:
    """`image` as a night-dark, a blown-out or a grey photo shows it: beyond what the faults do, so not to be mended."""
    kind = rng.integers(3)
    if kind == 0:
        made = image * rng.uniform(0.06, 0.3)
    elif kind == 1:
        made = np.minimum(image * rng.uniform(1.4, 2.2), 255.0)
    else:
        made = np.repeat(image.mean(2, keepdims=True), 3, 2)
    return np.asarray(np.rint(made), np.uint8)


def random_view(image: Pixels, height: int, width: int, rng: np.random.Generator) -> Pixels:
    """A (height, width) view of `image`: often nearly all of it, sometimes a close crop, flipped at random."""
    tall, wide = image.shape[:2]
    most = min(tall / height, wide / width)
    scale = most if rng.random() < 0.4 else most * rng.uniform(0.45, 1.0)
    crop_h, crop_w = min(tall, round(height * scale)), min(wide, round(width * scale))
    top, left = int(rng.integers(tall - crop_h + 1)), int(rng.integers(wide - crop_w + 1))
    view = image[top : top + crop_h, left : left + crop_w]
    method = cv2.INTER_AREA if scale >= 1 else cv2.INTER_CUBIC
    resized = np.asarray(cv2.resize(view, (width, height), interpolation=method), np.uint8)
    if rng.random() < 0.5:
        resized = resized[:, ::-1]
    if rng.random() < 0.25:
        resized = resized[::-1]
    return np.ascontiguousarray(resized)


def to_tensor(images: Sequence[Pixels]) -> Tensor:
    """Equal-sized (H, W, 3) uint8 images as (B, 3, H, W) float32 in [-1, 1]."""
    stacked = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
    return stacked.contiguous().float().div_(127.5).sub_(1)


def _drawn(draw: Callable[[int, int, int], Pixels], count: int, first_seed: int) -> list[Pixels]:
    shapes = [SYNTHETIC_SHAPES[index % len(SYNTHETIC_SHAPES)] for index in range(count)]
    return [draw(width, height, first_seed + index) for index, (height, width) in enumerate(shapes)]


def plain(width: int, height: int, seed: int) -> Pixels:
    """One colour, or two that run into each other, (height, width, 3) uint8 RGB: nothing to mend, every grid shows."""
    rng = np.random.default_rng([int(seed), 0xF1A7])
    first, last = rng.uniform(0, 255, (2, 3))
    if rng.random() < 0.4:
        last = first
    along = np.linspace(0, 1, width)[None, :, None] if rng.random() < 0.5 else np.linspace(0, 1, height)[:, None, None]
    picture = np.broadcast_to(first + (last - first) * along, (height, width, 3))
    return np.asarray(np.rint(picture), np.uint8)


class MixedPairs:
    """Makes batches from photos held in memory and synthetic pictures drawn once at the start.

    `everyday_photos` are half of the everyday pictures, where there are any.

    Raises:
        DataError: there is no photo.
    """

    def __init__(
        self, photos: Sequence[Pixels], mixture: Mixture, seed: int, everyday_photos: Sequence[Pixels] = ()
    ) -> None:
        if not photos:
            raise DataError("there is no clean photo to train on")
        self.photos = list(photos)
        self.mixture = mixture
        self.seed = seed
        self.phantoms = _drawn(phantom, mixture.count_phantoms, 100_000 + 1000 * seed)
        self.everyday = _drawn(everyday, mixture.count_everyday, 100_000 + 1000 * seed)
        self.everyday += _drawn(plain, mixture.count_plain, 100_000 + 1000 * seed)
        self.everyday_photos = list(everyday_photos)

    def _pick(self, rng: np.random.Generator) -> tuple[Pixels, Odds]:
        m = self.mixture
        kind = rng.random()
        if kind < m.phantoms and self.phantoms:
            return self.phantoms[rng.integers(len(self.phantoms))], Odds(m.clean_phantoms)
        if m.phantoms <= kind < m.phantoms + m.everyday and (self.everyday or self.everyday_photos):
            drawn = not self.everyday_photos or (self.everyday and rng.random() >= 0.5)
            taken_from = self.everyday if drawn else self.everyday_photos
            return taken_from[rng.integers(len(taken_from))], Odds(m.clean_everyday, as_is=m.everyday_as_is)
        return self.photos[rng.integers(len(self.photos))], Odds(m.clean_photos, m.jitter)

    def pair(
        self, height: int, width: int, rng: np.random.Generator, clean_scale: float = 1.0
    ) -> tuple[Pixels, Pixels]:
        """One (degraded, clean) pair of (height, width, 3) uint8 images; `clean_scale` scales the clean shares."""
        bad, good = self._bare_pair(height, width, rng, clean_scale)
        if self.mixture.screens and rng.random() < self.mixture.screens:
            return on_screen(bad, good, rng)
        return bad, good

    def _bare_pair(
        self, height: int, width: int, rng: np.random.Generator, clean_scale: float
    ) -> tuple[Pixels, Pixels]:
        picture, odds = self._pick(rng)
        clean = random_view(picture, height, width, rng)
        if rng.random() < odds.jitter:
            clean = jitter_colour(clean, rng)
        as_is = odds.as_is
        if rng.random() < self.mixture.extremes:
            clean = extreme(clean, rng)
            as_is = as_is or self.mixture.extremes_as_is
        if rng.random() < odds.clean * clean_scale:
            return clean, clean
        heavy = bool(self.mixture.heavy) and rng.random() < self.mixture.heavy
        bad = degrade(clean, int(rng.integers(2**31)), recipe=HEAVY if heavy else TRAINING, unit_px=1.0)
        return bad, bad if as_is else clean

    def batch(self, step: int, size: int) -> tuple[Tensor, Tensor]:
        """Batch number `step`: degraded and clean, each (size or fewer, 3, H, W) float32 in [-1, 1]."""
        rng = np.random.default_rng([self.seed, step, 0xBA7C4])
        after = self.mixture.large_after
        large = after is not None and step >= after
        shapes = LARGE_SHAPES if large else SHAPES
        height, width = shapes[int(rng.integers(len(shapes)))]
        if large:
            size = max(1, size // 4)
        rise = min(1.0, step / max(1, self.mixture.clean_after))
        return self.batch_of(height, width, size, rng, rise)

    def batch_of(
        self, height: int, width: int, size: int, rng: np.random.Generator, clean_scale: float = 1.0
    ) -> tuple[Tensor, Tensor]:
        """`size` pairs of (height, width), drawn from `rng`."""
        pairs = [self.pair(height, width, rng, clean_scale) for _ in range(size)]
        return to_tensor([bad for bad, _ in pairs]), to_tensor([good for _, good in pairs])
