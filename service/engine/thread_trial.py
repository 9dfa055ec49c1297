"""How many threads of the generator serve a lone photo best on this machine: tried at first, then remembered."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from service.durable import write_whole

Run = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
RunsWith = Callable[[Sequence[int]], Mapping[int, Run]]

SHAPE = (1, 384, 672, 3)
"""Of the image: the least is about as quick on one thread as on two, which chance then decided between."""
ROUNDS = 2
TRIALS = 3
"""Starts at which it is tried: other work may slow one trial, for minutes if need be, but hardly all."""
WORTH = 0.9
"""More threads are taken only for less than this share of the time: cores are for other photos too."""

_REMEMBERED = 64


@dataclass(frozen=True, slots=True)
class _Found:
    """What trials have found: how many there were, and the least seconds of a run by number of threads."""

    trials: int
    seconds: dict[int, float]

    @classmethod
    def read(cls, stored: object, candidates: Sequence[int]) -> _Found:
        """What `as_json` made; nothing found, if it is anything else."""
        match stored:
            case {"trials": int(trials), "seconds": dict(seconds)} if set(seconds) == {
                str(threads) for threads in candidates
            } and all(isinstance(one, float) for one in seconds.values()):
                return cls(trials, {int(threads): one for threads, one in seconds.items()})
        return cls(0, {})

    def with_another(self, seconds: Mapping[int, float]) -> _Found:
        """Together with one more trial: what else the machine did can only have slowed a run."""
        return _Found(self.trials + 1, {n: min(one, self.seconds.get(n, float("inf"))) for n, one in seconds.items()})

    def as_json(self) -> dict[str, object]:
        return {"trials": self.trials, "seconds": {str(n): round(one, 6) for n, one in self.seconds.items()}}


@dataclass(frozen=True, slots=True)
class ThreadTrial:
    """Tries at the first `TRIALS` starts, and remembers.

    Attributes:
        file: where it is remembered across restarts; None, or a place that cannot be written: not at all.
        tell: is told why the place cannot be written; None: nobody is.
    """

    file: Path | None = None
    tell: Callable[[OSError], None] | None = None

    def choose(self, weights: bytes, most: int, runs_with: RunsWith) -> int:
        """The fewest of at most `most` threads that are nearly as quick as any.

        `runs_with` is asked, if at all, once: for the model's runs with each of some numbers of threads.
        """
        if most <= 1:
            return 1
        candidates, key, known = _candidates(most), _key(weights, most), self._read()
        found = _Found.read(known.get(key), candidates)
        if found.trials < TRIALS:
            found = found.with_another(_time(runs_with(candidates)))
            kept = list({**known, key: found.as_json()}.items())[-_REMEMBERED:]
            self._write(dict(kept))
        return fewest_worthwhile(found.seconds)

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


def _time(runs: Mapping[int, Run]) -> dict[int, float]:
    """Least seconds of one run with each number of threads, in turns, so that a busy machine slows them alike."""
    image = np.full(SHAPE, 128, np.uint8)
    least = dict.fromkeys(runs, float("inf"))
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
