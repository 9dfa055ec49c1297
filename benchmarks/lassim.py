"""How much faster is LaSSIM here than written as its authors do, single-threaded, in one run?

The reference: skimage's rgb2gray, five levels down and up with OpenCV, skimage's structural_similarity on level 3.
Run: python -m benchmarks.lassim
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from skimage.color import rgb2gray
from skimage.metrics import structural_similarity
from threadpoolctl import threadpool_limits

from benchmarks.measure import Ratio, ratio, record, take_turns, timing
from service.quality.lassim import lassim
from service.vocabulary import Scale

DEEPEST, LEVEL = 5, 3
SIZES = {"480x272": (272, 480), "1920x1080": (1080, 1920)}


def main() -> None:
    """Time both, print the ratios, record them."""
    cv2.setNumThreads(1)
    figures: dict[str, object] = {}
    with threadpool_limits(1):
        for name, (height, width) in SIZES.items():
            output, input = _photo_like(height, width, 1), _photo_like(height, width, 2)
            figures[name] = _compare(name, output, input, calls=20 if height < 500 else 2)
    print(f"recorded in {record('lassim', figures)}")


def _compare(name: str, output: Any, input: Any, calls: int) -> dict[str, object]:
    def ours(scale: Scale) -> float:
        return lassim(output, input, level=LEVEL, scale=scale)

    difference = abs(ours("native") - _as_published(output, input))
    seconds = take_turns(
        {
            "as_published": lambda: _as_published(output, input),
            "native": lambda: ours("native"),
            "canonical": lambda: ours("canonical"),
        },
        calls=calls,
    )
    facts: dict[str, object] = {"difference": difference}
    for candidate, times in seconds.items():
        spent = timing(times)
        faster: Ratio = ratio(seconds["as_published"], times)
        milliseconds = {"median_ms": spent.median_s * 1e3, "iqr_ms": spent.iqr_s * 1e3}
        facts[candidate] = {**milliseconds, "times_faster": faster.median}
        print(f"{name:10} {candidate:13} {spent.median_s * 1e3:8.3f} ms  {faster} faster than as published")
    print(f"{name:10} differs from it by {difference:.1e}")
    return facts


def _as_published(output: Any, input: Any) -> float:
    one, other = _published_residual(output), _published_residual(input)
    data_range = max(one.max(), other.max()) - min(one.min(), other.min())
    return float(structural_similarity(one, other, data_range=data_range))


def _published_residual(image: Any) -> Any:
    base = rgb2gray(image).copy()
    down = [base]
    for _ in range(DEEPEST):
        base = cv2.pyrDown(base)
        down.append(base)
    residuals = [down[-1]]
    for level in range(DEEPEST, 0, -1):
        size = (down[level - 1].shape[1], down[level - 1].shape[0])
        residuals.append(cv2.subtract(down[level - 1], cv2.pyrUp(down[level], dstsize=size)))
    return residuals[DEEPEST - LEVEL]


def _photo_like(height: int, width: int, seed: int) -> Any:
    noise = np.random.default_rng(seed).integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    return cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)


if __name__ == "__main__":
    main()
