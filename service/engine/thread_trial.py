"""How many threads of the generator serve a lone photo best on this machine: tried once, and remembered."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from service.durable import write_whole

Run = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]

SHAPE = (1, 384, 672, 3)
"""Of the image: the least is about as quick on one thread as on two, which chance then decided between."""
ROUNDS = 3
WORTH = 0.9
"""More threads are taken only for less than this share of the time: cores are for other photos too."""

_REMEMBERED = 64


@dataclass(frozen=True, slots=True)
class ThreadTrial:
    """Tries and remembers.

    Attributes:
        file: where it is remembered across restarts; None, or a place that cannot be written: not at all.
        tell: is told why the place cannot be written; None: nobody is.
    """

    file: Path | None = None
    tell: Callable[[OSError], None] | None = None

    def choose(self, weights: bytes, most: int, run_with: Callable[[int], Run]) -> int:
        """The fewest of at most `most` threads that are nearly as quick as any; `run_with(n)` runs with n threads."""
        if most <= 1:
            return 1
        key = _key(weights, most)
        known = self._read()
        found = known.get(key)
        if not isinstance(found, int) or not 1 <= found <= most:
            found = fewest_worthwhile(_time(_candidates(most), run_with))
            self._write({**dict(list(known.items())[-_REMEMBERED:]), key: found})
        return found

    def _read(self) -> dict[str, object]:
        try:
            known = json.loads(self.file.read_bytes()) if self.file else {}
        except (OSError, ValueError):
            return {}
        return known if isinstance(known, dict) else {}

    def _write(self, known: dict[str, object]) -> None:
        if self.file is None:
            return
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            write_whole(self.file, (json.dumps(known, indent=1) + "\n").encode(), synced=False)
        except OSError as error:  # a read-only place or a full disk: it is tried again at the next start
            if self.tell is not None:
                self.tell(error)


def fewest_worthwhile(seconds: dict[int, float]) -> int:
    """Of the thread counts tried, the least whose time no larger one undercuts by more than `WORTH` asks."""
    chosen = min(seconds)
    for threads in sorted(seconds):
        if seconds[threads] < WORTH * seconds[chosen]:
            chosen = threads
    return chosen


def _candidates(most: int) -> list[int]:
    """1, 2, 4, ... and `most`."""
    powers = [2**power for power in range(most.bit_length()) if 2**power < most]
    return [*powers, most]


def _time(candidates: Sequence[int], run_with: Callable[[int], Run]) -> dict[int, float]:
    """Least seconds of one run with each, in turns, so that a busy machine slows them alike."""
    image = np.full(SHAPE, 128, np.uint8)
    runs = {threads: run_with(threads) for threads in candidates}
    least = dict.fromkeys(candidates, float("inf"))
    for round_ in range(ROUNDS + 1):
        for threads, run in runs.items():
            started = time.perf_counter()
            run(image)
            if round_:  # the first is a warm-up
                least[threads] = min(least[threads], time.perf_counter() - started)
    return least


def _key(weights: bytes, most: int) -> str:
    """What the choice depends on: model, runtime, machine."""
    machine = f"{platform.machine()} {platform.processor()} {platform.node()}"
    facts = f"{sha256(weights).hexdigest()} {_runtime()} {machine} {most}"
    return sha256(facts.encode()).hexdigest()[:32]


def _runtime() -> str:
    for name in ("onnxruntime-gpu", "onnxruntime"):
        try:
            return f"{name} {version(name)}"
        except ImportError:
            continue
    return "onnxruntime"
