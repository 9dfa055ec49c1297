"""Images made smaller and rows made more, reading each pixel of a large photo once and holding no float copy of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from service.pixels import Pixels, Plane

LEAST_FACTOR = 2.0
"""From this shrinking factor on, summing rows first pays: a row of the result has a whole source row at least."""

LEAST_PIXELS = 2**19
"""Smaller images are left to OpenCV: there calls would cost more than pixels."""

_STRIP_ROWS = 16
_BLOCK_ROWS = 16
"""Few enough for the cache, many enough that calls cost little beside pixels; measured at 720p and 12 megapixels."""

_NEGLIGIBLE = 1e-3
"""A share of a pixel below this counts as none, as in OpenCV's `computeResizeAreaTab`."""


@dataclass(frozen=True, slots=True)
class _Cell:
    """The source rows of one row of the result.

    Attributes:
        first, last: whole source rows, [first, last).
        before, after: shares of the rows at `first - 1` and `last` that belong to it too.
        scale: brings their weighted mean, as it comes out of `_sum_rows`, to the mean over the cell.
    """

    first: int
    last: int
    before: float
    after: float
    scale: float


def area_mean(image: Pixels, width: int, height: int) -> Pixels:
    """`image`, (H, W, 3) uint8, as the means over areas, (height, width, 3) uint8.

    Rows are summed before columns, in the processor's cache; OpenCV's `INTER_AREA` goes through columns first, and so
    through every pixel at several times the cost. Both are exact means in float32: they differ by one grey level where
    the mean lies half-way, in less than 1 % of pixels.
    """
    rows, columns = image.shape[:2]
    if rows * columns < LEAST_PIXELS or min(rows / height, columns / width) < LEAST_FACTOR:
        return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    flat, cells = _flat_rows(image), _cells(rows, height)
    result = np.empty((height, width, 3), np.uint8)
    sums = np.empty((_STRIP_ROWS, columns * 3), np.float32)
    for top in range(0, height, _STRIP_ROWS):
        strip = cells[top : top + _STRIP_ROWS]
        for index, cell in enumerate(strip):
            _sum_rows(flat, cell, sums[index : index + 1])
        wide = sums[: len(strip)].reshape(len(strip), columns, 3)
        means = np.asarray(cv2.resize(wide, (width, len(strip)), interpolation=cv2.INTER_AREA))
        means = means * np.array([cell.scale for cell in strip], np.float32)[:, None, None]
        cv2.convertScaleAbs(means, result[top : top + len(strip)])
    return result


def _sum_rows(flat: Pixels, cell: _Cell, total: Plane) -> None:
    """Write the rows of `cell`, weighted, into `total`, (1, n)."""
    cv2.reduce(flat[cell.first : cell.last], 0, cv2.REDUCE_SUM, total, cv2.CV_32F)
    if cell.before:
        row = flat[cell.first - 1 : cell.first]
        cv2.accumulateWeighted(row, total, cell.before / (1 + cell.before))
    if cell.after:
        row = flat[cell.last : cell.last + 1]
        cv2.accumulateWeighted(row, total, cell.after / (1 + cell.before + cell.after))


def _flat_rows(image: Pixels) -> Pixels:
    """(H, W * 3) of (H, W, 3) without a copy, also of a part cut out of a larger image."""
    height, width, channels = image.shape
    if image.strides[1:] != (channels, 1):
        image = np.ascontiguousarray(image)
    shape, strides = (height, width * channels), (image.strides[0], 1)
    return np.lib.stride_tricks.as_strided(image, shape, strides, writeable=False)


@lru_cache(maxsize=64)
def _cells(rows: int, height: int) -> tuple[_Cell, ...]:
    """Which source rows make up each row of the result.

    Source: OpenCV, modules/imgproc/src/resize.cpp, computeResizeAreaTab.
    """
    step = rows / height
    found = []
    for index in range(height):
        start, end = index * step, index * step + step
        size = min(step, rows - start)
        last = min(math.floor(end), rows - 1)
        first = min(math.ceil(start), last)
        before = first - start if first - start > _NEGLIGIBLE else 0.0
        after = min(end - last, 1.0, size) if end - last > _NEGLIGIBLE else 0.0
        found.append(_Cell(first, last, before, after, (1 + before + after) / size))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class RowBlock:
    """A few rows of the result, and the source rows that they lie between.

    Attributes:
        rows: which, of the result.
        shares: (n, k) float32, of each source row in each row of the result.
        source: the k source rows.
    """

    rows: slice
    shares: Plane
    source: slice

    def interpolate(self, planes: Plane, out: Plane) -> Plane:
        """Rows of `planes`, (h, m), as (n, m), written into the beginning of `out`."""
        count = self.rows.stop - self.rows.start
        found: Plane = np.matmul(self.shares, planes[self.source], out=out[:count])
        return found


@lru_cache(maxsize=64)
def row_blocks(source_height: int, height: int) -> tuple[RowBlock, ...]:
    """How to interpolate `source_height` rows to `height` as `cv2.resize` does: pixel centres aligned, clamped ends.

    The rows of a block are one small matrix product, which reads their source rows once for all of them.
    """
    centres = ((np.arange(height) + 0.5) * (source_height / height) - 0.5).clip(0, source_height - 1)
    above = np.minimum(centres.astype(np.intp), max(0, source_height - 2))
    share = (centres - above).astype(np.float32)
    return tuple(
        _row_block(above[top : top + _BLOCK_ROWS], share[top : top + _BLOCK_ROWS], top, source_height)
        for top in range(0, height, _BLOCK_ROWS)
    )


def _row_block(above: npt.NDArray[np.intp], share: Plane, top: int, source_height: int) -> RowBlock:
    """The block of the result's rows from `top` on, which lie `share` of the way from rows `above` to the next."""
    first, last = int(above[0]), min(int(above[-1]) + 2, source_height)
    shares = np.zeros((len(above), last - first), np.float32)
    index = np.arange(len(above))
    shares[index, above - first] = 1 - share
    if last - first > 1:
        shares[index, above - first + 1] = share
    return RowBlock(slice(top, top + len(above)), shares, slice(first, last))


def most_rows(blocks: tuple[RowBlock, ...]) -> int:
    """Rows of the largest block: how much room `RowBlock.interpolate` needs."""
    return max(len(block.shares) for block in blocks)


def widened(plane: Any, width: int) -> Plane:
    """(h, w, C) float32 stretched to (h, width * C), columns interpolated, rows still to be."""
    wide = cv2.resize(plane, (width, len(plane)), interpolation=cv2.INTER_LINEAR)
    return np.asarray(wide, np.float32).reshape(len(plane), -1)
