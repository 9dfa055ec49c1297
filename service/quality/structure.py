"""The worst place: where an image's structure departs most from its input's, whatever its contrast.

In the Laplacian band of level 3 (about 8 to 16 px at 480x272), each neighbourhood of one image is explained by
the same neighbourhood of the other times its best gain; what no gain explains, over the image's mean energy in
that band, is structure added, removed or moved. A change of brightness, contrast or sharpness is a gain and
leaves nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from service.quality.lassim import Box
from service.quality.pyramid import LUMINANCE, Image, check_level, check_pair

Plane = npt.NDArray[np.float32]

LEVEL = 3
NEIGHBOURHOOD_SIGMA = 2.0
"""Spread, in samples of the band, over which one gain must hold."""


@dataclass(frozen=True, slots=True)
class WorstPlace:
    """The place where structure departs most.

    Attributes:
        value: 1 where nothing but contrast, brightness or sharpness changed, towards 0 the more structure was
            added, removed or moved.
        box: where, in pixels of the images compared.
    """

    value: float
    box: Box


def worst_place(output: Image, input: Image) -> WorstPlace:
    """The worst place of `output` against `input`, both (H, W, 3) RGB of one size, uint8 or float in [0, 1].

    Raises:
        LevelUnavailable: the images are too small for level 3.
    """
    departure = departure_map(output, input)
    row, column = np.unravel_index(int(departure.argmax()), departure.shape)
    value = 1.0 / (1.0 + float(departure[row, column]))
    return WorstPlace(value, _box_around(int(row), int(column), input.shape[:2]))


def departure_map(output: Image, input: Image) -> Plane:
    """Unexplained structure at each sample of the band, (h, w) float32, 0 where a gain explains everything."""
    check_pair(output, input)
    check_level(input.shape[0], input.shape[1], LEVEL)
    one, other = _band(output), _band(input)
    return np.maximum(_unexplained(one, other), _unexplained(other, one))


def _band(image: Image) -> Plane:
    """The Laplacian residual of `LEVEL` of the luminance in [0, 1]."""
    weights = np.array([LUMINANCE]) / (255 if image.dtype == np.uint8 else 1)
    base: Any = cv2.transform(np.asarray(image, np.float32), weights)
    for _ in range(LEVEL):
        base = cv2.pyrDown(base)
    above = cv2.pyrUp(cv2.pyrDown(base), dstsize=(base.shape[1], base.shape[0]))
    return np.asarray(base - above, np.float32)


def _unexplained(band: Plane, by: Plane) -> Plane:
    """Energy of `band` left after the best local gain on `by`, over the mean energy of `band`."""
    floor = np.float32(1e-6)
    gain = _local_mean(band * by) / (_local_mean(by * by) + floor)
    left = np.square(band - gain * by)
    return np.asarray(_local_mean(left, 1.0) / (np.float32((band * band).mean()) + floor), np.float32)


def _local_mean(plane: Plane, sigma: float = NEIGHBOURHOOD_SIGMA) -> Plane:
    return np.asarray(cv2.GaussianBlur(plane, (0, 0), sigma), np.float32)


def _box_around(row: int, column: int, shape: tuple[int, ...]) -> Box:
    """The square of two neighbourhood spreads round a sample, in pixels of the image, cut at its borders."""
    step = 2**LEVEL
    reach = round(2 * NEIGHBOURHOOD_SIGMA * step)
    return Box(
        left=max(0, column * step - reach),
        top=max(0, row * step - reach),
        right=min(shape[1], column * step + reach),
        bottom=min(shape[0], row * step + reach),
    )
