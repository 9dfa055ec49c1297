"""The finest detail of an enhanced image against its input: where was some added, erased, or made to ring?

`worst_region` looks at structure of 8 px and more at the canonical scale. This looks at what is finer, at the photo's
own resolution up to about a megapixel: Laplacian levels 0 and 1 of luminance, compared on tiles of 8x8 px. The evidence
of a tile is its energy in both images, what of each the other does not explain, how peaked the difference is, the same
of its neighbourhood, and the picture's means, for sharpening, denoising and a new file change all tiles alike. A small
network weighs it. Fitted by `lamegan-train fit-detail` (model_training.guardrail.detail_detector).
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
from service.quality.change_detector import WorstRegion
from service.quality.lassim import Box
from service.quality.pyramid import Image, check_pair
from service.resample import area_mean

Gray = npt.NDArray[np.uint8]

DETAIL_PIXELS = 1 << 20
"""Larger photos are area-reduced to so many pixels: finer detail is carried over, not made."""

TILE_PX = 8
LEVELS = 2
TILE_MAPS, PICTURE_FACTS = 18, 10
"""Maps of the tiles: 8 a level and 2 of brightness; means over the picture: 5 a level."""

LEAST_ENERGY = np.float32(0.7)
"""Squared grey levels below which energy is rounding."""

LARGEST = 8.0
REACH_PX = 12
"""Half the side of the box round the worst tile."""


@dataclass(frozen=True, slots=True)
class DetailWeights:
    """The network: per tile, two hidden layers with ReLU.

    Attributes:
        tile: (K, 18) float32.
        picture: (K, 10).
        first_bias: (K,).
        second: (J, K).
        second_bias: (J, 1).
        last: (1, J).
        last_bias: less the offset that puts the values of harmless changes near 1.
    """

    tile: Plane
    picture: Plane
    first_bias: Plane
    second: Plane
    second_bias: Plane
    last: Plane
    last_bias: float


def to_detail_scale(image: Image) -> Image:
    """`image` (H, W, 3), area-reduced to at most `DETAIL_PIXELS`; itself if it has no more."""
    height, width = image.shape[:2]
    shrink = (DETAIL_PIXELS / (height * width)) ** 0.5
    if shrink >= 1.0:
        return image
    return area_mean(image, max(1, int(width * shrink)), max(1, int(height * shrink)))


@dataclass(frozen=True, slots=True)
class DetailBands:
    """What is compared of one image.

    Attributes:
        bands: (H, W) and (H / 2, W / 2) float32, Laplacian levels 0 and 1 of luminance in grey levels.
        energies: (h, w) float32 each, their mean squares on the tiles.
        light: (h, w) float32, mean luminance of the tiles over 64.
    """

    bands: tuple[Plane, ...]
    energies: tuple[Plane, ...]
    light: Plane


def detail_bands(image: Image) -> DetailBands:
    """The fine detail of `image`, (H, W, 3) uint8 RGB at the detail scale; H, W rounded up to whole tiles."""
    plane = _luminance(image)
    grid = plane.shape[1] // TILE_PX, plane.shape[0] // TILE_PX
    bands: list[Plane] = []
    for _ in range(LEVELS):
        coarse = np.asarray(cv2.pyrDown(plane), np.uint8)
        bands.append(_band(plane, coarse))
        plane = coarse
    energies = tuple(_on_tiles(cv2.multiply(band, band), grid) for band in bands)
    return DetailBands(tuple(bands), energies, _on_tiles(plane, grid) * np.float32(1 / 64))


def worst_detail(output: Image, input: Image) -> WorstRegion:
    """The tile whose detail departs most, its box in pixels of the images given, (H, W, 3) uint8 RGB of one size.

    Raises:
        InvalidParameter, ImageDimensions: no pair of images of one size.
    """
    check_pair(output, input)
    after, before = (detail_bands(to_detail_scale(image)) for image in (output, input))
    return worst_detail_between(after, before, input.shape[:2])


def worst_detail_between(output: DetailBands, input: DetailBands, shape: tuple[int, ...]) -> WorstRegion:
    """`worst_detail` of two images measured already, whose full size is `shape` = (height, width)."""
    height, width = shape
    values = _values(output, input)
    row, column = divmod(int(np.argmin(values)), values.shape[1])
    step = TILE_PX * max(1.0, (height * width / DETAIL_PIXELS) ** 0.5)
    across, down = (column + 0.5) * step, (row + 0.5) * step
    reach = REACH_PX * step / TILE_PX
    box = Box(
        left=max(0, int(min(across, width) - reach)),
        top=max(0, int(min(down, height) - reach)),
        right=min(width, round(across + reach)),
        bottom=min(height, round(down + reach)),
    )
    return WorstRegion(float(values[row, column]), box)


def detail_map(output: Image, input: Image) -> Plane:
    """How well detail is kept in each tile, (h, w) float32 in [0, 1], 1 is kept; both (H, W, 3) uint8 RGB."""
    return _values(detail_bands(output), detail_bands(input))


def _values(output: DetailBands, input: DetailBands) -> Plane:
    weights = detail_weights()
    tiles, picture = _evidence(output, input)
    bias = (weights.picture @ picture + weights.first_bias)[:, None]
    hidden = np.maximum(weights.tile @ tiles.reshape(TILE_MAPS, -1) + bias, 0)
    hidden = np.maximum(weights.second @ hidden + weights.second_bias, 0)
    departure = (weights.last @ hidden).reshape(tiles.shape[1:]) + np.float32(weights.last_bias)
    return np.asarray(1 / (1 + np.exp(np.clip(departure, -30, 30))), np.float32)


def detail_evidence(output: Image, input: Image) -> tuple[Plane, Plane]:
    """(18, h, w) maps of the tiles and (10,) means over the picture; both (H, W, 3) uint8 RGB of one size."""
    return _evidence(detail_bands(output), detail_bands(input))


def _evidence(output: DetailBands, input: DetailBands) -> tuple[Plane, Plane]:
    maps: list[Plane] = []
    means: list[float] = []
    for level in range(LEVELS):
        difference = cv2.subtract(output.bands[level], input.bands[level])
        found = _level_evidence(difference, input.energies[level], output.energies[level])
        maps += found
        means += [cv2.mean(plane)[0] for plane in found[:5]]
    tiles = np.stack([*maps, input.light, output.light - input.light])
    return np.clip(tiles, -LARGEST, LARGEST), np.asarray(means, np.float32)


def _level_evidence(difference: Any, energy_in: Plane, energy_out: Plane) -> list[Plane]:
    """Eight maps: energies, what is left of each band, peakedness; then energies and rest of the neighbourhood."""
    grid = energy_in.shape[1], energy_in.shape[0]
    squared = cv2.multiply(difference, difference)
    change, peak = _on_tiles(squared, grid), _on_tiles(cv2.multiply(squared, squared), grid)
    common = (energy_in + energy_out - change) / 2
    near_in, near_out, near_common = (cv2.blur(plane, (3, 3)) for plane in (energy_in, energy_out, common))
    maps = [energy_in, energy_out, _left(energy_out, energy_in, common), _left(energy_in, energy_out, common)]
    maps += [np.sqrt(peak), near_in, near_out, _left(near_out, near_in, near_common)]
    return [_float(np.log(plane + LEAST_ENERGY)) for plane in maps]


def _on_tiles(plane: Any, grid: tuple[int, int]) -> Plane:
    return np.asarray(cv2.resize(plane, grid, interpolation=cv2.INTER_AREA), np.float32)


def _left(energy: Any, other: Any, common: Any) -> Any:
    """Energy that no gain on the other band explains."""
    return np.maximum(energy - common * common / (other + LEAST_ENERGY), 0)


def _luminance(image: Image) -> Gray:
    """(H, W) uint8, both sides made multiples of the tile by repeating the last pixels."""
    gray = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY)
    below, right = -gray.shape[0] % TILE_PX, -gray.shape[1] % TILE_PX
    if below or right:
        gray = cv2.copyMakeBorder(gray, 0, below, 0, right, cv2.BORDER_REPLICATE)
    return np.asarray(gray, np.uint8)


def _band(plane: Gray, coarse: Gray) -> Plane:
    return _float(cv2.subtract(plane, cv2.pyrUp(coarse, dstsize=(plane.shape[1], plane.shape[0])), dtype=cv2.CV_32F))


@cache
def detail_weights() -> DetailWeights:
    """The network that ships beside this module."""
    with files(__package__).joinpath("detail.npz").open("rb") as file, np.load(file) as stored:
        return DetailWeights(
            tile=_float(stored["first"])[:, :TILE_MAPS],
            picture=_float(stored["first"])[:, TILE_MAPS:],
            first_bias=_float(stored["first_bias"]),
            second=_float(stored["second"]),
            second_bias=_float(stored["second_bias"])[:, None],
            last=_float(stored["last"]).reshape(1, -1),
            last_bias=float(stored["last_bias"]) - float(stored["offset"]),
        )


def _float(values: Any) -> Plane:
    return np.asarray(values, np.float32)
