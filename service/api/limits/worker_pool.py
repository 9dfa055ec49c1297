"""Admission and work: a bounded queue before a few threads, so that the event loop never decodes, infers or encodes.

A request that would miss its deadline is refused when it arrives, not after waiting. One that is given up (its client
hung up, its deadline passed) leaves the queue at once, or stops after the stage it is in.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from service.errors import ClientGone, DeadlineExceeded, Overloaded, ShuttingDown
from service.pipeline import Cancellation, Deadline

Answer = TypeVar("Answer")

SMOOTHING = 0.1
"""Weight of the newest job in the running mean of job seconds."""

FORESIGHT = 0.5
"""Share of the deadline that a foreseen wait may take: under overload jobs take longer than those measured before, and
an accepted request that misses its deadline has cost work for nothing."""


@dataclass(frozen=True, slots=True)
class WorkerLimits:
    """How much work is taken on.

    Attributes:
        threads: jobs at the same time.
        capacity: jobs that may wait.
        deadline_s: from being accepted to the response.
    """

    threads: int
    capacity: int
    deadline_s: float


@dataclass(slots=True, eq=False)
class _Job(Generic[Answer]):
    work: Callable[[Deadline, float], Answer]
    deadline: Deadline
    accepted: float
    future: Future[Answer] = field(default_factory=Future)


class WorkerPool:
    """A few threads with a bounded queue; `start` begins and `close` ends them."""

    def __init__(self, limits: WorkerLimits) -> None:
        self.limits = limits
        self._waiting: deque[_Job[object]] = deque()
        self._running = 0
        self._job_s: float | None = None
        self._closed = False
        self._changed = threading.Condition()
        self._threads = [
            threading.Thread(target=self._serve, name=f"work-{index}", daemon=True) for index in range(limits.threads)
        ]

    def start(self) -> None:
        """Start the threads; what is handed in before waits for them."""
        for thread in self._threads:
            thread.start()

    @property
    def depth(self) -> int:
        """Jobs waiting now."""
        return len(self._waiting)

    @property
    def busy(self) -> int:
        """Jobs waiting or running now."""
        return len(self._waiting) + self._running

    def drain_s(self) -> float:
        """How long the jobs now waiting will take at the measured rate; 0 before anything was measured."""
        return len(self._waiting) * (self._job_s or 0.0) / self.limits.threads

    def check_room(self) -> None:
        """Raise what `run` would, were a job handed to it now.

        Raises:
            Overloaded: the queue is full, or the wait would pass the deadline; `retry_after_s` is measured.
            ShuttingDown: the pool is closed.
        """
        if self._closed:
            raise ShuttingDown("The service is shutting down.")
        wait_s = self.drain_s()
        if self.busy >= self.limits.capacity + self.limits.threads:
            raise Overloaded("The queue is full.", limit=self.limits.capacity, retry_after_s=max(1, math.ceil(wait_s)))
        if self._waiting and wait_s + (self._job_s or 0.0) > FORESIGHT * self.limits.deadline_s:
            raise Overloaded(
                "The wait would pass the deadline.",
                limit=self.limits.deadline_s,
                retry_after_s=max(1, math.ceil(wait_s)),
            )

    async def run(
        self, work: Callable[[Deadline, float], Answer], hung_up: Callable[[], Coroutine[Any, Any, None]]
    ) -> Answer:
        """`work(deadline, queue_s)` on one of the threads, while somebody waits for it.

        Raises:
            Overloaded, ShuttingDown: see `check_room`.
            DeadlineExceeded: it was not finished in time.
            ClientGone: `hung_up()` returned first.
            Exception: whatever `work` raises.
        """
        job = self._accept(work)
        answer = asyncio.wrap_future(job.future)
        gone = asyncio.create_task(hung_up())
        try:
            waited: set[asyncio.Future[Any]] = {answer, gone}
            await asyncio.wait(waited, timeout=self.limits.deadline_s, return_when=asyncio.FIRST_COMPLETED)
            if answer.done():
                return answer.result()
            if gone.done():
                raise ClientGone("The client hung up.")
            raise DeadlineExceeded("The image was not finished before its deadline.", limit=self.limits.deadline_s)
        finally:
            gone.cancel()
            if not answer.done():
                answer.cancel()
                self._drop(job)

    def close(self, timeout_s: float | None = None) -> None:
        """Take nothing more, finish what was accepted, and end the threads, all within `timeout_s`."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        end = None if timeout_s is None else time.monotonic() + timeout_s
        for thread in filter(threading.Thread.is_alive, self._threads):
            thread.join(None if end is None else max(0.0, end - time.monotonic()))

    def _accept(self, work: Callable[[Deadline, float], Answer]) -> _Job[Answer]:
        now = time.monotonic()
        job = _Job(work, Deadline(now + self.limits.deadline_s, Cancellation()), now)
        with self._changed:
            self.check_room()
            self._waiting.append(job)  # type: ignore[arg-type]  # responses are read by whoever holds the job
            self._changed.notify()
        return job

    def _drop(self, job: _Job[Answer]) -> None:
        """Free the job's place in the queue, or tell it to stop after its stage."""
        with self._changed:
            if job in self._waiting:
                self._waiting.remove(job)  # type: ignore[arg-type]
        job.deadline.cancellation.cancel()

    def _serve(self) -> None:
        while (job := self._next()) is not None:
            started = time.monotonic()
            try:
                if job.future.set_running_or_notify_cancel():
                    _finish(job, started - job.accepted)
            finally:
                del job  # or the response would stay in memory until the next job
                self._measure(time.monotonic() - started)

    def _next(self) -> _Job[object] | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            if not self._waiting:
                return None
            self._running += 1
            return self._waiting.popleft()

    def _measure(self, seconds: float) -> None:
        with self._changed:
            self._running -= 1
            mean = seconds if self._job_s is None else self._job_s
            self._job_s = mean + SMOOTHING * (seconds - mean)


def _finish(job: _Job[object], queue_s: float) -> None:
    try:
        answer = job.work(job.deadline, queue_s)
    except BaseException as error:  # it belongs to whoever waits, and the thread must live on
        job.future.set_exception(error)
    else:
        job.future.set_result(answer)
