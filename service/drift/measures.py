"""The measures whose distribution is watched: one histogram each, in buckets shared by metrics and references."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

LASSIM_BUCKETS: tuple[float, ...] = (
    *(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75),
    *(0.8, 0.82, 0.84, 0.86, 0.88, 0.89, 0.9, 0.91, 0.92, 0.93, 0.94, 0.95),
    *(0.96, 0.965, 0.97, 0.975, 0.98, 0.985, 0.99, 0.995, 1.0),
)
"""Upper bounds of the LaSSIM histogram, shared by the metrics and the card's reference; the last bucket is +Inf."""

WORST_BUCKETS = (-0.5, 0.0, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0)
SHARPNESS_BUCKETS = (0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0)
LIGHT_BUCKETS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7, 0.8, 0.9)
CONTRAST_BUCKETS = (0.02, 0.04, 0.06, 0.08, 0.1, 0.12, 0.15, 0.18, 0.21, 0.25, 0.3, 0.4)
MEGAPIXEL_BUCKETS = (0.1, 0.15, 0.3, 0.5, 1.0, 2.1, 4.0, 8.3, 12.5, 25.0, 50.0)


@dataclass(frozen=True, slots=True)
class Measure:
    """One number of every photo.

    Attributes:
        name: as metrics (`lamegan_<name>`), references and commands call it.
        upper_bounds: of its buckets, ascending; one more, +Inf, follows.
        per_model: whether it depends on the model (a score), or on the photo alone.
        title: for people, with the unit.
    """

    name: str
    upper_bounds: tuple[float, ...]
    per_model: bool
    title: str

    @property
    def edges(self) -> tuple[tuple[float, float], ...]:
        """(lower, upper] of each bucket, the open ones included."""
        bounds = (float("-inf"), *self.upper_bounds, float("inf"))
        return tuple(pairwise(bounds))

    def count(self, values: Iterable[float]) -> tuple[int, ...]:
        """How many of `values` lie in each bucket."""
        counts = [0] * (len(self.upper_bounds) + 1)
        for value in values:
            counts[bisect_left(self.upper_bounds, value)] += 1
        return tuple(counts)

    @property
    def middles(self) -> tuple[float, ...]:
        """The value that stands for each bucket in a mean; an open bucket counts half as wide as its neighbour."""
        bounds = self.upper_bounds
        inner = [(lower + upper) / 2 for lower, upper in pairwise(bounds)]
        first, last = bounds[0] - (bounds[1] - bounds[0]) / 2, bounds[-1] + (bounds[-1] - bounds[-2]) / 2
        return (first, *inner, last)


MEASURES: dict[str, Measure] = {
    measure.name: measure
    for measure in (
        Measure("lassim", LASSIM_BUCKETS, True, "LaSSIM"),
        Measure("lassim_worst", WORST_BUCKETS, True, "LaSSIM of the worst region"),
        Measure("input_sharpness", SHARPNESS_BUCKETS, False, "sharpness of the photo, grey levels"),
        Measure("input_exposure", LIGHT_BUCKETS, False, "mean luminance of the photo, 0 to 1"),
        Measure("input_contrast", CONTRAST_BUCKETS, False, "contrast of the photo, 0 to 1"),
        Measure("input_megapixels", MEGAPIXEL_BUCKETS, False, "size of the photo, megapixels"),
    )
}
"""Every watched measure by name, the scores first."""
