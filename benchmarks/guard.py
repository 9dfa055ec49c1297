"""What does judging an image cost, beside LaSSIM alone: when it passes, and when it must be blended?

Run: python -m benchmarks.guard
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.measure import ratio, record, take_turns, timing
from model_training.data.phantom import phantom
from model_training.guardrail.faults import lesion
from service.quality.change_detector import worst_region
from service.quality.colour import colour_shift
from service.quality.guardrail import judge
from service.quality.lassim import lassim, to_canonical
from service.registry.card import GuardFloors

SIZES = {"480x272": (480, 272), "1920x1080": (1920, 1080), "4000x3000": (4000, 3000)}
FLOORS = GuardFloors(lassim=0.7, worst=0.7, delta_e_mean=20, delta_e_p95=40, redder_share=0.5)


def main() -> None:
    """Time the parts and the whole, print and record them."""
    cv2.setNumThreads(1)
    figures: dict[str, object] = {}
    with threadpool_limits(1):
        for name, size in SIZES.items():
            figures[name] = _one_size(name, size)
    print(f"recorded in {record('guard', figures)}")


def _one_size(name: str, size: tuple[int, int]) -> dict[str, object]:
    drawn = phantom(480, 272, 1)
    spotted = lesion(drawn, np.random.default_rng(0), sigma_px=8, depth=0.6)
    input, faulty = (cv2.resize(image, size, interpolation=cv2.INTER_CUBIC) for image in (drawn, spotted))
    harmless = np.clip(input * 1.1, 0, 255).astype(np.uint8)
    small: Any = to_canonical(harmless), to_canonical(input)
    seconds = take_turns(
        {
            "LaSSIM, canonical": lambda: lassim(*small),
            "worst region": lambda: worst_region(*small),
            "colour": lambda: colour_shift(*small),
            "judge, passes": lambda: judge(harmless, input, FLOORS),
            "judge, blends": lambda: judge(faulty, input, FLOORS),
        },
        calls=10 if size[0] < 1000 else 2,
    )
    facts: dict[str, object] = {}
    for part, times in seconds.items():
        spent = timing(times)
        facts[part] = {"median_ms": spent.median_s * 1e3, "iqr_ms": spent.iqr_s * 1e3}
        against = ratio(times, seconds["LaSSIM, canonical"])
        print(f"{name:10} {part:18} {spent.median_s * 1e3:9.2f} ms  {against} x LaSSIM")
    return facts


if __name__ == "__main__":
    main()
