"""Colours of throats for photos of other mucosa: palettes, overexposed rims, wet highlights.

An image is (H, W, 3) float32 RGB in [0, 1].
"""

from __future__ import annotations

from statistics import NormalDist
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from model_training.data.photo_faults import smooth_field
from service.pixels import FloatImage

SHARES = (0, 0.05, 0.25, 0.5, 0.75, 0.95, 1)
MEANS = (
    (66, 78, 99, 117, 134, 164, 180),
    (134, 140, 150, 156, 160, 170, 176),
    (126, 132, 138, 143, 149, 156, 160),
)
SPREADS = ((19, 23, 29, 35, 42, 50, 58), (4, 5, 6, 8, 10, 13, 15), (2.5, 3, 4, 5, 6, 9, 11))
"""At `SHARES`: an image's mean and its deviation in L, a, b (OpenCV's 8-bit Lab), of 362 phone photos of throats; the
first and the last are extrapolated."""

LEAST_SPREAD = 0.3
"""Share from which a clean photo's spread in L is drawn: the flattest of the phone photos are hazy themselves."""

FLASH_SHARE, WHITE = 0.85, 0.96
"""How often what is white stays white, and the brightest 0.3 % that a photo taken with a flash reaches (of 1)."""

TOGETHER = ((1, 0.17, 0.05), (0.17, 1, 0.39), (0.05, 0.39, 1))
"""How the means go together (correlation)."""

LIT = 20
"""Lightness (0 to 255) above which a pixel is tissue, not the dark round a picture."""


def _drawn(table: tuple[tuple[float, ...], ...], shares: NDArray[Any]) -> NDArray[np.float64]:
    return np.array([np.interp(share, SHARES, row) for share, row in zip(shares, table, strict=True)])


def with_throat_palette(image: FloatImage, rng: np.random.Generator) -> FloatImage:
    """`image` with the mean and spread of a throat's colours, drawn anew; the dark stays dark.

    Half of the lightness and two in five of the yellowness are drawn evenly from the range: a pale, bright throat is no
    rarer to the generator than a dark one. A flash leaves white highlights on the darkest throat: nearly all clean
    photos reach white, and a palette without it would teach that a photo which does not may be well lit.
    """
    lab = _lab8(image)
    lit = lab[..., 0] > LIT
    if lit.mean() < 0.2:
        return image
    together = np.linalg.cholesky(np.array(TOGETHER)) @ rng.standard_normal(3)
    means = _drawn(MEANS, np.array([NormalDist().cdf(float(value)) for value in together]))
    if rng.random() < 0.5:
        means[0] = rng.uniform(78, 182)
    if rng.random() < 0.4:
        means[2] = rng.uniform(126, 146)
    spreads = _drawn(SPREADS, rng.uniform((LEAST_SPREAD, 0, 0), 1))
    own, deviation = lab[lit].mean(0), np.maximum(lab[lit].std(0), 2)
    moved = (lab - own) * np.clip(spreads / deviation, 0.5, 1.8) + means
    share = np.clip(lab[..., :1] / 40, 0, 1)
    moved[..., 1:] = 128 + (moved[..., 1:] - 128) * share
    moved[..., :1] = moved[..., :1] * share + lab[..., :1] * (1 - share)
    recoloured = _from_lab8(moved)
    return _with_white(image, recoloured, rng) if rng.random() < FLASH_SHARE else recoloured


def _with_white(image: FloatImage, recoloured: FloatImage, rng: np.random.Generator) -> FloatImage:
    """`recoloured` with the highlights of `image`, and most often with new ones where it does not reach white."""
    brightest, darkest = image.max(2, keepdims=True), image.min(2, keepdims=True)
    share = np.clip((brightest - 0.93) / 0.07, 0, 1) * np.clip((darkest - 0.5) / 0.3, 0, 1)
    mixed = np.asarray(recoloured * (1 - share) + image * share, np.float32)
    reaches_white = np.percentile(mixed.max(2), 99.7) >= WHITE
    return mixed if reaches_white or rng.random() >= 0.75 else wet(mixed, rng, most=24)


def _lab8(image: FloatImage) -> FloatImage:
    lab = cv2.cvtColor(np.clip(image, 0, 1), cv2.COLOR_RGB2LAB)
    return np.asarray(lab * np.array((2.55, 1, 1)) + (0, 128, 128), np.float32)


def _from_lab8(lab: NDArray[Any]) -> FloatImage:
    plain = np.asarray((lab - (0, 128, 128)) / (2.55, 1, 1), np.float32)
    plain[..., 0] = plain[..., 0].clip(0, 100)
    return np.asarray(np.clip(cv2.cvtColor(plain, cv2.COLOR_LAB2RGB), 0, 1), np.float32)


def overexposed(image: FloatImage, rng: np.random.Generator) -> FloatImage:
    """`image` with regions, most often at its rim, that the flash has washed out to white."""
    height, width = image.shape[:2]
    field = smooth_field((height, width), rng, int(rng.integers(1, 4)))
    if rng.random() < 0.6:
        rows, columns = np.arange(height)[:, None], np.arange(width)[None, :]
        from_edge = np.minimum(
            np.minimum(rows, height - 1 - rows) / height, np.minimum(columns, width - 1 - columns) / width
        )
        field = np.asarray(np.clip(1 - from_edge / rng.uniform(0.08, 0.3), 0, 1) * (0.3 + 0.7 * field), np.float32)
    white = np.clip((field - rng.uniform(0.4, 0.8)) / 0.25, 0, 1)[..., None]
    return np.asarray(np.clip(image * (1 + 1.5 * white) + white * 0.25, 0, 1), np.float32)


def wet(image: FloatImage, rng: np.random.Generator, most: int = 40) -> FloatImage:
    """`image` with 4 to `most` small white highlights."""
    height, width = image.shape[:2]
    cover = np.zeros((height, width), np.float32)
    for _ in range(rng.integers(4, most)):
        centre = (int(rng.integers(width)), int(rng.integers(height)))
        axes = (int(rng.integers(1, 7)), int(rng.integers(1, 4)))
        cv2.ellipse(cover, centre, axes, float(rng.uniform(0, 180)), 0, 360, 1.0, -1, cv2.LINE_AA)
    soft = np.asarray(cv2.GaussianBlur(cover, (0, 0), rng.uniform(0.5, 1.2)))[..., None]
    return np.asarray(image * (1 - soft) + soft, np.float32)
