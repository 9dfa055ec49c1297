"""Where the time of a request goes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

Stage = Literal["decode", "queue", "infer", "transfer", "score", "encode"]

STAGES: tuple[Stage, ...] = ("decode", "queue", "infer", "transfer", "score", "encode")
"""The stages that are timed, in their order."""


class Stopwatch:
    """Adds up the seconds of each stage."""

    def __init__(self) -> None:
        self.seconds: dict[Stage, float] = dict.fromkeys(STAGES, 0.0)

    @contextmanager
    def stage(self, name: Stage, without: Sequence[Stage] = ()) -> Iterator[None]:
        """Time the block as part of stage `name`, failed or not, less what it adds to the stages `without`."""
        started = time.perf_counter() - self._sum(without)
        try:
            yield
        finally:
            self.seconds[name] += time.perf_counter() - self._sum(without) - started

    def _sum(self, stages: Sequence[Stage]) -> float:
        return sum(self.seconds[stage] for stage in stages)
