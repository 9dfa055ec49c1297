"""What went wrong outside: refused associations, destinations that fail, a clock that moved. Counted, and kept by the
spool so that `lamegan gateway status` shows it beside a running gateway and after it.

Under a flood nothing is written once an event: `FaultLog` counts in memory and its loop writes and logs once a second.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from service.monitoring.logs import get_logger

LISTENER_REASONS = (
    *("calling-ae-title", "called-ae-title", "too-many-associations", "too-many-connections"),
    *("disk-full", "tls", "not-allowed-to-store", "invalid-uid", "not-spooled"),
)
DESTINATION_REASONS = (
    *("no-connection", "tls", "rejected", "no-association", "association-lost", "no-answer", "nonsense-answer"),
    "not-found",
)
CLOCK_REASONS = ("moved-back", "moved-ahead")
"""Reasons that are exported from the start, so that the first one is an increase."""

STEP_BACK_S = 2.0
STEP_AHEAD_S = 60.0
SHOWN_S = 86_400.0
"""How long a fault that is over stays in the status."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of fault at one place.

    Attributes:
        place: `listener`, `clock`, `watch` or a destination's name.
        reason: a code.
        count: how often, ever.
        first_at, last_at: seconds since 1970.
        lasting: whether it goes on: the destination has not been reached since.
    """

    place: str
    reason: str
    count: int
    first_at: float
    last_at: float
    lasting: bool


class Keeps(Protocol):
    """Where faults are kept (`Spool`)."""

    def note_faults(self, seen: dict[tuple[str, str], int], over: set[str], lasting: set[str], now: float) -> None:
        """Add `seen`; faults of places in `over` are over, new ones of places in `lasting` go on."""


class FaultLog:
    """Counts faults from any thread; called as a step of a `Loop` it writes down what came since the last time."""

    def __init__(self, spool: Keeps, count: Callable[[str, str], None]) -> None:
        """`count` is told of each fault at once (a metric)."""
        self._spool, self._count = spool, count
        self._lock = threading.Lock()
        self._seen: dict[tuple[str, str], int] = {}
        self._peers: dict[tuple[str, str], str] = {}
        self._over: set[str] = set()
        self._lasting: set[str] = set()
        self._wall, self._monotonic = time.time(), time.monotonic()
        self._log = get_logger("lamegan.gateway")

    def seen(self, place: str, reason: str, peer: str = "", *, lasting: bool = False) -> None:
        """One fault; `lasting`: it goes on until `over(place)`. `peer` is a network address, for the log."""
        self._count(place, reason)
        with self._lock:
            self._seen[place, reason] = self._seen.get((place, reason), 0) + 1
            self._peers[place, reason] = peer
            if lasting:
                self._lasting.add(place)
                self._over.discard(place)

    def over(self, place: str) -> None:
        """What went on at `place` is over."""
        with self._lock:
            self._over.add(place)
            self._lasting.discard(place)

    def __call__(self) -> bool:
        """Write down what was seen; always False: the next round has its time."""
        self._look_at_clock()
        with self._lock:
            seen, peers, over, lasting = self._seen, self._peers, self._over, set(self._lasting)
            self._seen, self._peers, self._over = {}, {}, set()
        if not seen and not over:
            return False
        try:
            self._spool.note_faults(seen, over, lasting, time.time())
        except sqlite3.Error:  # a full disk, most likely: they are written the next time
            with self._lock:
                self._seen = {key: seen.get(key, 0) + self._seen.get(key, 0) for key in {*seen, *self._seen}}
                self._over |= over - self._lasting
            raise
        for (place, reason), count in seen.items():
            if place in ("listener", "clock"):
                peer = peers[place, reason] or None
                self._log.warning("fault", place=place, reason=reason, count=count, peer=peer)
        return False

    def _look_at_clock(self) -> None:
        """Compare the time of day with the clock that nobody sets."""
        wall, monotonic = time.time(), time.monotonic()
        ahead_s = (wall - self._wall) - (monotonic - self._monotonic)
        self._wall, self._monotonic = wall, monotonic
        if ahead_s < -STEP_BACK_S or ahead_s > STEP_AHEAD_S:
            self.seen("clock", "moved-back" if ahead_s < 0 else "moved-ahead")


FAULT_TABLE = """
    CREATE TABLE fault (
        place TEXT NOT NULL,
        reason TEXT NOT NULL,
        count INTEGER NOT NULL,
        first_at REAL NOT NULL,
        last_at REAL NOT NULL,
        lasting INTEGER NOT NULL,
        PRIMARY KEY (place, reason)
    );
    """


def write_faults(
    index: sqlite3.Connection, seen: dict[tuple[str, str], int], over: set[str], lasting: set[str], now: float
) -> None:
    """Add to the table of faults; within a transaction."""
    for (place, reason), count in seen.items():
        index.execute("UPDATE fault SET lasting = 0 WHERE place = ? AND reason != ?", (place, reason))
        index.execute(
            "INSERT INTO fault VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (place, reason) DO UPDATE SET"
            " count = count + excluded.count, last_at = excluded.last_at, lasting = excluded.lasting",
            (place, reason, count, now, now, place in lasting),
        )
    for place in over:
        index.execute("UPDATE fault SET lasting = 0 WHERE place = ?", (place,))


def read_faults(index: sqlite3.Connection, now: float) -> list[Fault]:
    """Faults that go on or were seen within a day, those that go on first; after a clock set back, all."""
    rows = index.execute(
        "SELECT place, reason, count, first_at, last_at, lasting FROM fault WHERE lasting OR last_at > ?"
        " ORDER BY lasting DESC, last_at DESC",
        (now - SHOWN_S,),
    ).fetchall()
    return [
        Fault(place, reason, count, first_at, last_at, bool(lasting))
        for place, reason, count, first_at, last_at, lasting in rows
    ]
