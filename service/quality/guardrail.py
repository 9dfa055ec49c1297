"""The guardrail: measures an enhanced image against its input, delivers only what keeps the floors.

An image that misses a floor is mended by blending the input back in, just enough: first only the input's own
Laplacian bands, which keeps the new light and colours but restores structure; if colour is at fault too, the
whole image. What no useful blend can mend is withheld, and the input itself is delivered.

Everything is scored at the canonical scale (longer side 480 px by area, never enlarged), on uint8 pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from service.quality.change_detector import WorstRegion, worst_region
from service.quality.colour import ColourShift, colour_shift
from service.quality.lassim import Box, canonical_size, lassim, to_canonical
from service.quality.pyramid import check_pair
from service.vocabulary import Policy

Image8 = npt.NDArray[np.uint8]
Float32 = npt.NDArray[np.float32]

BAND_LEVELS = 5
"""Bands of levels 0 to 4 are structure: up to about 40 px at 480x272. What is coarser is light and colour."""

MOST_BLEND = 0.95
"""A whole-image blend with more of the input than this shows no enhancement; it is withheld instead."""

STRIP_ROWS = 64
"""Full-size rows blended at a time: floats of a whole 50-megapixel photo would take gigabytes."""

BISECTIONS = 6
"""Halvings of the share: w is found to within 1/64."""


class Floors(Protocol):
    """The bounds that a delivered image must keep, None for a bound that is off (the card's GuardFloors)."""

    @property
    def lassim(self) -> float | None:
        """Least LaSSIM."""

    @property
    def worst(self) -> float | None:
        """Least value of the worst place."""

    @property
    def delta_e_mean(self) -> float | None:
        """Largest mean CIEDE2000."""

    @property
    def delta_e_p95(self) -> float | None:
        """Largest 95th percentile of CIEDE2000."""

    @property
    def redder_share(self) -> float | None:
        """Largest share of the area that turned redder than the picture as a whole."""


class Verdict(StrEnum):
    """What was done: delivered as made, blended with its input, or replaced by its input."""

    PASS = "pass"  # noqa: S105 (a verdict, not a password)
    CONSTRAINED = "constrained"
    WITHHELD = "withheld"


@dataclass(frozen=True, slots=True)
class Measures:
    """An image against its input, at the canonical scale.

    Attributes:
        lassim: the paper's number, level 3.
        worst: the worst place; its box is in pixels of the images given.
        colour: the colour shift.
    """

    lassim: float
    worst: WorstRegion
    colour: ColourShift


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is delivered and how faithful it is.

    Attributes:
        image: (H, W, 3) uint8 RGB to deliver; the very input when withheld.
        lassim: LaSSIM of `image` against the input, canonical scale.
        worst: value of the worst place of `image`.
        box: that place, in pixels of `image`.
        colour: colour shift of `image`.
        verdict: what was done; under `annotate`, what `constrain` would have done to the untouched `image`.
        blend: share of the input blended back in (under `annotate`: needed), 0 when passed, 1 when withheld.
        missed: floors that the output as made did not keep, by name.
    """

    image: Image8
    lassim: float
    worst: float
    box: Box
    colour: ColourShift
    verdict: Verdict
    blend: float
    missed: tuple[str, ...]


def measure(output: Image8, input: Image8) -> Measures:
    """LaSSIM, worst place and colour shift of `output` against `input`, both (H, W, 3) uint8 RGB of one size.

    Raises:
        ImageDimensions: the sizes differ, or are too small to score.
    """
    check_pair(output, input)
    measured = _measure_canonical(to_canonical(output), to_canonical(input))
    return Measures(measured.lassim, _at_full_size(measured.worst, input), measured.colour)


def missed_floors(measures: Measures, floors: Floors) -> tuple[str, ...]:
    """Names of the floors that `measures` does not keep."""
    kept = {
        "lassim": floors.lassim is None or measures.lassim >= floors.lassim,
        "worst": floors.worst is None or measures.worst.value >= floors.worst,
        "delta_e_mean": floors.delta_e_mean is None or measures.colour.delta_e_mean <= floors.delta_e_mean,
        "delta_e_p95": floors.delta_e_p95 is None or measures.colour.delta_e_p95 <= floors.delta_e_p95,
        "redder_share": floors.redder_share is None or measures.colour.redder_share <= floors.redder_share,
    }
    return tuple(name for name, holds in kept.items() if not holds)


def judge(output: Image8, input: Image8, floors: Floors, policy: Policy | str = Policy.CONSTRAIN) -> Judgement:
    """The image to deliver for `output`, which keeps every floor except under `annotate`.

    Args:
        output: (H, W, 3) uint8 RGB, what the generator made, at full size.
        input: (H, W, 3) uint8 RGB, the photo as sent, upright.
        floors: the model card's.
        policy: what to do when a floor is missed.

    Raises:
        ImageDimensions: the sizes differ, or are too small to score.
    """
    measures = measure(output, input)
    missed = missed_floors(measures, floors)
    if not missed:
        return _judgement(output, measures, Verdict.PASS, 0.0, missed)
    mended = None if policy == Policy.WITHHOLD else _mended(output, input, floors)
    if policy == Policy.ANNOTATE:
        verdict, share = (Verdict.WITHHELD, 1.0) if mended is None else (Verdict.CONSTRAINED, mended[2])
        return _judgement(output, measures, verdict, share, missed)
    if mended is None:
        return _judgement(input, measure(input, input), Verdict.WITHHELD, 1.0, missed)
    image, measures, share = mended
    return _judgement(image, measures, Verdict.CONSTRAINED, share, missed)


def _judgement(image: Image8, measures: Measures, verdict: Verdict, blend: float, missed: tuple[str, ...]) -> Judgement:
    worst = measures.worst
    return Judgement(image, measures.lassim, worst.value, worst.box, measures.colour, verdict, blend, missed)


def _measure_canonical(output: Image8, input: Image8) -> Measures:
    return Measures(lassim(output, input), worst_region(output, input), colour_shift(output, input))


def _at_full_size(worst: WorstRegion, image: Image8) -> WorstRegion:
    """The same place with its box in pixels of the full-size `image`."""
    height, width = image.shape[:2]
    small_width, small_height = canonical_size(width, height)
    across, down = width / small_width, height / small_height
    box = worst.box
    full = Box(
        left=int(box.left * across),
        top=int(box.top * down),
        right=min(width, round(box.right * across)),
        bottom=min(height, round(box.bottom * down)),
    )
    return WorstRegion(worst.value, full)


@dataclass(frozen=True, slots=True)
class _Blend:
    """Mixes the input into the output.

    Attributes:
        kept: (h, w, 3) float32 grey levels at the canonical scale: the coarse part of input minus output,
            which the blend leaves as the output has it; None to mix the whole image.
    """

    kept: Float32 | None

    def __call__(self, output: Image8, input: Image8, share: float) -> Image8:
        """`output` with `share` of the input blended in, at whatever size both have."""
        if self.kept is None:
            return np.asarray(cv2.addWeighted(output, 1 - share, input, share, 0), np.uint8)
        height, width = output.shape[:2]
        wide = cv2.resize(self.kept, (width, len(self.kept)), interpolation=cv2.INTER_LINEAR)
        result = np.empty_like(output)
        for top in range(0, height, STRIP_ROWS):
            rows = slice(top, min(height, top + STRIP_ROWS))
            structure = cv2.subtract(input[rows], output[rows], dtype=cv2.CV_32F)
            cv2.subtract(structure, _rows_between(wide, rows, height), structure)
            mixed = cv2.scaleAdd(structure, share, output[rows].astype(np.float32))
            result[rows] = np.clip(np.rint(mixed), 0, 255)
        return result


def _rows_between(wide: npt.NDArray[Any], rows: slice, height: int) -> Float32:
    """Rows of `wide` stretched to `height`, interpolated between their neighbours as `cv2.resize` does."""
    last = len(wide) - 1
    centres = ((np.arange(rows.start, rows.stop) + 0.5) * (len(wide) / height) - 0.5).clip(0, last)
    above = centres.astype(np.intp)
    share = (centres - above).astype(np.float32)[:, None, None]
    between: Float32 = wide[above] + share * (wide[np.minimum(above + 1, last)] - wide[above])
    return between


def _band_blend(output: Image8, input: Image8) -> _Blend:
    """A blend of the Laplacian bands of levels 0 to 4 for this pair at the canonical scale."""
    coarse: Any = cv2.subtract(input, output, dtype=cv2.CV_32F)
    shapes = []
    for _ in range(BAND_LEVELS):
        if min(coarse.shape[:2]) < 2:
            break
        shapes.append(coarse.shape)
        coarse = cv2.pyrDown(coarse)
    for shape in reversed(shapes):
        coarse = cv2.pyrUp(coarse, dstsize=(shape[1], shape[0]))
    return _Blend(coarse)


def _mended(output: Image8, input: Image8, floors: Floors) -> tuple[Image8, Measures, float] | None:
    """The least blend whose delivered pixels keep every floor, its measures and share; None if none does."""
    small_output, small_input = to_canonical(output), to_canonical(input)

    def keeps(blend: _Blend, share: float) -> bool:
        return not missed_floors(_measure_canonical(blend(small_output, small_input, share), small_input), floors)

    for blend, most in ((_band_blend(small_output, small_input), 1.0), (_Blend(None), MOST_BLEND)):
        if not keeps(blend, most):
            continue
        share = _least_share(partial(keeps, blend), most)
        delivered = _delivered(output, input, floors, blend, share, most)
        if delivered is not None:
            return delivered
    return None


def _least_share(keeps: Callable[[float], bool], most: float) -> float:
    """The least share found by bisection between 0, which misses, and `most`, which keeps the floors."""
    low, high = 0.0, most
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        low, high = (low, middle) if keeps(middle) else (middle, high)
    return high


def _delivered(
    output: Image8, input: Image8, floors: Floors, blend: _Blend, share: float, most: float
) -> tuple[Image8, Measures, float] | None:
    """The full-size blend, held to the floors on its own pixels; rounding may ask for a little more than `share`."""
    for more in (0.0, 1 / 64, 1 / 16, 1 / 4, 1.0):
        tried = min(most, share + more)
        image = blend(output, input, tried)
        measures = measure(image, input)
        if not missed_floors(measures, floors):
            return image, measures, tried
        if tried == most:
            break
    return None
