"""Degraded photos made from clean ones: the faults of throat photography, in random order and strength.

One seed makes one image, always. Two recipes ship: `TRAINING` composes a few faults in any order;
`HELD_OUT` walks the physical way of a photo (light, lens, sensor, file) with other shares and strengths, so that
a model measured on it has not seen its kind.
The faults themselves are in `photo_faults`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model_training.data.photo_faults import (
    FILE_FAULTS,
    Fault,
    Scene,
    cast,
    defocus,
    exposure,
    haze,
    jpeg,
    motion,
    noise,
    resampling,
    specks,
    uneven_light,
    vignette,
)
from model_training.data.photos import Skip, find_photos, read_photo, require_any
from model_training.runs.output_checks import require_apart
from service.errors import ConfigurationError, DataError, ImageDimensions
from service.pixels import FloatImage

REFERENCE_SIDE_PX = 480
"""Lengths (blur, specks) are given at this longer side and grow with the image."""
LEAST_SIDE_PX = 16


@dataclass(frozen=True, slots=True)
class Recipe:
    """How faults are composed: each with its probability; strengths drawn from Beta(`strength`).

    `shuffled` faults come in any order; of `file_last` of the photos, grain and the file's faults come last of all.
    """

    faults: tuple[tuple[Fault, float], ...]
    strength: tuple[float, float]
    shuffled: bool
    file_last: float = 0.0


TRAINING = Recipe(
    faults=(
        (haze, 0.66),
        (exposure, 0.42),
        (uneven_light, 0.35),
        (vignette, 0.35),
        (cast, 0.38),
        (defocus, 0.42),
        (motion, 0.13),
        (resampling, 0.12),
        (specks, 0.1),
        (noise, 0.5),
        (jpeg, 0.5),
    ),
    strength=(1.1, 1.1),
    shuffled=True,
    file_last=0.5,
)
"""Some faults in any order, from hardly visible to heavy; every second photo is a file, so its grain and blocks
are on top."""

HEAVY = Recipe(
    faults=tuple((fault, min(1.0, 1.35 * probability)) for fault, probability in TRAINING.faults),
    strength=(2.0, 1.5),
    shuffled=True,
    file_last=0.8,
)
"""More of `TRAINING`'s faults at once, seldom hardly visible; four in five are files, as nearly every real photo is."""

HELD_OUT = Recipe(
    faults=(
        (uneven_light, 0.35),
        (vignette, 0.35),
        (haze, 0.9),
        (cast, 0.4),
        (motion, 0.15),
        (defocus, 0.6),
        (exposure, 0.45),
        (noise, 0.6),
        (specks, 0.15),
        (jpeg, 0.8),
    ),
    strength=(4.0, 3.0),
    shuffled=False,
)
"""More faults at once than in training, in the order in which a photo meets them, seldom extreme."""

RECIPES = {"training": TRAINING, "heavy": HEAVY, "held-out": HELD_OUT}


def recipe_named(name: str) -> Recipe:
    """The recipe of that name.

    Raises:
        ConfigurationError: there is no such recipe.
    """
    if name not in RECIPES:
        raise ConfigurationError(f"There is no recipe {name!r}; the recipes are {', '.join(RECIPES)}.")
    return RECIPES[name]


def _compose(recipe: Recipe, rng: np.random.Generator) -> list[Fault]:
    chosen = [fault for fault, probability in recipe.faults if rng.random() < probability]
    if not chosen:
        chosen = [recipe.faults[int(rng.integers(len(recipe.faults)))][0]]
    if recipe.shuffled:
        chosen = [chosen[index] for index in rng.permutation(len(chosen))]
        if rng.random() < recipe.file_last:
            chosen.sort(key=lambda fault: FILE_FAULTS.index(fault) if fault in FILE_FAULTS else -1)
    return chosen


def degrade(
    image: NDArray[np.uint8],
    seed: int,
    *,
    recipe: Recipe = TRAINING,
    strength: float = 1.0,
    unit_px: float | None = None,
) -> NDArray[np.uint8]:
    """The photo `image` taken badly: the same pixels for the same image, seed and options.

    Args:
        image: (H, W, 3) uint8 RGB.
        seed: picks the faults, their order and their strength.
        recipe: how faults are composed.
        strength: scales every fault, in [0, 1]; 0 leaves each at its mildest.
        unit_px: pixels that one pixel of a 480 px photo covers here; by default the longer side over 480,
            at least 1.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ImageDimensions: a side is under 16 px.
    """
    height, width = image.shape[:2]
    if min(height, width) < LEAST_SIDE_PX:
        raise ImageDimensions(f"an image of {width}x{height} is too small to degrade; the least is {LEAST_SIDE_PX}")
    rng = np.random.default_rng([int(seed), 0x7A0A7])
    unit = unit_px if unit_px is not None else max(1.0, max(height, width) / REFERENCE_SIDE_PX)
    result: FloatImage = image.astype(np.float32) / np.float32(255)
    for fault in _compose(recipe, rng):
        power = strength * float(rng.beta(*recipe.strength))
        result = fault(result, Scene(rng, unit, power))
    return np.clip(np.rint(result * 255), 0, 255).astype(np.uint8)


def write_degraded(
    source: Path,
    out: Path,
    seed: int,
    *,
    recipe: Recipe = TRAINING,
    start: Callable[[int], Callable[[], None]] = lambda steps: lambda: None,
    skip: Skip = lambda sentence: None,
) -> int:
    """Writes a degraded photo of each clean one in `source` (a folder or a list) as `out/NNNNN.png`; returns how many.

    Photo number n of `source` is degraded with `seed` + n; one that cannot be used leaves its number out.

    Raises:
        CommandError: `out` lies among the clean photos.
        DataError: there is no image that can be used.
    """
    require_apart(out, source)
    photos = find_photos(source)
    advance = start(len(photos))
    out.mkdir(parents=True, exist_ok=True)
    skipped: list[str] = []
    for index, path in enumerate(photos):
        try:
            good = read_photo(path, least=LEAST_SIDE_PX)
        except DataError as error:
            skipped.append(error.detail)
        else:
            Image.fromarray(degrade(good, seed + index, recipe=recipe)).save(out / f"{index:05d}.png")
        advance()
    require_any(len(photos) - len(skipped), source, skipped)
    for sentence in skipped:
        skip(sentence)
    return len(photos) - len(skipped)
