"""LaSSIM, the paper's structure metric, its map, and the paper's pixel SSIM: the only definition in the project.

`LaSSIM_l(I, Î) = SSIM(LP_l(I), LP_l(Î))` (arXiv 2304.01864, eq. 1), level 3, as the authors compute it: SSIM with a
uniform 7x7 window, sample covariance, K1 0.01, K2 0.03, the data range of both residuals together, outer 3 px cropped.

Images are (H, W, 3) RGB, uint8 or float in [0, 1]; both orders of the arguments give the same value.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from service.errors import InvalidParameter
from service.quality.pyramid import (
    WINDOW,
    Float64,
    Image,
    check_image,
    check_level,
    check_pair,
    residual_pair,
)
from service.resample import area_mean
from service.vocabulary import Scale

LEVEL = 3
"""The level the paper reports, and the service's headers and metrics mean."""

CANONICAL_SIDE = 480
"""Longer side, in pixels, of the canonical scale: scores of cameras of any resolution can be compared."""

K1, K2 = 0.01, 0.03
"""SSIM's constants (Wang et al., 2004)."""

_COVARIANCE = WINDOW**2 / (WINDOW**2 - 1)
_SUM_DIFFERENCE = np.asarray([[1.0, 1.0], [1.0, -1.0]])
_DIFFERENCE_SUM = np.asarray([[1.0, -1.0], [1.0, 1.0]])
_FLAT = 1e-12
"""A range of the residuals below this share of full luminance is rounding, not structure."""

_FULL_LUMINANCE = 10_000.0
_FLAT_RANGE_8 = _FLAT * 255.0 * _FULL_LUMINANCE


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in input pixels: columns [left, right), rows [top, bottom)."""

    left: int
    top: int
    right: int
    bottom: int


@dataclass(frozen=True, slots=True)
class LassimMap:
    """LaSSIM before averaging.

    Attributes:
        values: (h, w) float64 in [-1, 1], one value a window of the residual; their mean is LaSSIM.
        lassim: that mean.
        level: pyramid level.
        scale: native or canonical.
        worst: the lowest value.
        box: the worst window's footprint in pixels of the images given.
        width: width of the images given, in pixels.
        height: height of the images given, in pixels.
    """

    values: Float64
    lassim: float
    level: int
    scale: Scale
    worst: float
    box: Box
    width: int
    height: int


def lassim(output: Image, input: Image, *, level: int = LEVEL, scale: Scale = "native") -> float:
    """LaSSIM of two images: 1 for equal structure, lower the more it changed.

    Args:
        output: (H, W, 3) RGB, uint8 or float in [0, 1].
        input: same shape.
        level: pyramid level, 3 in the paper.
        scale: "native" is the plain formula; "canonical" first area-resizes both so that the longer side is 480 px
            (never enlarging), which makes scores of different resolutions comparable.

    Raises:
        InvalidParameter: not an image, or an option outside its values.
        ImageDimensions: sizes differ.
        LevelUnavailable: too small for this level.

    Source: arXiv 2304.01864, eq. 1; SSIM as `skimage.metrics.structural_similarity` computes it.
    """
    return _mean(_ssim_values(_residuals(output, input, level, scale), _flat_range(output, input)))


def lassim_of_residuals(output: Float64, input: Float64) -> float:
    """LaSSIM of two uint8 images by their residuals (`pyramid.residual`), each (h, w) float64."""
    return _mean(lassim_values(output, input))


def lassim_values(output: Float64, input: Float64) -> Float64:
    """The map whose mean is `lassim_of_residuals`: (h - 6, w - 6) float64."""
    return _ssim_values(np.asarray(cv2.merge([output, input])), _FLAT_RANGE_8)


def lassim_map(output: Image, input: Image, *, level: int = LEVEL, scale: Scale = "native") -> LassimMap:
    """LaSSIM with its local values and the box of the worst window in input pixels.

    Arguments and errors: as `lassim`.
    """
    values = _ssim_values(_residuals(output, input, level, scale), _flat_range(output, input))
    height, width = input.shape[:2]
    row, column = divmod(int(np.argmin(values)), values.shape[1])
    return LassimMap(
        values=values,
        lassim=_mean(values),
        level=level,
        scale=scale,
        worst=float(values[row, column]),
        box=window_box(row, column, level=level, scale=scale, width=width, height=height),
        width=width,
        height=height,
    )


def ssim(output: Image, input: Image) -> float:
    """The paper's pixel SSIM: the mean over R, G and B, data range from both images together.

    Source: `skimage.metrics.structural_similarity(..., channel_axis=-1)` with range max - min of both.
    """
    check_pair(output, input)
    check_level(output.shape[0], output.shape[1], 0)
    if output.dtype != input.dtype:
        output, input = (image / 255.0 if image.dtype == np.uint8 else image for image in (output, input))
    pair = np.stack([output, input], axis=-1).astype(np.float64)
    data_range = float(pair.max() - pair.min())
    if data_range == 0.0:
        return 1.0
    return float(np.mean([_mean(_local_ssim(pair[:, :, channel], data_range)) for channel in range(3)]))


def canonical_size(width: int, height: int) -> tuple[int, int]:
    """Width and height at canonical scale: the longer side at most 480 px, aspect kept, never enlarged."""
    longer = max(width, height)
    if longer <= CANONICAL_SIDE:
        return width, height
    shrink = CANONICAL_SIDE / longer
    return max(1, round(width * shrink)), max(1, round(height * shrink))


def to_canonical(image: Image) -> Image:
    """`image` area-resized to the canonical scale, in its own dtype (uint8 stays uint8, rounded)."""
    check_image(image)
    size = canonical_size(image.shape[1], image.shape[0])
    if size == (image.shape[1], image.shape[0]):
        return image
    if image.dtype == np.uint8:
        return area_mean(image, *size)
    return np.clip(np.asarray(cv2.resize(np.ascontiguousarray(image), size, interpolation=cv2.INTER_AREA)), 0.0, 1.0)


def window_box(row: int, column: int, *, level: int, scale: Scale, width: int, height: int) -> Box:
    """Footprint in input pixels of the SSIM window at (`row`, `column`) of a map.

    Args:
        row: row in the map, from 0.
        column: column in the map, from 0.
        level: the map's pyramid level.
        scale: the map's scale.
        width: width of the input in pixels.
        height: height of the input in pixels.
    """
    scaled = canonical_size(width, height) if scale == "canonical" else (width, height)
    step = 2**level
    across, down = width / scaled[0], height / scaled[1]
    return Box(
        left=min(width - 1, int(column * step * across)),
        top=min(height - 1, int(row * step * down)),
        right=min(width, round((column + WINDOW) * step * across)),
        bottom=min(height, round((row + WINDOW) * step * down)),
    )


def _residuals(output: Image, input: Image, level: int, scale: Scale) -> Float64:
    if scale not in ("native", "canonical"):
        raise InvalidParameter(f"The scale must be native or canonical, not {str(scale)[:40]!r}.")
    check_pair(output, input)
    if scale == "canonical":
        output, input = to_canonical(output), to_canonical(input)
    return residual_pair(output, input, level)


def _flat_range(output: Image, input: Image) -> float:
    return _FLAT_RANGE_8 if output.dtype == input.dtype == np.uint8 else _FLAT * _FULL_LUMINANCE


def _ssim_values(pair: Float64, flat_range: float) -> Float64:
    data_range = float(pair.max() - pair.min())
    if data_range <= flat_range:
        return np.ones((pair.shape[0] - WINDOW + 1, pair.shape[1] - WINDOW + 1))
    return _local_ssim(pair, data_range)


def _local_ssim(pair: Float64, data_range: float) -> Float64:
    """SSIM of every full 7x7 window of a (h, w, 2) pair of planes x and y, as (h - 6, w - 6).

    Computed from the sum s = x + y and the difference d = x - y: 4 xy = s^2 - d^2 and 2 (x^2 + y^2) = s^2 + d^2. That
    needs four window means where x, y, xx, yy and xy need five, and equal planes give exactly 1.
    """
    sum_and_difference = cv2.transform(pair, _SUM_DIFFERENCE)
    means = _inner(cv2.boxFilter(sum_and_difference, -1, (WINDOW, WINDOW)))
    mean_squares = _inner(cv2.sqrBoxFilter(sum_and_difference, -1, (WINDOW, WINDOW)))
    squared_means = means * means
    luminance = cv2.transform(squared_means, _DIFFERENCE_SUM) + 2 * (K1 * data_range) ** 2
    structure = cv2.transform(_COVARIANCE * (mean_squares - squared_means), _DIFFERENCE_SUM)
    terms = luminance * (structure + 2 * (K2 * data_range) ** 2)
    return np.asarray(terms[..., 0] / terms[..., 1])


def _inner(means: Any) -> Float64:
    border = WINDOW // 2
    return np.asarray(means)[border:-border, border:-border]


def _mean(values: Float64) -> float:
    return min(1.0, float(values.mean()))
