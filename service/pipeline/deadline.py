"""How long a caller waits, and how work stops when nobody does."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Condition, Event, Lock

from service.engine.batcher import Inference
from service.errors import ClientGone, DeadlineExceeded

_LOOK_UP_S = 0.1
"""How often one that waits for room looks whether its caller is still there."""


class Cancellation:
    """Says that nobody waits any more; whoever holds it calls `cancel`, from any thread, as often as they like."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._cancelled = False
        self._undo: Callable[[], object] | None = None

    def cancel(self) -> None:
        """Drop the work: at once while it waits for the generator, else after the stage it is in."""
        with self._lock:
            self._cancelled = True
            undo = self._undo
        if undo is not None:
            undo()

    def on_cancel(self, undo: Callable[[], object]) -> None:
        """Call `undo` when cancelled, or now if that has happened."""
        with self._lock:
            self._undo = undo
            cancelled = self._cancelled
        if cancelled:
            undo()

    def check(self) -> None:
        """Go on, unless cancelled.

        Raises:
            ClientGone: it is.
        """
        if self._cancelled:
            raise ClientGone("The client hung up.")


@dataclass(frozen=True, slots=True)
class Deadline:
    """How long a caller waits.

    Attributes:
        deadline: on the clock of `time.monotonic`.
        cancellation: the caller's way to leave before.
    """

    deadline: float = float("inf")
    cancellation: Cancellation = field(default_factory=Cancellation)

    def check(self) -> None:
        """Go on, unless the caller has left or the deadline has passed.

        Raises:
            ClientGone, DeadlineExceeded: the caller has left, or the deadline has passed.
        """
        self.cancellation.check()
        if time.monotonic() > self.deadline:
            raise DeadlineExceeded("The image was not finished before its deadline.")

    def left_s(self) -> float | None:
        """Seconds until the deadline, at least 0; None without a deadline."""
        return None if self.deadline == float("inf") else max(0.0, self.deadline - time.monotonic())


def await_inference(future: Future[Inference], deadline: Deadline) -> Inference:
    """The generator's result; the work is dropped when the caller leaves or the deadline passes.

    Raises:
        DeadlineExceeded, ClientGone, InferenceFailed, ShuttingDown: as `Enhancer.enhance`.
    """
    over = Event()
    future.add_done_callback(lambda _future: over.set())
    deadline.cancellation.on_cancel(over.set)
    in_time = over.wait(deadline.left_s())
    if not in_time or not future.done():  # a run that has begun goes on, but nobody waits for it
        future.cancel()
        deadline.cancellation.check()
        raise DeadlineExceeded("The generator did not finish before the deadline.")
    try:
        return future.result()
    except CancelledError as error:
        raise ClientGone("The client hung up.") from error


class PixelBudget:
    """Bounds the pixels worked on at the same time, and so the memory that a crowd of large images can take.

    A photo of the largest size has the room to itself; smaller ones share it. First come, first served: a large photo
    is not passed over for ever by small ones.
    """

    def __init__(self, pixels: int) -> None:
        self._size = pixels
        self._free = pixels
        self._line: deque[object] = deque()
        self._changed = Condition()

    @contextmanager
    def hold(self, pixels: int, deadline: Deadline) -> Iterator[None]:
        """Wait until there is room for `pixels`, and keep it during the block.

        Raises:
            DeadlineExceeded, ClientGone: the caller's deadline ended first.
        """
        wanted = min(pixels, self._size)
        self._enter(wanted, deadline)
        try:
            yield
        finally:
            with self._changed:
                self._free += wanted
                self._changed.notify_all()

    def _enter(self, wanted: int, deadline: Deadline) -> None:
        place = object()
        with self._changed:
            self._line.append(place)
            try:
                while self._line[0] is not place or self._free < wanted:
                    deadline.check()
                    left_s = deadline.left_s()
                    self._changed.wait(_LOOK_UP_S if left_s is None else min(left_s, _LOOK_UP_S))
                self._free -= wanted
            finally:
                self._line.remove(place)
                self._changed.notify_all()
