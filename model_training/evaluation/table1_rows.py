"""The rows of table I: what was measured, beside what the paper published."""

import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from model_training.evaluation.divergence import js_divergence

INTENSITIES = ("L", "M", "H")

Scores: TypeAlias = NDArray[np.float64]
"""(N,) float64, one score an image and random field."""


@dataclass(frozen=True, slots=True)
class Published:
    """One row of the paper's table I for one metric: means, standard deviations, distance."""

    blur: tuple[float, float]
    warped: tuple[float, float]
    distance_nats: float


PUBLISHED: dict[tuple[str, str, str], Published] = {
    ("SSIM", "L", "L"): Published((0.816, 0.036), (0.805, 0.038), 0.105),
    ("SSIM", "M", "L"): Published((0.816, 0.036), (0.788, 0.038), 0.252),
    ("SSIM", "H", "L"): Published((0.816, 0.036), (0.766, 0.040), 0.413),
    ("SSIM", "L", "M"): Published((0.762, 0.044), (0.759, 0.044), 0.022),
    ("SSIM", "M", "M"): Published((0.762, 0.044), (0.754, 0.044), 0.065),
    ("SSIM", "H", "M"): Published((0.762, 0.044), (0.746, 0.045), 0.130),
    ("SSIM", "L", "H"): Published((0.731, 0.048), (0.730, 0.047), 0.007),
    ("SSIM", "M", "H"): Published((0.731, 0.048), (0.728, 0.047), 0.023),
    ("SSIM", "H", "H"): Published((0.731, 0.048), (0.725, 0.047), 0.047),
    ("LaSSIM", "L", "L"): Published((0.991, 0.002), (0.970, 0.006), 0.832),
    ("LaSSIM", "M", "L"): Published((0.991, 0.002), (0.941, 0.012), 0.835),
    ("LaSSIM", "H", "L"): Published((0.991, 0.002), (0.902, 0.019), 0.839),
    ("LaSSIM", "L", "M"): Published((0.964, 0.006), (0.946, 0.010), 0.633),
    ("LaSSIM", "M", "M"): Published((0.964, 0.006), (0.918, 0.015), 0.817),
    ("LaSSIM", "H", "M"): Published((0.964, 0.006), (0.884, 0.020), 0.833),
    ("LaSSIM", "L", "H"): Published((0.911, 0.015), (0.895, 0.017), 0.320),
    ("LaSSIM", "M", "H"): Published((0.911, 0.015), (0.873, 0.021), 0.598),
    ("LaSSIM", "H", "H"): Published((0.911, 0.015), (0.843, 0.026), 0.757),
}
"""The paper's table I by (metric, deformation, blur).

Its JS column is the Jensen-Shannon *distance* in nats, the square root of the divergence: two Gaussians with the
means and spread of its own first row (.816, .805, .037) have a distance of .105, and its ceiling, reached in four
cells, is sqrt(ln 2) = .833.
"""


@dataclass(frozen=True, slots=True)
class Row:
    """One metric on one pair of strengths.

    Attributes:
        metric: SSIM or LaSSIM.
        deformation: strength of the warp, L, M or H.
        blur: strength of the blur, L, M or H.
        blurred: scores of the blurred images.
        warped: scores of the warped and blurred images.
    """

    metric: str
    deformation: str
    blur: str
    blurred: Scores
    warped: Scores

    @property
    def published(self) -> Published:
        """What the paper reports for this row."""
        return PUBLISHED[self.metric, self.deformation, self.blur]

    @property
    def divergence(self) -> float:
        """Jensen-Shannon divergence of the two distributions in bits, in [0, 1]."""
        return js_divergence(self.blurred, self.warped)

    @property
    def distance_nats(self) -> float:
        """The paper's own JS column: the square root of the divergence in nats."""
        return math.sqrt(self.divergence * math.log(2))

    def deviations(self) -> tuple[float, float]:
        """How far both means lie from the paper's, in the paper's standard deviations."""
        published = self.published
        blurred = abs(float(self.blurred.mean()) - published.blur[0]) / published.blur[1]
        warped = abs(float(self.warped.mean()) - published.warped[0]) / published.warped[1]
        return blurred, warped
