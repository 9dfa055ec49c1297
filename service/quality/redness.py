"""Redness between two images: where it rose or fell by itself, and whether the order of regions is kept.

Redness is a sign, so a change of it needs a cause. The cause that is let pass is a change of light over the picture:
exposure, gamma, haze, uneven light, white balance. It is fitted to the picture as a whole, and what it does not
explain is measured. A sensor that is full explains paleness too.

Source: Diffey, Oliver, Farr, "A portable instrument for quantifying erythema induced by ultraviolet radiation",
British Journal of Dermatology 111 (1984), for the erythema index log(R / G).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Plane = npt.NDArray[Any]
"""(h, w) or (n,) floats."""

Mask = npt.NDArray[np.bool_]

REDDER_SHIFT = 12.0
"""Rise of a* (green to red) that is clearly redder, fall that is clearly paler: twelve times what can just be seen."""

RED_CHROMA = 20.0
"""A place is red only if its own a* is at least this; a grey that warms up is not a red area."""

ORDINARY_RESIDUAL = 6.0
"""Change of a* beyond the whole picture's up to which a region takes part in finding that change."""

MOST_PURPLE = 0.5
"""Where b* lies further below zero than this share of a*, a region is purple or blue, though its a* is high."""

FULL, BRIGHT = 240 / 255, 0.6
"""A place whose red is `FULL` after and was `BRIGHT` before has lost its redness to the sensor's limit."""

GRID_PX = 48
"""Longer side of the grid on which regions are ranked: 10x10 px of the canonical 480x272."""

LIT = 40.0
"""Grey level of luminance from which a region of the input is lit; half of it is asked of the output."""

UNSEEN = 0.02
"""Difference of log(R / G) that cannot be seen and does not change a region's rank."""

LEAST_PLACES = 100
"""Fewer lit regions than this are not ranked."""

_ORDINARY_INDEX = 0.08
_DARK = 2.0
"""Grey levels added to R and G before their logarithms: in the dark a ratio is noise."""

_RIDGE = 1e-5
"""Share of the regions by which terms in the change of lightness are held back.

Where light changed all over the picture they are far above it; where one region changed they would explain just that.
"""

_LUMINANCE = np.array([0.2125, 0.7154, 0.0721])


def redder(after: Plane, before: Plane) -> Mask:
    """Where the picture `before` turned clearly redder than its change as a whole explains.

    Both (h, w, 3) CIELAB; bold red regions are found, not a picture whose colours all came back from behind a haze.
    """
    return np.asarray(clearly_redder(after, before) & (after[..., 1] - expected_redness(after, before) >= REDDER_SHIFT))


def paler(after: Plane, before: Plane, red_after: Plane, red_before: Plane) -> Mask:
    """Where a red region turned clearly paler than a change of light over the picture explains.

    Args:
        after: (h, w, 3) CIELAB of the output.
        before: the input's.
        red_after: (h, w) its red channel in [0, 1].
        red_before: the input's.
    """
    fell = clearly_redder(before, after) & ~((red_after >= FULL) & (red_before >= BRIGHT))
    if not fell.any():
        return fell
    fell &= expected_redness(after, before) - after[..., 1] >= REDDER_SHIFT
    if not fell.any():
        return fell
    return np.asarray(fell & (_redness_in_new_light(after, before) - after[..., 1] >= REDDER_SHIFT))


def clearly_redder(after: Plane, before: Plane) -> Mask:
    """Where a* rose by `REDDER_SHIFT` or more and the place is red now; both (h, w, 3) CIELAB."""
    redness, yellowness = after[..., 1], after[..., 2]
    is_red = (redness >= RED_CHROMA) & (yellowness >= -MOST_PURPLE * redness)
    return np.asarray(is_red & (redness - before[..., 1] >= REDDER_SHIFT))


def expected_redness(after: Plane, before: Plane) -> Plane:
    """a* of each region if the whole picture changed alike: linear in the colour before and in where the place is.

    Fitted twice, the second time without the regions that the first fit leaves far off.
    """
    terms = _plain_terms(before)
    redness = after[..., 1].ravel().astype(np.float64)
    expected = _least_squares(terms, terms, redness) @ terms
    ordinary = np.abs(redness - expected) <= ORDINARY_RESIDUAL
    if ordinary.mean() > 0.5:
        expected = _least_squares(terms * ordinary, terms, redness) @ terms
    return np.asarray(expected.reshape(before.shape[:2]))


def _redness_in_new_light(after: Plane, before: Plane) -> Plane:
    """As `expected_redness`, and light may change unevenly: redness scales with place, lightness and its change."""
    plain = _plain_terms(before)
    redness = after[..., 1].ravel().astype(np.float64)
    ordinary = np.abs(redness - _least_squares(plain, plain, redness) @ plain) <= ORDINARY_RESIDUAL
    if ordinary.mean() <= 0.5:
        ordinary[:] = True
    _, down, across, lightness, was_red, _ = plain
    lighter = (after[..., 0] - before[..., 0]).ravel() / 50.0
    scaled = [was_red * factor for factor in (lighter, lighter * lighter, down, across, lightness)]
    terms = np.stack([*plain, lighter, *scaled], axis=-1)
    expected = terms @ _held_back(terms[ordinary], redness[ordinary], len(plain))
    return np.asarray(expected.reshape(before.shape[:2]))


def _plain_terms(before: Plane) -> Plane:
    """(6, h * w): one, down, across, and the colour before."""
    height, width = before.shape[:2]
    terms = np.empty((6, height * width))
    terms[:3] = _position_terms(height, width)
    terms[3:] = before.reshape(-1, 3).T
    terms[3:] /= 50.0
    return terms


@lru_cache(maxsize=16)
def _position_terms(height: int, width: int) -> Plane:
    """(3, n): one, how far down and how far across each region is, in [-1, 1]."""
    down, across = _coordinates(height, width)
    return np.stack([np.ones(height * width), down.ravel(), across.ravel()])


def redness_order(output: Plane, input: Plane) -> float:
    """Rank correlation (Spearman) of log(R / G) between regions of `output` and of `input` in the output's light.

    1: whatever was redder than another region still is; a change of light over the picture, and differences that cannot
    be seen, leave it at 1. Both (H, W, 3) RGB of one size, uint8 or float in [0, 1], compared on a grid of lit regions.
    """
    return redness_order_between(redness_grid(output), redness_grid(input))


def redness_order_between(after: Plane, before: Plane) -> float:
    """`redness_order` of an output and an input whose `redness_grid` was measured."""
    light_after, light_before = after @ _LUMINANCE, before @ _LUMINANCE
    lit = (light_before >= LIT) & (light_after >= LIT / 2)
    lit &= (after[..., 0] < 255 * FULL) & (before[..., 0] < 255 * FULL)
    if int(lit.sum()) < LEAST_PLACES:
        return 1.0
    index_after, index_before = (_erythema_index(image[lit]) for image in (after, before))
    down, across = _coordinates(*lit.shape)
    places = down[lit], across[lit]
    brighter = np.log(light_after[lit] / light_before[lit])
    expected, gain = _index_in_new_light(index_after, index_before, np.log(light_before[lit] / 128), brighter, places)
    moved = index_after - expected
    order = _spearman(expected + np.sign(moved) * np.maximum(np.abs(moved) - UNSEEN, 0), expected)
    return order if gain > 0 or float(np.ptp(index_before)) <= UNSEEN else -abs(order)


def _index_in_new_light(
    after: Plane, before: Plane, light: Plane, brighter: Plane, places: tuple[Plane, Plane]
) -> tuple[Plane, float]:
    """log(R / G) of regions if only the light over the picture changed, all (n,): smooth in place and in light.

    Also its mean rise with the index before, which a change of light cannot make negative. Fitted twice: first without
    the change of light, to leave out regions that changed by themselves.
    """
    fields = [*_smooth_fields(*places), light]
    plain = np.stack([*fields, light * light, *(field * before for field in fields), before * before], axis=-1)
    off = np.abs(after - plain @ _held_back(plain, after, plain.shape[1]))
    ordinary = off <= max(_ORDINARY_INDEX, float(np.median(off)))
    terms = np.column_stack([plain, brighter, brighter * brighter, brighter * light, brighter * before])
    weights = _held_back(terms[ordinary], after[ordinary], plain.shape[1])
    first = len(fields) + 1
    gains = np.stack([*fields, 2 * before, brighter], axis=-1) @ np.append(weights[first : plain.shape[1]], weights[-1])
    return np.asarray(terms @ weights), float(gains.mean())


def _smooth_fields(down: Plane, across: Plane) -> list[Plane]:
    """Products of cosines with at most two half-waves over the picture, the constant first."""
    rows, columns = ([np.cos(waves * np.pi * (axis + 1) / 2) for waves in range(3)] for axis in (down, across))
    return [rows[i] * columns[j] for i in range(3) for j in range(3 - i)]


def _spearman(first: Plane, second: Plane) -> float:
    """Rank correlation in [-1, 1], ties at their mean rank; 1 where both are constant."""
    ranks = np.stack([_ranks(values) for values in (first, second)])
    ranks -= ranks.mean(axis=1, keepdims=True)
    spread = float(np.sqrt(np.prod(np.square(ranks).sum(axis=1))))
    if spread == 0.0:
        return 1.0 if np.array_equal(ranks[0], ranks[1]) else 0.0
    return float(np.clip(ranks[0] @ ranks[1] / spread, -1.0, 1.0))


def _ranks(values: Plane) -> Plane:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[inverse])


def _erythema_index(colours: Plane) -> Plane:
    """log(R / G) of (n, 3) RGB in grey levels."""
    return np.asarray(np.log((colours[:, 0] + _DARK) / (colours[:, 1] + _DARK)))


def redness_grid(image: Plane) -> Plane:
    """Regions to rank, (h, w, 3) float64 grey levels: area means of `image`, the longer side at most `GRID_PX`."""
    height, width = image.shape[:2]
    factor = min(1.0, GRID_PX / max(height, width))
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    scale = 1.0 if image.dtype == np.uint8 else 255.0
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.float64) * scale


def _coordinates(height: int, width: int) -> tuple[Plane, Plane]:
    """Down and across, (h, w) each, from -1 to 1."""
    down, across = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    return down, across


def _least_squares(weighted: Plane, terms: Plane, values: Plane) -> Plane:
    """Coefficients (k,) of (k, n) terms, pulled a hair towards zero so that a flat picture has some too."""
    return np.asarray(np.linalg.solve(weighted @ terms.T + 1e-6 * np.eye(len(terms)), weighted @ values))


def _held_back(terms: Plane, values: Plane, free: int) -> Plane:
    """Coefficients (k,) of (n, k) terms by least squares; terms after the first `free` are held back by `_RIDGE`."""
    ridge = np.full(terms.shape[1], 1e-4)
    ridge[free:] += _RIDGE * len(values)
    return np.asarray(np.linalg.solve(terms.T @ terms + np.diag(ridge), terms.T @ values))
