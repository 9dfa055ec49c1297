"""Whether a photo is fit for use, by itself: each measure in numbers and words, with a verdict.

All measures are taken at the canonical scale, of luminance Y = 0.299 R + 0.587 G + 0.114 B. `LIMITS` were set on clean
photos and the same degraded on purpose; benchmarks/assessment.py says how often they are right.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import cv2
import numpy as np

from service.pixels import Pixels, Plane

BLOCK = 16
DARK, WHITE = 10, 245
"""Blocks whose mean luminance is outside these say nothing of noise: they are clipped."""

GLARING = 245
"""Glare has all three channels at least here."""

BLACK_SHARE = 0.06
"""What is darker than this share of the brightest twentieth of a photo is its black surround, or shows as much."""

NEAR, FAR = 3, 12
"""Steps in pixels whose luminance differences are compared to tell blur, along rows, columns and both diagonals."""

_NOISE_KERNEL = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
"""Second differences both ways: nothing of an image but noise, mostly. Source: Immerkaer, CVIU 64(2), 1996."""

_NOISE_GAIN = float(np.sqrt(np.pi / 2) / 6)
_DIRECTIONS = ((0.0, 1.0), (1.0, 0.0), (0.7071, 0.7071), (0.7071, -0.7071))


class Fitness(StrEnum):
    """What to do with a photo, from the best."""

    GOOD = "good"
    USABLE = "usable"
    RETAKE = "retake"


@dataclass(frozen=True, slots=True)
class Limits:
    """What a value means.

    Attributes:
        retake: from here on the photo is of no use.
        good: from here on nothing is wanting. Below `retake` if less is better.
        unit: of the value.
        other: the same two for too high a value, where both ends are bad.
    """

    retake: float
    good: float
    unit: str
    other: tuple[float, float] | None = None

    def place(self, value: float) -> float:
        """Where `value` lies: 0 at the limit of retaking, 1 at that of good, beyond them below and above."""
        at = (value - self.retake) / (self.good - self.retake)
        if self.other is None:
            return at
        return min(at, (value - self.other[0]) / (self.other[1] - self.other[0]))


LIMITS: dict[str, Limits] = {
    "sharpness": Limits(0.31, 0.38, "ratio of differences over 3 and 12 px"),
    "noise": Limits(12.0, 4.0, "grey levels"),
    "haze": Limits(0.46, 0.25, "share of white"),
    "exposure": Limits(0.10, 0.20, "mean luminance of the lit part", other=(0.78, 0.68)),
    "glare": Limits(0.11, 0.04, "share of the photo"),
    "content_area": Limits(0.17, 0.35, "share of the photo"),
    "resolution": Limits(128.0, 272.0, "pixels of the shorter side"),
}
"""Of each measure, in the order in which they are told."""

_WORDS: dict[str, dict[Fitness, str]] = {
    "sharpness": {Fitness.GOOD: "sharp", Fitness.USABLE: "a little soft", Fitness.RETAKE: "blurred"},
    "noise": {Fitness.GOOD: "clean", Fitness.USABLE: "some grain", Fitness.RETAKE: "very grainy"},
    "haze": {Fitness.GOOD: "clear", Fitness.USABLE: "a little hazy", Fitness.RETAKE: "hazy"},
    "exposure": {Fitness.GOOD: "well lit", Fitness.USABLE: "unevenly lit", Fitness.RETAKE: "badly lit"},
    "glare": {Fitness.GOOD: "little glare", Fitness.USABLE: "some glare", Fitness.RETAKE: "large glare"},
    "content_area": {
        Fitness.GOOD: "fills the photo",
        Fitness.USABLE: "small in the photo",
        Fitness.RETAKE: "too small in the photo",
    },
    "resolution": {Fitness.GOOD: "enough pixels", Fitness.USABLE: "few pixels", Fitness.RETAKE: "too few pixels"},
}

_EXPLAINS: dict[str, tuple[str, ...]] = {
    "exposure": ("sharpness", "noise"),
    "content_area": ("sharpness",),
    "glare": ("sharpness", "haze"),
    "haze": ("sharpness",),
}
"""Measures that are bad too where one is beyond use, without being the reason."""

_ADVICE: dict[str, str] = {
    "sharpness": "Hold the camera still and let it focus.",
    "noise": "Use more light.",
    "haze": "Wipe the lens, and wait until it is no longer misted.",
    "exposure": "Change the light or the distance.",
    "glare": "Tilt the camera so that the light is not thrown back.",
    "content_area": "Go nearer, or use the picture without its border.",
    "resolution": "Send the photo as the camera took it, not made smaller.",
}


@dataclass(frozen=True, slots=True)
class Measure:
    """One measure of a photo.

    Attributes:
        value: in the unit of its limits.
        score: 0 worst, 0.4 at the limit of retaking, 0.8 at that of good, 1 best.
        verdict: what it means by itself.
        words: the same for people.
    """

    value: float
    score: float
    verdict: Fitness
    words: str


@dataclass(frozen=True, slots=True)
class Assessment:
    """What a photo is like.

    Attributes:
        measures: by the names of `LIMITS`, in their order.
        verdict: the worst of theirs.
        reasons: names of the measures that give this verdict, the worst first; none if it is good.
        score: 0 worst to 1 best.
        advice: one or two sentences for whoever takes the photo.
    """

    measures: dict[str, Measure]
    verdict: Fitness
    reasons: list[str]
    score: float
    advice: str


def assess(photo: Pixels, width: int, height: int) -> Assessment:
    """Assess a photo.

    Args:
        photo: (h, w, 3) uint8 RGB at the canonical scale.
        width, height: of the photo as sent, in pixels.
    """
    luminance = np.asarray(cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY), np.uint8)
    darkest = np.asarray(cv2.min(cv2.min(photo[..., 0], photo[..., 1]), photo[..., 2]), np.uint8)
    seen = cv2.blur(luminance, (5, 5)) >= max(1.0, BLACK_SHARE * quantile_of_bytes(luminance, 0.95))
    values = {
        "sharpness": _sharpness(luminance),
        "noise": _noise(luminance.astype(np.float32)),
        "haze": quantile_of_bytes(np.asarray(cv2.erode(darkest, _SQUARE), np.uint8), 0.25) / 255,
        "exposure": float(luminance[seen].mean()) / 255 if seen.any() else 0.0,
        "glare": float((darkest >= GLARING).mean()),
        "content_area": float(seen.mean()),
        "resolution": float(min(width, height)),
    }
    return _judged({name: _measure(name, value) for name, value in values.items()})


_SQUARE = np.ones((9, 9), np.uint8)


def quantile_of_bytes(plane: Pixels, share: float) -> float:
    """`numpy.quantile` of (h, w) uint8, by counting: an eighth of the time."""
    counts = np.asarray(cv2.calcHist([plane], [0], None, [256], [0, 256])).ravel()
    reached = np.cumsum(counts, dtype=np.float64)
    rank = share * (plane.size - 1)
    low, part = int(rank), rank - int(rank)
    below, above = (int(np.searchsorted(reached, min(r, plane.size - 1), side="right")) for r in (low, low + 1))
    return below + (above - below) * part if part < 0.5 else above - (above - below) * (1 - part)


def _noise(luminance: Plane) -> float:
    """Strength of the grain in grey levels, in the smoothest fifth of the blocks that are not clipped."""
    means = _blocks(luminance)
    lit = (means > DARK) & (means < WHITE)
    differences = _blocks(np.abs(np.asarray(cv2.filter2D(luminance, -1, _NOISE_KERNEL), np.float32)))
    return float(np.percentile(differences[lit], 20)) * _NOISE_GAIN if lit.any() else 0.0


def _blocks(plane: Plane) -> Plane:
    """Means of whole blocks of `BLOCK` pixels, at least one."""
    rows, columns = max(1, plane.shape[0] // BLOCK), max(1, plane.shape[1] // BLOCK)
    whole = plane[: rows * BLOCK, : columns * BLOCK]
    return np.asarray(cv2.resize(whole, (columns, rows), interpolation=cv2.INTER_AREA), np.float32)


def _sharpness(luminance: Pixels) -> float:
    """Differences over a short step for each unit over a long one, in the direction in which they are fewest.

    A camera that moved leaves detail across its way, so a mean over all directions would miss it.
    """
    soft = np.asarray(cv2.GaussianBlur(luminance, (0, 0), 0.8), np.uint8)
    return min(
        _difference(soft, direction, NEAR) / (_difference(soft, direction, FAR) + 0.5) for direction in _DIRECTIONS
    )


def _difference(plane: Pixels, direction: tuple[float, float], step: int) -> float:
    """Mean absolute difference of pixels `step` apart."""
    down, right = (round(step * part) for part in direction)
    height, width = plane.shape
    one = plane[max(0, -down) : height - max(0, down), max(0, -right) : width - max(0, right)]
    other = plane[max(0, down) : height - max(0, -down), max(0, right) : width - max(0, -right)]
    return float(cv2.norm(one, other, cv2.NORM_L1)) / max(1, one.size)


def _measure(name: str, value: float) -> Measure:
    at = LIMITS[name].place(value)
    verdict = Fitness.RETAKE if at < 0 else Fitness.USABLE if at < 1 else Fitness.GOOD
    score = 0.4 + 0.4 * at if at < 1 else 0.8 + 0.2 * (1 - 1 / at)
    return Measure(value, float(np.clip(score, 0, 1)), verdict, _WORDS[name][verdict])


def _judged(measures: dict[str, Measure]) -> Assessment:
    order = list(Fitness)
    worst = max((one.verdict for one in measures.values()), key=order.index)
    reasons = [name for name, one in measures.items() if one.verdict is worst and worst is not Fitness.GOOD]
    if worst is Fitness.RETAKE:
        explained = {other for name in reasons for other in _EXPLAINS.get(name, ())}
        reasons = [name for name in reasons if name not in explained]
    reasons.sort(key=lambda name: measures[name].score)
    scores = [one.score for one in measures.values()]
    return Assessment(
        measures=measures,
        verdict=worst,
        reasons=reasons,
        score=round((min(scores) + sum(scores) / len(scores)) / 2, 4),
        advice=_advice(worst, reasons),
    )


def _advice(verdict: Fitness, reasons: list[str]) -> str:
    if verdict is Fitness.GOOD:
        return "The photo is good."
    opening = "Take it again." if verdict is Fitness.RETAKE else "The photo can be used."
    return " ".join((opening, *(_ADVICE[name] for name in reasons[:2])))
