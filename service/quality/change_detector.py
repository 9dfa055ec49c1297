"""The worst region: where an image's structure departs most from its input's, whatever its light and sharpness.

Evidence is laid out on the grid of pyramid level 3 (8 px at 480x272): the Laplacian bands of levels 2 to 4 of both
images, what of each band is left after its best local gain on the other's, how the logarithms of the bands differ,
and how bright it is there. A change of brightness, contrast or sharpness is a gain and leaves little; a lesion
painted or erased, an edge moved, a patch replaced leaves a trace that no gain explains. A small convolutional
network, fitted to tell one from the other (`model_training.guardrail.detector`, decision 0017), weighs it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from service.pixels import Plane
from service.quality.lassim import Box
from service.quality.pyramid import LUMINANCE, Image, check_level, check_pair

GRID_LEVEL = 3
LEVELS = (2, 3, 4)
CHANNELS = 34
"""Maps of evidence: 4 of each of 5 at level 2 (its four phases), 7 at level 3, 5 at level 4, 2 of brightness."""

NEIGHBOURHOOD_SIGMA = 2.0
"""Spread, in samples of the band, over which one gain must hold."""

LEAST_ENERGY = np.float32(0.05)
"""Local energy, in units of the band's mean, below which a gain means nothing."""

LEAST_CONTRAST = np.float32(0.004)
"""Root mean square of a band, as a share of white, that counts as flat: about one grey level."""

DARKNESS = np.float32(0.03)
"""Added to luminance before its logarithm: in the dark a ratio is noise."""

LOG_GAIN = np.float32(8.0)
LARGEST = 6.0
"""Evidence is cut off here."""

REACH_PX = 24
"""Half the side of the box round the worst region: the network sees two samples, 16 px, each way, and a band's
neighbourhood reaches further."""


@dataclass(frozen=True, slots=True)
class WorstRegion:
    """The place where structure departs most.

    Attributes:
        value: in [0, 1]; near 1 where only light, contrast or sharpness changed, near 0 where structure was added,
            removed or moved.
        box: where, in pixels of the images compared.
    """

    value: float
    box: Box


@dataclass(frozen=True, slots=True)
class Structure:
    """What one image brings to any comparison, measured once; of `LEVELS`, (h, w) float32 each.

    Attributes:
        shape: (H, W) of the image.
        bands: Laplacian bands in units of their own contrast.
        energies: local energy of these.
        logarithms: bands of the logarithm of luminance.
        coarse: the Gaussian level of the grid.
    """

    shape: tuple[int, ...]
    bands: tuple[Plane, ...]
    energies: tuple[Plane, ...]
    logarithms: tuple[Plane, ...]
    coarse: Plane


@dataclass(frozen=True, slots=True)
class Weights:
    """The network: two 3x3 convolutions with ReLU and one 1x1, borders replicated.

    Attributes:
        first: (K, C * 9) float32, input channel before place.
        first_bias: (K, 1).
        second: (K, K * 9).
        second_bias: (K, 1).
        last: (1, K).
        last_bias: the last layer's, less the offset that puts the values of harmless changes near 1.
    """

    first: Plane
    first_bias: Plane
    second: Plane
    second_bias: Plane
    last: Plane
    last_bias: float


def worst_region(output: Image, input: Image) -> WorstRegion:
    """The worst region of `output` against `input`, both (H, W, 3) RGB of one size, uint8 or float in [0, 1].

    Raises:
        ImageDimensions: the sizes differ, or are too small for level 3.
    """
    check_pair(output, input)
    return worst_region_between(structure(output), structure(input))


def worst_region_between(output: Structure, input: Structure) -> WorstRegion:
    """`worst_region` of two images whose structure was measured."""
    values = _kept(_evidence(output, input))
    row, column = divmod(int(np.argmin(values)), values.shape[1])
    return WorstRegion(float(values[row, column]), _box_around(row, column, input.shape))


def structure_map(output: Image, input: Image) -> Plane:
    """How well structure is kept at each sample of the level-3 grid, (h, w) float32 in [0, 1], 1 is kept.

    Raises:
        ImageDimensions: the sizes differ, or are too small for level 3.
    """
    return _kept(evidence(output, input))


def evidence(output: Image, input: Image) -> Plane:
    """(34, h, w) float32 maps of what changed, on the level-3 grid.

    Raises:
        ImageDimensions: the sizes differ, or are too small for level 3.
    """
    check_pair(output, input)
    return _evidence(structure(output), structure(input))


def structure(image: Image) -> Structure:
    """What `image`, (H, W, 3) RGB, uint8 or float in [0, 1], brings to any comparison.

    Raises:
        ImageDimensions: it is too small for level 3.
    """
    check_level(image.shape[0], image.shape[1], GRID_LEVEL)
    luminance = _luminance(image)
    bands, coarse = _bands(luminance)
    logarithms, _ = _bands(_float(np.log(luminance + DARKNESS)))
    scaled = tuple(band / (np.float32(np.sqrt(np.mean(band * band))) + LEAST_CONTRAST) for band in bands)
    energies = tuple(_local_mean(band * band) for band in scaled)
    return Structure(image.shape[:2], scaled, energies, logarithms, coarse)


def _kept(maps: Plane) -> Plane:
    """What the network makes of the evidence: (h, w) float32, 1 where structure is kept."""
    weights = shipped_weights()
    hidden = np.maximum(_convolved(maps, weights.first) + weights.first_bias, 0)
    hidden = np.maximum(_convolved(hidden.reshape(-1, *maps.shape[1:]), weights.second) + weights.second_bias, 0)
    departure = (weights.last @ hidden).reshape(maps.shape[1:]) + np.float32(weights.last_bias)
    return np.asarray(1 / (1 + np.exp(np.clip(departure, -30, 30))), np.float32)


def _evidence(output: Structure, input: Structure) -> Plane:
    shape = input.coarse.shape
    maps: list[Plane] = []
    for place, level in enumerate(LEVELS):
        maps += _on_grid(_explained(input, output, place), level, shape)
    for level, log_in, log_out in zip(LEVELS, input.logarithms, output.logarithms, strict=True):
        maps += _on_grid([(log_out - log_in) * LOG_GAIN], level, shape)
    return np.clip(np.stack([*maps, input.coarse * 2 - 1, output.coarse * 2 - 1]), -LARGEST, LARGEST)


def _luminance(image: Image) -> Plane:
    weights = np.array([LUMINANCE]) / (255 if image.dtype == np.uint8 else 1)
    return _float(cv2.transform(np.asarray(image, np.float32), weights))


def _bands(plane: Plane) -> tuple[tuple[Plane, ...], Plane]:
    """The Laplacian bands of `LEVELS`, and the Gaussian level of the grid."""
    bands, coarse, base = [], plane, plane
    for level in range(LEVELS[-1] + 1):
        if level == GRID_LEVEL:
            coarse = base
        above = _float(cv2.pyrDown(base))
        if level in LEVELS:
            bands.append(base - _float(cv2.pyrUp(above, dstsize=(base.shape[1], base.shape[0]))))
        base = above
    return tuple(bands), coarse


def _explained(input: Structure, output: Structure, place: int) -> list[Plane]:
    """Both bands in units of their own contrast, and what no local gain on the other explains of each."""
    x, y, energy_x, energy_y = input.bands[place], output.bands[place], input.energies[place], output.energies[place]
    common = _local_mean(x * y)
    left_x = _float(x - common / (energy_y + LEAST_ENERGY) * y)
    left_y = _float(y - common / (energy_x + LEAST_ENERGY) * x)
    maps: list[Plane] = [x, y, left_x, left_y]
    if LEVELS[place] == GRID_LEVEL:
        maps += [_float(np.log(energy + LEAST_ENERGY)) for energy in (energy_x, energy_y)]
    return maps


def _on_grid(maps: list[Plane], level: int, shape: tuple[int, ...]) -> list[Plane]:
    """`maps` of `level` on the level-3 grid: finer ones as their four phases, coarser ones interpolated."""
    height, width = shape
    if level > GRID_LEVEL:
        return [_float(cv2.resize(plane, (width, height), interpolation=cv2.INTER_LINEAR)) for plane in maps]
    if level == GRID_LEVEL:
        return maps
    missing = (2 * height - maps[0].shape[0], 2 * width - maps[0].shape[1])
    padded = [np.pad(plane, ((0, missing[0]), (0, missing[1])), mode="edge") for plane in maps]
    return [plane[row::2, column::2] for plane in padded for row in (0, 1) for column in (0, 1)]


def _convolved(maps: Plane, kernel: Plane) -> Plane:
    """(K, h * w): a 3x3 convolution of (C, h, w) maps with replicated borders."""
    channels, height, width = maps.shape
    padded = np.pad(maps, ((0, 0), (1, 1), (1, 1)), mode="edge")
    places = [padded[:, row : row + height, column : column + width] for row in range(3) for column in range(3)]
    return _float(kernel @ np.stack(places, axis=1).reshape(channels * 9, height * width))


@cache
def shipped_weights() -> Weights:
    """The network that ships beside this module."""
    with files(__package__).joinpath("change_detector.npz").open("rb") as file, np.load(file) as stored:
        return Weights(
            first=_float(stored["first"]).reshape(len(stored["first"]), -1),
            first_bias=_float(stored["first_bias"])[:, None],
            second=_float(stored["second"]).reshape(len(stored["second"]), -1),
            second_bias=_float(stored["second_bias"])[:, None],
            last=_float(stored["last"]).reshape(1, -1),
            last_bias=float(stored["last_bias"]) - float(stored["offset"]),
        )


def _local_mean(plane: Plane) -> Plane:
    return _float(cv2.GaussianBlur(plane, (0, 0), NEIGHBOURHOOD_SIGMA, borderType=cv2.BORDER_REFLECT))


def _box_around(row: int, column: int, shape: tuple[int, ...]) -> Box:
    """The square round a sample of the grid, in pixels of the image, cut at its borders."""
    step = 2**GRID_LEVEL
    return Box(
        left=max(0, column * step - REACH_PX),
        top=max(0, row * step - REACH_PX),
        right=min(shape[1], column * step + REACH_PX),
        bottom=min(shape[0], row * step + REACH_PX),
    )


def _float(values: npt.NDArray[Any]) -> Plane:
    return np.asarray(values, np.float32)
