"""Sizes: what the generator sees of a photo."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from service.errors import ImageDimensions
from service.pixels import Pixels
from service.resample import area_mean

MIN_SIDE = 64
"""Least side a generator takes (the export contract)."""

STEP = 8
"""Shrunk sides are multiples of this, so that cameras of nearly one shape share a batch."""

SLACK = 1.1
"""A photo with up to this many times the working pixels is not shrunk: the loss would outweigh the gain."""

MAX_STRETCH = 4.0
"""A photo so narrow that its working image has this many times the working pixels is refused."""


@dataclass(frozen=True, slots=True)
class WorkingSize:
    """The size a photo is shrunk to, and the padding that brings its sides to the generator's least.

    Attributes:
        width, height: of the photo shrunk, in pixels; the photo's own where it is small enough.
        pad_x, pad_y: pixels mirrored on at the right and at the bottom.
    """

    width: int
    height: int
    pad_x: int
    pad_y: int


def working_size(width: int, height: int, working_pixels: int) -> WorkingSize:
    """The working size of a `width` x `height` photo: about `working_pixels`, aspect kept, never enlarged.

    Raises:
        ImageDimensions: the photo is so narrow that its working image would be far larger than the generator's.
    """
    scale = math.sqrt(working_pixels / (width * height))
    scale = max(scale, MIN_SIDE / min(width, height))
    if scale * math.sqrt(SLACK) >= 1:
        small_width, small_height = width, height
    else:
        small_width, small_height = (
            min(side, max(MIN_SIDE, STEP * round(side * scale / STEP))) for side in (width, height)
        )
    if small_width * small_height > MAX_STRETCH * max(working_pixels, MIN_SIDE**2):
        raise ImageDimensions("The image is too narrow for its length.", actual=[width, height])
    return WorkingSize(small_width, small_height, max(0, MIN_SIDE - small_width), max(0, MIN_SIDE - small_height))


def shrink(pixels: Pixels, size: WorkingSize) -> Pixels:
    """The working image, (h, w, 3) uint8: `pixels` averaged over areas, mirrored out to the least side."""
    small = pixels
    if small.shape[:2] != (size.height, size.width):
        small = area_mean(pixels, size.width, size.height)
    if size.pad_x or size.pad_y:
        small = np.pad(small, ((0, size.pad_y), (0, size.pad_x), (0, 0)), mode="symmetric")
    return np.ascontiguousarray(small)


def unpad(working: Pixels, size: WorkingSize) -> Pixels:
    """`working` without what `shrink` mirrored on."""
    return working[: size.height, : size.width]
