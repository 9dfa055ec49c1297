"""Where the time of a request goes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal, NamedTuple

Stage = Literal["decode", "queue", "infer", "transfer", "score", "encode"]

STAGES: tuple[Stage, ...] = ("decode", "queue", "infer", "transfer", "score", "encode")
"""The stages that are timed, in their order."""

NS_PER_S = 1_000_000_000


class Interval(NamedTuple):
    """One time that a request was in a stage.

    Attributes:
        stage: which.
        began_ns, ended_ns: Unix time in nanoseconds.
        own_s: seconds of it that count as this stage's, less those of stages inside it.
    """

    stage: Stage
    began_ns: int
    ended_ns: int
    own_s: float


_followed: ContextVar[list[Interval] | None] = ContextVar("followed", default=None)


@contextmanager
def followed(intervals: list[Interval], queue_s: float = 0.0) -> Iterator[None]:
    """Append every interval that this thread's stopwatches measure in the block, also of work that fails.

    `queue_s` is how long the work waited before the block.
    """
    now = time.time_ns()
    intervals.append(Interval("queue", now - round(queue_s * NS_PER_S), now, queue_s))
    token = _followed.set(intervals)
    try:
        yield
    finally:
        _followed.reset(token)


def note(intervals: Sequence[Interval]) -> None:
    """Tell whoever follows this thread of intervals that were measured in another process."""
    if (following := _followed.get()) is not None:
        following.extend(intervals)


class Stopwatch:
    """Adds up the seconds of each stage, and keeps when each was."""

    def __init__(self) -> None:
        self.seconds: dict[Stage, float] = dict.fromkeys(STAGES, 0.0)
        self.intervals: list[Interval] = []

    @contextmanager
    def stage(self, name: Stage, without: Sequence[Stage] = ()) -> Iterator[None]:
        """Time the block as part of stage `name`, failed or not, less what it adds to the stages `without`."""
        began_ns, started, others = time.time_ns(), time.perf_counter(), self._sum(without)
        try:
            yield
        finally:
            whole_s = time.perf_counter() - started
            own_s = whole_s - (self._sum(without) - others)
            self.seconds[name] += own_s
            self._keep(Interval(name, began_ns, began_ns + round(whole_s * NS_PER_S), own_s))

    def add(self, name: Stage, seconds: float, ago_s: float = 0.0) -> None:
        """Count `seconds` that were measured elsewhere, and ended `ago_s` ago, as part of stage `name`."""
        self.seconds[name] += seconds
        ended_ns = time.time_ns() - round(ago_s * NS_PER_S)
        self._keep(Interval(name, ended_ns - round(seconds * NS_PER_S), ended_ns, seconds))

    def _keep(self, interval: Interval) -> None:
        self.intervals.append(interval)
        note([interval])

    def _sum(self, stages: Sequence[Stage]) -> float:
        return sum(self.seconds[stage] for stage in stages)
