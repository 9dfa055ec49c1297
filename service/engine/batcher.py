"""A bounded queue before a model, and the threads that empty it in batches of one shape.

A lone image starts at once; images that meet a busy model wait at most `max_wait_s` to share a run. Cancelled and
expired images are skipped. When a run fails, its images run again one by one, so that only the failing one fails.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from service.errors import DeadlineExceeded, InferenceFailed, LameganError, Overloaded, ShuttingDown
from service.vocabulary import Output

Image = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Inference:
    """One image's result.

    Attributes:
        image: (h, w, 3) uint8 RGB, the generator's output.
        queue_s: seconds it waited for its run.
        infer_s: seconds its run took.
        batch: images that shared the run.
    """

    image: Image
    queue_s: float
    infer_s: float
    batch: int


@dataclass(slots=True, eq=False)
class _Item:
    image: Image
    deadline: float
    met_busy: bool
    alone: bool
    submitted: float = field(default_factory=time.monotonic)
    future: Future[Inference] = field(default_factory=Future)


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """How a batcher fills and bounds itself.

    Attributes:
        max_batch: most images in one run.
        max_wait_s: how long an incomplete batch that met a busy model waits for company.
        capacity: most images waiting; one more is refused.
        streams: runs at the same time.
    """

    max_batch: int = 1
    max_wait_s: float = 0.002
    capacity: int = 64
    streams: int = 1


class Submit(Protocol):
    """Queues an image for a model."""

    def __call__(
        self, image: Image, deadline: float = ..., *, alone: bool = ..., output: Output = ...
    ) -> Future[Inference]:
        """Queue one (h, w, 3) uint8 RGB image.

        Args:
            image: the image.
            deadline: on the clock of `time.monotonic`; a run that would begin after it does not. None by default.
            alone: no other image is being enhanced, so that this one may have the whole machine.
            output: "detail" or "colour" asks for that stage alone, of a model in two stages; "enhanced" by default.

        Raises:
            Overloaded: the queue is full, or the wait would pass the deadline.
            ShuttingDown: nothing new is taken.
        """


class Batcher:
    """Feeds `run` from a bounded queue on its own threads; `close` ends them."""

    def __init__(
        self,
        run: Callable[[NDArray[np.uint8]], NDArray[np.uint8]],
        limits: BatchLimits,
        on_batch: Callable[[int], None] = lambda _size: None,
        run_alone: Callable[[NDArray[np.uint8]], NDArray[np.uint8]] | None = None,
    ) -> None:
        """Start `limits.streams` threads.

        `on_batch` is told the size of each run; `run_alone` does the same as `run`, and takes more of the machine.
        """
        self._run = run
        self._run_alone = run_alone or run
        self._limits = limits
        self._on_batch = on_batch
        self._waiting: deque[_Item] = deque()
        self._running = 0
        self._closed = False
        self._changed = threading.Condition()
        self._threads = [
            threading.Thread(target=self._serve, name=f"engine-{index}", daemon=True) for index in range(limits.streams)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def depth(self) -> int:
        """Images waiting now."""
        return len(self._waiting)

    def submit(self, image: Image, deadline: float = float("inf"), *, alone: bool = False) -> Future[Inference]:
        """Queue `image`, (h, w, 3) uint8 RGB; `deadline` is on the clock of `time.monotonic`.

        `alone`: nothing else wants the machine, so that the run may have all of it.

        Cancelling the future before its run starts drops the image.

        Raises:
            Overloaded: the queue is full.
            ShuttingDown: the batcher is closed.
        """
        with self._changed:
            if self._closed:
                raise ShuttingDown("The service is shutting down.")
            self._forget_cancelled()
            if len(self._waiting) >= self._limits.capacity:
                raise Overloaded("The model's queue is full.", retry_after_s=1)
            item = _Item(image, deadline, met_busy=self._running > 0 or bool(self._waiting), alone=alone)
            self._waiting.append(item)
            self._changed.notify_all()
        return item.future

    def close(self, timeout_s: float | None = None) -> None:
        """Take nothing more, finish what was accepted, and end the threads, all within `timeout_s`."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        end = None if timeout_s is None else time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(None if end is None else max(0.0, end - time.monotonic()))

    def _serve(self) -> None:
        while batch := self._next_batch():
            try:
                self._answer(batch)
            finally:
                del batch  # or its images would stay in memory until the next one
                with self._changed:
                    self._running -= 1

    def _next_batch(self) -> list[_Item]:
        """The oldest image and those of its shape, ready to run; empty when closed and drained."""
        with self._changed:
            while True:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if not self._waiting:
                    return []
                batch = self._gather(self._waiting[0])
                if batch:
                    self._running += 1
                    return batch

    def _gather(self, first: _Item) -> list[_Item]:
        """Wait for company where that is allowed, then take `first` and its like from the queue (lock held)."""
        if first.met_busy and self._limits.max_batch > 1 and not self._closed:
            self._changed.wait_for(
                lambda: self._closed or len(self._alike(first)) >= self._limits.max_batch,
                timeout=first.submitted + self._limits.max_wait_s - time.monotonic(),
            )
        taken = self._alike(first)[: self._limits.max_batch]
        for item in taken:
            self._waiting.remove(item)
        return [item for item in taken if _still_wanted(item)]

    def _alike(self, first: _Item) -> list[_Item]:
        return [item for item in self._waiting if item.image.shape == first.image.shape]

    def _forget_cancelled(self) -> None:
        for item in [item for item in self._waiting if item.future.cancelled()]:
            self._waiting.remove(item)

    def _answer(self, batch: list[_Item]) -> None:
        started = time.monotonic()
        try:
            images = batch[0].image[None] if len(batch) == 1 else np.stack([item.image for item in batch])
            enhanced = self._run_alone(images) if batch[0].alone and len(batch) == 1 else self._run(images)
        except LameganError as error:
            self._answer_apart(batch, error)
            return
        except Exception as error:  # whatever a runtime throws must reach the caller, not end the thread
            failure = InferenceFailed("The model failed on this image.")
            failure.__cause__ = error
            self._answer_apart(batch, failure)
            return
        self._on_batch(len(batch))
        infer_s = time.monotonic() - started
        for item, image in zip(batch, enhanced, strict=True):
            item.future.set_result(Inference(image, started - item.submitted, infer_s, len(batch)))

    def _answer_apart(self, batch: list[_Item], error: LameganError) -> None:
        """Fail a single image with `error`; run several again, each alone."""
        if len(batch) == 1:
            batch[0].future.set_exception(error)
            return
        for item in batch:
            self._answer([item])


def _still_wanted(item: _Item) -> bool:
    """Mark the image as running, unless its caller cancelled it or its deadline has passed."""
    if not item.future.set_running_or_notify_cancel():
        return False
    if time.monotonic() > item.deadline:
        item.future.set_exception(DeadlineExceeded("The deadline passed while the image waited for the model."))
        return False
    return True
