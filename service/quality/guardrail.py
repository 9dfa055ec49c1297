"""The guardrail: measures an enhanced image against its input, delivers only what keeps the thresholds.

An image that misses a threshold is mended by blending the input back in, just enough: first only the input's own
Laplacian bands (the finest alone, where those are at fault), which keeps the new light and colours but restores
structure; if colour is at fault too, the whole image. What no useful blend can mend is withheld, and the input itself
is delivered.

Everything is scored at the canonical scale (longer side 480 px by area, never enlarged), on uint8 pixels; only the
finest detail is compared at the photo's own resolution, where the model has a threshold for it.
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

from service.errors import InvalidParameter
from service.pixels import Pixels
from service.quality.change_detector import WorstRegion
from service.quality.colour import ColourShift
from service.quality.lassim import Box
from service.quality.pyramid import check_pair
from service.quality.reference import Reference, colour_between, detail_between, lassim_between, worst_between
from service.resample import most_rows, row_blocks, widened
from service.vocabulary import Policy

Float32 = npt.NDArray[np.float32]

BAND_LEVELS = 5
"""Bands of levels 0 to 4 are structure: up to about 40 px at 480x272. What is coarser is light and colour."""

FINE_LEVELS = 3
"""Bands of levels 0 to 2 at the photo's own resolution hold the finest detail and the rings that sharpening makes."""

MOST_BLEND = 0.95
"""A whole-image blend with more of the input than this shows no enhancement; it is withheld instead."""

BISECTIONS = 6
"""Halvings of the share: w is found to within 1/64."""


class Floors(Protocol):
    """The bounds that a delivered image must keep, None for a bound that is off (the card's GuardFloors)."""

    @property
    def lassim(self) -> float | None:
        """Least LaSSIM."""

    @property
    def worst(self) -> float | None:
        """Least value of the worst region."""

    @property
    def delta_e_mean(self) -> float | None:
        """Largest mean CIEDE2000."""

    @property
    def delta_e_p95(self) -> float | None:
        """Largest 95th percentile of CIEDE2000."""

    @property
    def redder_share(self) -> float | None:
        """Largest share of the area that turned redder than the picture as a whole."""

    @property
    def paler_share(self) -> float | None:
        """Largest share of the area that was red and turned paler than a change of light explains."""

    @property
    def redness_order(self) -> float | None:
        """Least rank correlation of the redness of regions."""

    @property
    def detail(self) -> float | None:
        """Least value of the worst fine detail."""


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
        worst: the worst region; its box is in pixels of the images given.
        colour: the colour shift.
        detail: the worst fine detail at the photo's own resolution, its box as that of `worst`; None if not measured.
    """

    lassim: float
    worst: WorstRegion
    colour: ColourShift
    detail: WorstRegion | None = None


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is delivered and how faithful it is.

    Attributes:
        image: (H, W, 3) uint8 RGB to deliver; the very input when withheld.
        lassim: LaSSIM of `image` against the input, canonical scale.
        worst: value of the worst region of `image`.
        box: that place, in pixels of `image`.
        colour: colour shift of `image`.
        verdict: what was done; under `annotate`, what `constrain` would have done to the untouched `image`.
        blend: share of the input blended back in (under `annotate`: needed), 0 when passed, 1 when withheld.
        missed: thresholds that the output as made did not keep, by name.
        delivered: `image` with what was measured of it.
        detail: worst fine detail of `image`; None where the model has no threshold for it.
    """

    image: Pixels
    lassim: float
    worst: float
    box: Box
    colour: ColourShift
    verdict: Verdict
    blend: float
    missed: tuple[str, ...]
    delivered: Reference
    detail: WorstRegion | None = None


def measure(output: Pixels, input: Pixels, *, detail: bool = False) -> Measures:
    """LaSSIM, worst region and colour shift of `output` against `input`, both (H, W, 3) uint8 RGB of one size.

    The worst fine detail too, if `detail` is set: it is measured at the photo's own resolution and takes longer.

    Raises:
        ImageDimensions: the sizes differ, or are too small to score.
    """
    check_pair(output, input)
    return measure_between(Reference(output), Reference(input), detail=detail)


def measure_between(output: Reference, input: Reference, *, detail: bool = False) -> Measures:
    """`measure` of two images of one size; what either has measured already is used again."""
    return Measures(
        lassim_between(output, input),
        WorstRegion(*worst_between(output, input)),
        colour_between(output, input),
        detail_between(output, input) if detail else None,
    )


def missed_floors(measures: Measures, floors: Floors) -> tuple[str, ...]:
    """Names of the thresholds that `measures` does not keep; a threshold for what was not measured is not kept."""
    colour = _missed_colour_floors(measures.colour, floors)
    detail_missed = floors.detail is not None and not (measures.detail and measures.detail.value >= floors.detail)
    lassim_missed = floors.lassim is not None and not measures.lassim >= floors.lassim
    worst_missed = floors.worst is not None and not measures.worst.value >= floors.worst
    return (*["lassim"] * lassim_missed, *["worst"] * worst_missed, *colour, *["detail"] * detail_missed)


def judge(
    output: Pixels, input: Pixels | Reference, floors: Floors, policy: Policy | str = Policy.CONSTRAIN
) -> Judgement:
    """The image to deliver for `output`, which keeps every threshold except under `annotate`.

    Args:
        output: (H, W, 3) uint8 RGB, what the generator made, at full size.
        input: (H, W, 3) uint8 RGB, the photo as sent, upright; or that with what was measured of it already.
        floors: the model card's.
        policy: what to do when a threshold is missed.

    Raises:
        ImageDimensions: the sizes differ, or are too small to score.
        InvalidParameter: no threshold is stated, so that nothing would be judged.
    """
    if not any(getattr(floors, name) is not None for name, kind in vars(Floors).items() if isinstance(kind, property)):
        raise InvalidParameter("No threshold is stated: the image would pass unjudged.")
    made, given = Reference(output), input if isinstance(input, Reference) else Reference(input)
    check_pair(output, given.pixels)
    measures = _measure_for(floors, made, given)
    missed = missed_floors(measures, floors)
    if not missed:
        return _judgement(made, measures, Verdict.PASS, 0.0, missed)
    mended = None if policy == Policy.WITHHOLD else _mended(made, given, floors, missed)
    if policy == Policy.ANNOTATE:
        verdict, share = (Verdict.WITHHELD, 1.0) if mended is None else (Verdict.CONSTRAINED, mended[2])
        return _judgement(made, measures, verdict, share, missed)
    if mended is None:
        return _judgement(given, _measure_for(floors, given, given), Verdict.WITHHELD, 1.0, missed)
    image, measures, share = mended
    return _judgement(image, measures, Verdict.CONSTRAINED, share, missed)


def _missed_colour_floors(colour: ColourShift, floors: Floors) -> list[str]:
    bounds = {
        "delta_e_mean": floors.delta_e_mean,
        "delta_e_p95": floors.delta_e_p95,
        "redder_share": floors.redder_share,
        "paler_share": floors.paler_share,
    }
    missed = [name for name, most in bounds.items() if most is not None and not getattr(colour, name) <= most]
    order_missed = floors.redness_order is not None and not colour.redness_order >= floors.redness_order
    return [*missed, *["redness_order"] * order_missed]


def _measure_for(floors: Floors, output: Reference, input: Reference) -> Measures:
    return measure_between(output, input, detail=floors.detail is not None)


def _keeps(output: Reference, input: Reference, floors: Floors) -> bool:
    """Whether `missed_floors` is empty; the cheap measures come first, and no more are taken than needed."""
    if floors.lassim is not None and not lassim_between(output, input) >= floors.lassim:
        return False
    if floors.worst is not None and not worst_between(output, input)[0] >= floors.worst:
        return False
    return not _missed_colour_floors(colour_between(output, input), floors)


def _keeps_detail(output: Callable[[], Reference], input: Reference, floors: Floors) -> bool:
    """Whether `output` keeps the threshold of fine detail; it is made at the detail scale only if there is one."""
    return floors.detail is None or detail_between(output(), input).value >= floors.detail


def _judgement(
    image: Reference, measures: Measures, verdict: Verdict, blend: float, missed: tuple[str, ...]
) -> Judgement:
    worst, colour = measures.worst, measures.colour
    return Judgement(
        image.pixels, measures.lassim, worst.value, worst.box, colour, verdict, blend, missed, image, measures.detail
    )


@dataclass(frozen=True, slots=True)
class _Blend:
    """Mixes the input into the output.

    Attributes:
        kept: (h, w, 3) float32 grey levels at the scale it was made for: the coarse part of input minus output,
            which the blend leaves as the output has it; None to mix the whole image.
    """

    kept: Float32 | None

    def __call__(self, output: Pixels, input: Pixels, share: float) -> Pixels:
        """`output` with `share` of the input blended in, at whatever size both have."""
        if self.kept is None:
            return np.asarray(cv2.addWeighted(output, 1 - share, input, share, 0), np.uint8)
        height, width = output.shape[:2]
        kept = widened(self.kept * np.float32(-share), width)
        blocks = row_blocks(len(kept), height)
        room = np.empty((most_rows(blocks), kept.shape[1]), np.float32)
        result = np.empty(output.shape, np.uint8)
        for block in blocks:
            flat = (-1, kept.shape[1])
            made, given = output[block.rows].reshape(flat), input[block.rows].reshape(flat)
            mixed = cv2.addWeighted(made, 1 - share, given, share, 0, dtype=cv2.CV_32F)
            cv2.add(mixed, block.interpolate(kept, room), result[block.rows].reshape(flat), dtype=cv2.CV_8U)
        return result


def _band_blend(output: Pixels, input: Pixels) -> _Blend:
    """A blend of the Laplacian bands of levels 0 to 4 for this pair at the canonical scale."""
    return _low_pass_blend(output, input, BAND_LEVELS)


def _fine_blend(output: Pixels, input: Pixels) -> _Blend:
    """A blend of the Laplacian bands of levels 0 to 2 alone for this pair at the detail scale."""
    return _low_pass_blend(output, input, FINE_LEVELS)


def _low_pass_blend(output: Pixels, input: Pixels, levels: int) -> _Blend:
    """A blend of the Laplacian bands finer than `levels` of this pair."""
    coarse: Any = cv2.subtract(input, output, dtype=cv2.CV_32F)
    shapes = []
    for _ in range(levels):
        if min(coarse.shape[:2]) < 2:
            break
        shapes.append(coarse.shape)
        coarse = cv2.pyrDown(coarse)
    for shape in reversed(shapes):
        coarse = cv2.pyrUp(coarse, dstsize=(shape[1], shape[0]))
    return _Blend(coarse)


def _mended(
    output: Reference, input: Reference, floors: Floors, missed: tuple[str, ...]
) -> tuple[Reference, Measures, float] | None:
    """The least blend whose delivered pixels keep every threshold, its measures and share; None if none does."""
    small = output.canonical, input.canonical

    def keeps(blend: _Blend, share: float) -> bool:
        return _keeps(Reference(blend(*small, share)), input, floors) and _keeps_detail(
            lambda: Reference(blend(output.detail_scale, input.detail_scale, share)), input, floors
        )

    blends = [(_band_blend(*small), 1.0), (_Blend(None), MOST_BLEND)]
    if "detail" in missed:
        blends.insert(0, (_fine_blend(output.detail_scale, input.detail_scale), 1.0))
    for blend, most in blends:
        if not keeps(blend, most):
            continue
        share = _least_share(partial(keeps, blend), most)
        delivered = _delivered(output.pixels, input, floors, blend, share, most)
        if delivered is not None:
            return delivered
    return None


def _least_share(keeps: Callable[[float], bool], most: float) -> float:
    """The least share found by bisection between 0, which misses, and `most`, which keeps the thresholds."""
    low, high = 0.0, most
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        low, high = (low, middle) if keeps(middle) else (middle, high)
    return high


def _delivered(
    output: Pixels, input: Reference, floors: Floors, blend: _Blend, share: float, most: float
) -> tuple[Reference, Measures, float] | None:
    """The full-size blend, judged by its own pixels; rounding may ask for a little more than `share`."""
    for more in (0.0, 1 / 64, 1 / 16, 1 / 4, 1.0):
        tried = min(most, share + more)
        image = Reference(blend(output, input.pixels, tried))
        measures = _measure_for(floors, image, input)
        if not missed_floors(measures, floors):
            return image, measures, tried
        if tried == most:
            break
    return None
