"""How much of one core a camera's preview costs that is assessed: decoding and all measures.

`python -m benchmarks.assess_time` prints processor time of a photo, which other work on the machine does not lengthen
much, and writes benchmarks/results/assess-time.json.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from benchmarks.measure import record
from service.imaging.codecs import decode, encode
from service.pipeline import Assessor
from service.quality.assessment import assess
from service.vocabulary import MAX_PIXELS

PHOTO = Path(__file__).parents[1] / "docs" / "throat.jpg"
SIZES = ((480, 272), (1280, 720), (1920, 1080))
CALLS = 100


def processor_ms(work: Callable[[], object], calls: int = CALLS) -> dict[str, float]:
    """Milliseconds of processor time of a call on this thread: the median, and that of the slowest in twenty."""
    for _ in range(5):
        work()
    taken = []
    for _ in range(calls):
        began = time.thread_time()
        work()
        taken.append((time.thread_time() - began) * 1000)
    return {"median_ms": round(statistics.median(taken), 2), "p95_ms": round(statistics.quantiles(taken, n=20)[-1], 2)}


def main(write: Callable[[str], object] = sys.stdout.write) -> None:
    """Print and keep the figures."""
    cv2.setNumThreads(1)
    throat = decode(PHOTO.read_bytes()).pixels
    assessor = Assessor(MAX_PIXELS)
    figures: dict[str, object] = {}
    for size in SIZES:
        pixels = np.asarray(cv2.resize(throat, size, interpolation=cv2.INTER_AREA), np.uint8)
        ways: dict[str, Callable[[], object]] = {}
        for form in ("jpeg", "png", "webp"):
            body = encode(pixels, form, 90)  # type: ignore[arg-type]
            ways[f"{form} decoded and assessed"] = lambda body=body: assessor.assess(body)
        if size == SIZES[0]:
            ways["assessed alone"] = lambda pixels=pixels, size=size: assess(pixels, *size)
        for name, work in ways.items():
            figures[f"{size[0]}x{size[1]}, {name}"] = found = processor_ms(work)
            write(f"{size[0]}x{size[1]}, {name}: {found['median_ms']} ms, slowest twentieth {found['p95_ms']} ms\n")
    record("assess-time", {"clock": "processor time of one thread", "calls": CALLS, "photos": figures})


if __name__ == "__main__":
    main()
