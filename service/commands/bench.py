"""`lamegan bench`: how fast one photo is on this machine, how many a second, and where the time goes, by size of photo.

The photo is the page's sample, resized; the work is that of a request without HTTP. Before hardware is bought, and to
tell whether a setting helps. Not a comparison between machines that have other work to do meanwhile.
"""

from __future__ import annotations

import json
import math
import re
import statistics
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files

import cv2
import numpy as np

from service.engine.runtime import Accelerator
from service.engine.threads import usable_cores
from service.errors import CommandError
from service.imaging.codecs import encode
from service.imaging.decoders import DECODERS
from service.pipeline import STAGES, Enhancer
from service.settings import MOST_THREADS
from service.vocabulary import Precision

SIZES = ("480x272", "1280x720", "1920x1080", "4000x3000")
MOST_PIXELS = 50_000_000
LEAST_ROUNDS = 3
PATIENT_S = 1.0
"""A queue is suggested that the machine empties within this time, so that nobody waits much longer for a response."""


@dataclass(frozen=True, slots=True)
class SizeFigures:
    """What was measured for one size of photo.

    Attributes:
        width, height: of the photo, in pixels.
        alone_ms: median time of one photo while nothing else is done.
        per_s: photos a second with one under way on each worker.
        stages_ms: median time of each stage of a lone photo.
    """

    width: int
    height: int
    alone_ms: float
    per_s: float
    stages_ms: dict[str, float]

    def facts(self) -> dict[str, object]:
        """The figures as one JSON-serialisable object."""
        stages = {name: round(spent, 2) for name, spent in self.stages_ms.items()}
        size = {"width": self.width, "height": self.height}
        return {**size, "alone_ms": round(self.alone_ms, 2), "per_s": round(self.per_s, 2), "stages_ms": stages}


def bench(
    enhancer: Enhancer,
    workers: int,
    seconds: float,
    sizes: Iterable[tuple[int, int]],
    advance: Callable[[], None] = lambda: None,
) -> list[SizeFigures]:
    """Measure each size for about `seconds` alone and `seconds` with `workers` photos at once; `advance` after each."""
    found = []
    for width, height in sizes:
        body = sample(width, height)
        enhancer.enhance(body)  # a warm-up
        alone, stages = _alone(enhancer, body, seconds)
        found.append(SizeFigures(width, height, alone, _at_once(enhancer, body, workers, seconds), stages))
        advance()
    return found


def workers_of(setting: int | None) -> int:
    """Photos at the same time with LAMEGAN_WORKERS of `setting`, as a service would have them."""
    return setting or min(usable_cores(), MOST_THREADS)


def read_size(text: str) -> tuple[int, int]:
    """Width and height of WIDTHxHEIGHT.

    Raises:
        CommandError: it is not written so, or no photo of it is served.
    """
    found = re.fullmatch(r"([1-9][0-9]{1,4})x([1-9][0-9]{1,4})", text)
    if found is None or int(found[1]) * int(found[2]) > MOST_PIXELS:
        raise CommandError(f"Write sizes as WIDTHxHEIGHT, at most {MOST_PIXELS:,} pixels, not {text!r}.")
    return int(found[1]), int(found[2])


def sample(width: int, height: int) -> bytes:
    """A JPEG of the page's sample photo at this size."""
    photo = DECODERS["jpeg"](files("service.api.page").joinpath("sample.jpg").read_bytes())
    resized = cv2.resize(photo, (width, height), interpolation=cv2.INTER_CUBIC)
    return encode(np.asarray(resized, np.uint8), "jpeg", 92)


def as_json(figures: Sequence[SizeFigures], workers: int, precision: Precision, provider: Accelerator) -> str:
    """The figures as one JSON object; the model ran in `precision` on `provider`."""
    ran = {"workers": workers, "precision": precision, "provider": provider}
    return json.dumps({**ran, "sizes": [one.facts() for one in figures]})


def as_table(figures: Sequence[SizeFigures], workers: int, precision: Precision, provider: Accelerator) -> str:
    """The figures for people, with what follows from them."""
    lines = [f"{'photo':>10} {'alone':>9} {'a second':>9}  {'  '.join(f'{stage:>8}' for stage in STAGES)}"]
    for one in figures:
        stages = "  ".join(f"{one.stages_ms[stage]:5.1f} ms" for stage in STAGES)
        lines.append(f"{one.width:>5}x{one.height:<4} {one.alone_ms:6.1f} ms {one.per_s:9.1f}  {stages}")
    smallest, largest = figures[0], figures[-1]
    lines += [
        "",
        f'Photos at the same time: {workers}. "a second" is with so many under way, the rest is one photo alone.',
        f"The model runs in {precision} on {provider}.",
        (
            f"LAMEGAN_QUEUE_CAPACITY={suggested_queue(smallest)} would be emptied within {PATIENT_S:g} s at "
            f"{smallest.width}x{smallest.height}; at {largest.width}x{largest.height} within "
            f"{suggested_queue(smallest) / largest.per_s:.1f} s."
        ),
    ]
    return "\n".join(lines)


def suggested_queue(figures: SizeFigures) -> int:
    """How many requests may wait so that the last of them begins within `PATIENT_S`."""
    return max(1, math.floor(figures.per_s * PATIENT_S))


def _alone(enhancer: Enhancer, body: bytes, seconds: float) -> tuple[float, dict[str, float]]:
    """Median milliseconds of one photo, and of each of its stages."""
    times: list[float] = []
    stages: dict[str, list[float]] = {stage: [] for stage in STAGES}
    end = time.monotonic() + seconds
    while len(times) < LEAST_ROUNDS or time.monotonic() < end:
        started = time.perf_counter()
        made = enhancer.enhance(body)
        times.append(time.perf_counter() - started)
        for stage, spent in made.seconds.items():
            stages[stage].append(spent)
    return 1000 * statistics.median(times), {name: 1000 * statistics.median(spent) for name, spent in stages.items()}


def _at_once(enhancer: Enhancer, body: bytes, workers: int, seconds: float) -> float:
    """Photos a second with `workers` under way at any time."""
    counts = [0] * workers
    started = time.monotonic()

    def work(index: int) -> None:
        while counts[index] == 0 or time.monotonic() < started + seconds:
            enhancer.enhance(body)
            counts[index] += 1

    threads = [threading.Thread(target=work, args=(index,), daemon=True) for index in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.monotonic() - started)
