"""The spool's index: rows in SQLite, and what is asked of them.

Source: https://sqlite.org/wal.html, https://sqlite.org/pragma.html#pragma_synchronous (FULL: a commit is on the disk).
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from service.dicom.gateway.faults import Fault, read_faults, write_faults
from service.dicom.gateway.rows import (
    DELIVERY_COLUMNS,
    OBJECT_COLUMNS,
    OBJECT_STATES,
    Delivery,
    ObjectState,
    SpooledObject,
    clock,
    migrate,
)
from service.errors import ConfigurationError


class SpoolIndex:
    """Rows of one spool; safe to share between threads, and readable by another process meanwhile."""

    def __init__(self, file: Path, most_ahead_s: float) -> None:
        """Open or make the index in `file`; due beyond `most_ahead_s` means due: the clock was set back.

        Raises:
            ConfigurationError: it cannot be opened, or a newer version of the software wrote it.
        """
        self._most_ahead_s = most_ahead_s
        self._lock = threading.RLock()
        try:
            self._rows = sqlite3.connect(file, check_same_thread=False, timeout=30)
        except sqlite3.Error as error:
            raise ConfigurationError(f"The spool {file.parent} cannot be opened.") from error
        self._rows.isolation_level = None
        self._rows.execute("PRAGMA journal_mode = WAL")
        self._rows.execute("PRAGMA synchronous = FULL")
        if not migrate(self._rows):
            raise ConfigurationError(f"The spool {file.parent} was written by a newer version of the software.")

    def close(self) -> None:
        """Close the index."""
        with self._lock:
            self._rows.close()

    def next_received(self, now: float | None = None, *, besides: Collection[int] = ()) -> SpooledObject | None:
        """The oldest object to enhance that is due, `besides` those under way."""
        marks = ", ".join("?" * len(besides))
        with self._lock:
            row = self._rows.execute(
                f"SELECT {OBJECT_COLUMNS} FROM object WHERE state = 'received' AND (due_at <= ? OR due_at > ?)"
                f" AND id NOT IN ({marks}) ORDER BY id LIMIT 1",
                (clock(now), clock(now) + self._most_ahead_s, *besides),
            ).fetchone()
        return SpooledObject(*row) if row else None

    def due(self, destination: str, now: float | None = None, most: int = 20) -> list[Delivery]:
        """Deliveries to `destination` that are due; what was not tried before comes first, oldest first."""
        return self._deliveries("pending", destination, now, most)

    def unconfirmed(self, destination: str, now: float | None = None, most: int = 20) -> list[Delivery]:
        """Deliveries that `destination` has stored and whose confirmation is due."""
        return self._deliveries("sent", destination, now, most)

    def objects(self, states: tuple[ObjectState, ...], most: int = 100) -> list[SpooledObject]:
        """Objects in one of `states`, oldest first."""
        marks = ", ".join("?" * len(states))
        with self._lock:
            rows = self._rows.execute(
                f"SELECT {OBJECT_COLUMNS} FROM object WHERE state IN ({marks}) ORDER BY id LIMIT ?", (*states, most)
            ).fetchall()
        return [SpooledObject(*row) for row in rows]

    def counts(self) -> dict[ObjectState, tuple[int, float]]:
        """How many objects are in each state, and since when the oldest is in the spool (0: none)."""
        with self._lock:
            rows = self._rows.execute("SELECT state, COUNT(*), MIN(received_at) FROM object GROUP BY state").fetchall()
        found = {state: (count, since) for state, count, since in rows}
        return {state: found.get(state, (0, 0.0)) for state in OBJECT_STATES}

    def backlog(self) -> dict[tuple[str, str], tuple[int, int]]:
        """By destination and state: deliveries, and how many of them were refused at least once."""
        with self._lock:
            rows = self._rows.execute(
                "SELECT destination, state, COUNT(*), SUM(attempts > 0 OR reason != '') FROM delivery"
                " GROUP BY destination, state"
            ).fetchall()
        return {(destination, state): (count, tried) for destination, state, count, tried in rows}

    def set_aside_reasons(self) -> dict[tuple[str, str], int]:
        """By state, `kept` or `dead`, and reason: how many objects; a destination's name is left out of a reason."""
        with self._lock:
            rows = self._rows.execute(
                "SELECT state, SUBSTR(reason, INSTR(reason, ': ') + CASE WHEN reason LIKE '%: %' THEN 2 ELSE 1 END),"
                " COUNT(*) FROM object WHERE state IN ('kept', 'dead') GROUP BY 1, 2"
            ).fetchall()
        return {(state, reason): count for state, reason, count in rows}

    def note_faults(self, seen: dict[tuple[str, str], int], over: set[str], lasting: set[str], now: float) -> None:
        """See `FaultLog`."""
        with self._transaction():
            write_faults(self._rows, seen, over, lasting, now)

    def faults(self) -> list[Fault]:
        """What went wrong outside within a day, and what still does."""
        with self._lock:
            return read_faults(self._rows, clock(None))

    def bytes_held(self) -> int:
        """Bytes of the originals that are still held."""
        with self._lock:
            (held,) = self._rows.execute("SELECT COALESCE(SUM(bytes), 0) FROM object WHERE state != 'done'").fetchone()
        return int(held)

    def knows(self, source_uid: str) -> bool:
        """Whether an object was received at any time."""
        with self._lock:
            return self._rows.execute("SELECT 1 FROM object WHERE source_uid = ?", (source_uid,)).fetchone() is not None

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock:
            self._rows.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._rows.execute("COMMIT")
            except BaseException:
                if self._rows.in_transaction:  # on a full disk SQLite has rolled back already
                    self._rows.execute("ROLLBACK")
                raise

    def _deliveries(self, state: str, destination: str, now: float | None, most: int) -> list[Delivery]:
        with self._lock:
            rows = self._rows.execute(
                f"SELECT {DELIVERY_COLUMNS} FROM delivery WHERE destination = ? AND state = ?"
                " AND (due_at <= ? OR due_at > ?) ORDER BY due_at, id LIMIT ?",
                (destination, state, clock(now), clock(now) + self._most_ahead_s, most),
            ).fetchall()
        return [Delivery(*row) for row in rows]
