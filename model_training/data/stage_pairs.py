"""Batches for the restorer's two stages, each a pure function of seed and step.

Detail: small crops of any picture, (photometric faults + signal faults -> photometric faults alone).
Colour: views of whole photos; of throats and other mucosa (all faults -> clean), of other pictures what is photometric
stays, for only who knows the scene can tell a dark wood from an underexposed one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from model_training.data.degradation import HEAVY, TRAINING, degrade
from model_training.data.mixture import random_view, to_tensor
from model_training.data.overlays import on_screen
from model_training.data.phantom import phantom
from model_training.data.photo_faults import Fault, Scene, cast, exposure, haze, specks, uneven_light, vignette
from model_training.data.signal_faults import as_pixels, gaussian, jpeg, noise, signal_faults
from model_training.data.synthetic import everyday
from model_training.data.throat_colours import overexposed, wet, with_throat_palette
from service.errors import DataError
from service.pixels import FloatImage, Pixels

WORKING_AREA_PX = 480 * 272
MARGIN_PX = 16
"""Round a crop, so that a blur does not see its edge; a multiple of JPEG's largest block, so that its grid stays."""

VIEWS = ((112, 112), (128, 128), (96, 160), (160, 96), (112, 144), (144, 112))
LARGE_VIEWS = ((272, 480), (480, 272), (352, 352), (288, 384), (384, 288), (256, 256))
"""(H, W) of the colour stage's views, multiples of 16."""

SYNTHETIC_SHAPES = ((480, 272), (320, 320), (384, 288), (288, 384))
DRAWN = 0.06
"""Share of phantoms and drawn everyday pictures in the detail stage, whose flat areas and clean lines no photo has."""

SCENE_PHANTOMS, ANYTHING_DRAWN = 0.09, 0.03
"""Shares of phantoms and of drawn everyday pictures in the colour stage."""

MIRRORED_OUT, ON_SCREEN, WHOLE_RECIPE = 0.12, 0.3, 0.24
"""Shares of views that fill part of the picture, mirrored out over the rest, that a screen shows, and of scenes that
are degraded by the recipes of `degradation`."""


def _unit(image: Pixels) -> FloatImage:
    return np.asarray(image / np.float32(255), np.float32)


def _clipped(image: NDArray[Any]) -> FloatImage:
    return np.asarray(np.clip(image, 0, 1), np.float32)


def recoloured(image: FloatImage, rng: np.random.Generator) -> FloatImage:
    """`image` with its colours turned, strengthened, tinted: any camera's, any throat's, and none's."""
    luma = image @ np.array((0.299, 0.587, 0.114), np.float32)
    colour = image - luma[..., None]
    if rng.random() < 0.5:
        colour = colour[..., rng.permutation(3)]
    mixed = luma[..., None] * rng.uniform(0.8, 1.2) + colour * rng.uniform(0.2, 1.4)
    return _clipped(mixed * (rng.uniform(0.9, 1.3), rng.uniform(0.7, 1.05), rng.uniform(0.7, 1.05)))


def even_veil(image: FloatImage, scene: Scene) -> FloatImage:
    """The same veil everywhere."""
    rng = scene.rng
    veil = rng.uniform(0.08, 0.6)
    light = rng.uniform(0.6, 0.98) + rng.uniform(-0.06, 0.06, 3) * (rng.random() < 0.7)
    return _clipped(image * (1 - veil) + np.clip(light, 0, 1) * veil)


def uneven_veil(image: FloatImage, scene: Scene) -> FloatImage:
    """A veil that is thicker here than there, by up to nine tenths of its mean."""
    rng = scene.rng
    coarse = rng.uniform(-1, 1, rng.integers(2, 6, 2)).astype(np.float32)
    field = cv2.resize(coarse, image.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    field = field - field.mean()
    field = field / max(float(np.abs(field).max()), 1e-6)
    veil = rng.uniform(0.1, 0.55) * (1 + rng.uniform(0.2, 0.9) * field[..., None])
    light = rng.uniform(0.6, 0.98) + rng.uniform(-0.06, 0.06, 3) * (rng.random() < 0.7)
    return _clipped(image * (1 - veil) + np.clip(light, 0, 1) * veil)


def to_linear(image: FloatImage) -> FloatImage:
    """Light of stored values in [0, 1]. Source: IEC 61966-2-1 (sRGB)."""
    return np.asarray(np.where(image <= 0.04045, image / 12.92, ((image + 0.055) / 1.055) ** 2.4), np.float32)


def from_linear(light: FloatImage) -> FloatImage:
    """Stored values of light in [0, 1]. Source: IEC 61966-2-1 (sRGB)."""
    curve = 1.055 * np.power(np.maximum(light, 1e-8), 1 / 2.4) - 0.055
    return np.asarray(np.where(light <= 0.0031308, 12.92 * light, curve), np.float32)


def even_light(image: FloatImage, scene: Scene) -> FloatImage:
    """All of it darker, as less light, as smaller values or as a gamma; now and then brighter."""
    rng = scene.rng
    kind = rng.random()
    if kind < 0.45:
        return _clipped(from_linear(to_linear(image) * rng.uniform(0.25, 0.9)))
    if kind < 0.8:
        return _clipped(image * rng.uniform(0.35, 0.9))
    if kind < 0.9:
        return _clipped(np.power(image, rng.uniform(1.15, 2.0)))
    return _clipped(image * rng.uniform(1.05, 1.35))


PHOTOMETRIC: tuple[tuple[Fault, float, float], ...] = (
    (haze, 0.2, 0.5),
    (even_veil, 0.2, 0.4),
    (uneven_veil, 0.12, 0.25),
    (even_light, 0.17, 0.3),
    (exposure, 0.08, 0.2),
    (uneven_light, 0.07, 0.3),
    (vignette, 0.1, 0.25),
    (cast, 0.06, 0.3),
)
"""Fault, how often it comes alone, and how often it is in a mixture."""


def photometric(image: FloatImage, rng: np.random.Generator) -> FloatImage:
    """One photometric fault, or several in any order, each as often."""
    if rng.random() < 0.5:
        order = [int(rng.choice(len(PHOTOMETRIC), p=[alone for _, alone, _ in PHOTOMETRIC]))]
    else:
        order = [int(i) for i in rng.permutation(len(PHOTOMETRIC)) if rng.random() < PHOTOMETRIC[i][2]]
    for index in order:
        image = _clipped(PHOTOMETRIC[index][0](image, Scene(rng, 1.0, float(rng.beta(1.2, 1.2)))))
    return image


@dataclass(frozen=True, slots=True)
class Sources:
    """What is learnt from: `scene`, clean photos of throats and other mucosa; `anything`, sharp photos of all kinds."""

    scene: Sequence[Pixels]
    anything: Sequence[Pixels]

    def __post_init__(self) -> None:
        """Refuse to train on nothing."""
        if not self.scene:
            raise DataError("there is no clean photo to train on")


def _drawn(draw: Callable[[int, int, int], Pixels], count: int, seed: int) -> list[Pixels]:
    """`count` pictures that `draw` draws from width, height and a seed that no measure uses."""
    return [draw(*SYNTHETIC_SHAPES[i % 4], 500_000 + 1000 * seed + i) for i in range(count)]


class DetailPairs:
    """Crops for the detail stage, half of them from `sources.anything` where there is any."""

    def __init__(self, sources: Sources, seed: int, side_px: int = 192, drawn: int = 70) -> None:
        self.sources, self.seed, self.side_px = sources, seed, side_px
        self.drawn = _drawn(phantom, drawn * 5 // 7, seed) + _drawn(everyday, drawn - drawn * 5 // 7, seed)

    def batch(self, step: int, size: int) -> tuple[Tensor, Tensor]:
        """Batch number `step`: degraded and clean, each (size, 3, side, side) float32 in [-1, 1]."""
        rng = np.random.default_rng([self.seed, step, 0xDE7A])
        return self.batch_of(self.side_px, self.side_px, size, rng)

    def batch_of(self, height: int, width: int, size: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """`size` pairs of (height, width)."""
        pairs = [self.pair(height, width, rng) for _ in range(size)]
        return to_tensor([bad for bad, _ in pairs]), to_tensor([good for _, good in pairs])

    def pair(self, height: int, width: int, rng: np.random.Generator) -> tuple[Pixels, Pixels]:
        """One (degraded, clean) pair of (height, width, 3) uint8."""
        anything = self.sources.anything
        kind = anything if anything and rng.random() < 0.48 else self.sources.scene
        if self.drawn and rng.random() < DRAWN:
            kind = self.drawn
        clean = _unit(self._crop(kind[int(rng.integers(len(kind)))], height, width, rng))
        if rng.random() < 0.25:
            clean = recoloured(clean, rng)
        if rng.random() < 0.25:
            clean = _veiled_or_dim(clean, rng)
        bad = as_pixels(signal_faults(clean, rng))
        inner = slice(MARGIN_PX, MARGIN_PX + height), slice(MARGIN_PX, MARGIN_PX + width)
        return bad[inner], as_pixels(clean)[inner]

    def _crop(self, photo: Pixels, height: int, width: int, rng: np.random.Generator) -> Pixels:
        """A (height, width) crop with its margin, at about the working size four times in five, else nearer its own."""
        tall, wide = height + 2 * MARGIN_PX, width + 2 * MARGIN_PX
        working = min(1.0, float(np.sqrt(WORKING_AREA_PX / (photo.shape[0] * photo.shape[1]))))
        scale = working * rng.uniform(0.9, 1.1) if rng.random() < 0.8 else rng.uniform(working, 1.0)
        scale = min(1.0, max(scale, tall / photo.shape[0], wide / photo.shape[1]))
        rows, columns = min(photo.shape[0], round(tall / scale)), min(photo.shape[1], round(wide / scale))
        top, left = rng.integers(photo.shape[0] - rows + 1), rng.integers(photo.shape[1] - columns + 1)
        part = photo[top : top + rows, left : left + columns]
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        view = np.asarray(cv2.resize(part, (wide, tall), interpolation=method), np.uint8)
        for axis in (0, 1):
            view = np.flip(view, axis) if rng.random() < 0.5 else view
        return np.ascontiguousarray(view)


def _veiled_or_dim(image: FloatImage, rng: np.random.Generator) -> FloatImage:
    """What is photometric and stays: haze, another exposure, or both."""
    kind = rng.random()
    scene = Scene(rng, 1.0, 0.5)
    if kind < 0.45:
        image = even_veil(image, scene)
    if kind > 0.35:
        dim = rng.random() < 0.6
        image = image * rng.uniform(0.35, 1.25) if dim else np.power(image, rng.uniform(0.6, 1.8))
    return _clipped(image)


class ColourPairs:
    """Views for the colour stage; every sixth batch is large until `large_after` steps, then every other."""

    def __init__(self, sources: Sources, seed: int, large_after: int, phantoms: int = 160, drawn: int = 60) -> None:
        self.sources, self.seed, self.large_after = sources, seed, large_after
        self.phantoms, self.drawn = _drawn(phantom, phantoms, seed), _drawn(everyday, drawn, seed)

    def batch(self, step: int, size: int) -> tuple[Tensor, Tensor]:
        """Batch number `step`: degraded and clean, each (size or fewer, 3, H, W) float32 in [-1, 1]."""
        rng = np.random.default_rng([self.seed, step, 0xC0105])
        large = step % (6 if step < self.large_after else 2) == 0
        shapes = LARGE_VIEWS if large else VIEWS
        height, width = shapes[int(rng.integers(len(shapes)))]
        return self.batch_of(height, width, max(2, size * 192**2 // (height * width)) if large else size, rng)

    def batch_of(self, height: int, width: int, size: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """`size` pairs of (height, width)."""
        pairs = [self.pair(height, width, rng) for _ in range(size)]
        return to_tensor([bad for bad, _ in pairs]), to_tensor([good for _, good in pairs])

    def pair(self, height: int, width: int, rng: np.random.Generator) -> tuple[Pixels, Pixels]:
        """One (degraded, clean) pair of (height, width, 3) uint8."""
        photo, scene = self._pick(rng)
        view = _mirrored_out if rng.random() < MIRRORED_OUT else random_view
        clean = _unit(view(photo, height, width, rng))
        clean = _unit(as_pixels(_as_a_throat(clean, rng) if scene else clean))
        if scene and rng.random() < WHOLE_RECIPE:
            return _by_recipe(as_pixels(clean), rng)
        untouched = rng.random() < 0.38
        bad = clean if untouched else photometric(clean, rng)
        if not scene:
            clean = bad
        elif not untouched and rng.random() < 0.05:
            clean = bad = _clipped(clean * rng.uniform(0.06, 0.2))  # night-dark: nobody can tell what was there
        given, wanted = as_pixels(bad), as_pixels(clean)
        if rng.random() < ON_SCREEN:
            given, wanted = on_screen(given, wanted, rng)
        return as_pixels(_with_signal_faults(_unit(given), rng)), wanted

    def _pick(self, rng: np.random.Generator) -> tuple[Pixels, bool]:
        kind, anything = rng.random(), self.sources.anything
        if kind < SCENE_PHANTOMS and self.phantoms:
            return self.phantoms[rng.integers(len(self.phantoms))], True
        if kind < SCENE_PHANTOMS + ANYTHING_DRAWN and self.drawn:
            return self.drawn[rng.integers(len(self.drawn))], False
        if anything and rng.random() < 0.27:
            return anything[int(rng.integers(len(anything)))], False
        return self.sources.scene[int(rng.integers(len(self.sources.scene)))], True


def _by_recipe(clean: Pixels, rng: np.random.Generator) -> tuple[Pixels, Pixels]:
    """The pair with many faults at once, strong ones three times in ten, at times on a screen."""
    recipe = TRAINING if rng.random() < 0.7 else HEAVY
    bad = degrade(clean, int(rng.integers(1 << 31)), recipe=recipe)
    return on_screen(bad, clean, rng) if rng.random() < ON_SCREEN else (bad, clean)


def _mirrored_out(photo: Pixels, height: int, width: int, rng: np.random.Generator) -> Pixels:
    """A view of part of the size in the middle, mirrored out to it: less of a scene than a picture's size promises."""
    tall, wide = (max(32, round(side * rng.uniform(0.4, 0.85))) for side in (height, width))
    if rng.random() < 0.5:
        tall = height
    view = random_view(photo, tall, wide, rng)
    top, left = (height - tall) // 2, (width - wide) // 2
    return np.pad(view, ((top, height - tall - top), (left, width - wide - left), (0, 0)), mode="symmetric")


def _as_a_throat(image: FloatImage, rng: np.random.Generator) -> FloatImage:
    """Often a throat's palette, at times overexposed rims, wet highlights, no colour at all."""
    kind = rng.random()
    if kind < 0.58:
        image = with_throat_palette(image, rng)
    elif kind < 0.66:
        image = _clipped(0.5 * recoloured(image, rng) + 0.5 * image)
    if rng.random() < 0.33:
        image = overexposed(image, rng)
    if rng.random() < 0.15:
        image = wet(image, rng)
    if rng.random() < 0.05:
        image = np.repeat(image.mean(2, keepdims=True), 3, 2)
    return image


def _with_signal_faults(image: FloatImage, rng: np.random.Generator) -> FloatImage:
    """Half of the time blur, noise, blocks or specks on top, so that light is judged through them."""
    if rng.random() < 0.45:
        return image
    if rng.random() < 0.5:
        image = gaussian(image, rng.uniform(0.4, 2.2))
    if rng.random() < 0.5:
        image = noise(_clipped(image), rng, 0.05)
    if rng.random() < 0.4:
        image = jpeg(image, rng)
    if rng.random() < 0.06:
        image = specks(_clipped(image), Scene(rng, 1.0, float(rng.beta(1.2, 1.2))))
    return image
