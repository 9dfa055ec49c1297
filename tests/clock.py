"""A clock that tests turn themselves, so that none asserts how fast the machine is."""

from __future__ import annotations

import threading
import time

import pytest


def joined_without_waiting(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Let `Thread.join` return at once, as if its time had run out, and record the times it was given."""
    now = [time.monotonic()]
    waited: list[float] = []

    def join(_thread: threading.Thread, timeout: float | None = None) -> None:
        assert timeout is not None
        waited.append(timeout)
        now[0] += timeout

    monkeypatch.setattr(threading.Thread, "join", join)
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return waited
