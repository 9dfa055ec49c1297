"""The gateway's durable spool: objects are files, what became of each is a row in SQLite.

An object is `received` once its file is fsynced and its row committed, `enhanced` once the objects made of it are,
`done` once every destination has confirmed them (then its files go and its row stays, so that a second sending is
known), `kept` where the settings say so, and `dead` when somebody has to look. A crash at any instant leaves either the
state before or the state after; what lies about without a row is swept at the next start.

Source: https://sqlite.org/wal.html, https://sqlite.org/pragma.html#pragma_synchronous (FULL: a commit is on the disk).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from service.dicom.gateway.faults import Fault, read_faults, write_faults
from service.dicom.gateway.rows import (
    DELIVERY_COLUMNS,
    OBJECT_COLUMNS,
    OBJECT_STATES,
    Delivery,
    Item,
    ObjectState,
    SpooledObject,
    clock,
    migrate,
)
from service.durable import sync_folder, write_whole
from service.errors import ConfigurationError


class Spool:
    """One folder of objects; safe to share between threads, and readable by another process meanwhile."""

    def __init__(self, folder: Path, most_ahead_s: float = 86_400.0) -> None:
        """Open or make the spool in `folder`; due beyond `most_ahead_s` means due: the clock was set back.

        Raises:
            ConfigurationError: it cannot be made, or a newer version of the software wrote it.
        """
        self.folder = folder
        self._most_ahead_s = most_ahead_s
        self._lock = threading.RLock()
        try:
            for name in ("incoming", "objects", "dead"):
                (folder / name).mkdir(parents=True, exist_ok=True)
            self._rows = sqlite3.connect(folder / "index.sqlite", check_same_thread=False, timeout=30)
        except (OSError, sqlite3.Error) as error:
            raise ConfigurationError(f"The spool {folder} cannot be opened.") from error
        self._rows.isolation_level = None
        self._rows.execute("PRAGMA journal_mode = WAL")
        self._rows.execute("PRAGMA synchronous = FULL")
        if not migrate(self._rows):
            raise ConfigurationError(f"The spool {folder} was written by a newer version of the software.")

    def close(self) -> None:
        """Close the index."""
        with self._lock:
            self._rows.close()

    def add(self, source_uid: str, sop_class: str, body: bytes, now: float | None = None) -> bool:
        """Keep an object for good; False if it is known already. An object that died comes to life again.

        Raises:
            OSError, sqlite3.Error: it could not be kept; nothing of it is left.
        """
        partial = self.folder / "incoming" / f"{os.getpid()}-{threading.get_ident()}-{time.monotonic_ns()}"
        try:
            write_whole(partial, body, mode=0o600)
            with self._transaction():
                known = self._rows.execute(
                    "SELECT id, state FROM object WHERE source_uid = ?", (source_uid,)
                ).fetchone()
                if known is not None:
                    if known[1] == "dead":
                        self._revive(known[0])
                    return False
                found = self._rows.execute(
                    "INSERT INTO object (source_uid, sop_class, sha256, bytes, received_at, state)"
                    " VALUES (?, ?, ?, ?, ?, 'received') RETURNING id",
                    (source_uid, sop_class, hashlib.sha256(body).hexdigest(), len(body), clock(now)),
                ).fetchone()
                home = self.folder / "objects" / str(found[0])
                home.mkdir(exist_ok=True)
                partial.replace(home / "original.dcm")
                sync_folder(home)
                sync_folder(home.parent)
            return True
        finally:
            partial.unlink(missing_ok=True)

    def body(self, object_id: int, item: Item = "original") -> bytes:
        """The file of one item of an object.

        Raises:
            OSError: it cannot be read.
        """
        return (self._home(object_id) / f"{item}.dcm").read_bytes()

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

    def enhanced(
        self, object_id: int, verdict: str, items: Mapping[Item, bytes], deliveries: Iterator[Delivery] | list[Delivery]
    ) -> None:
        """Keep the objects made of one, and where each has to go; without any delivery it is done."""
        home = self._home(object_id)
        for item, body in items.items():
            write_whole(home / f"{item}.dcm", body, mode=0o600)
        with self._transaction():
            self._rows.execute(
                "UPDATE object SET state = 'enhanced', verdict = ?, attempts = 0, reason = '' WHERE id = ?",
                (verdict, object_id),
            )
            for one in deliveries:
                self._rows.execute(
                    "INSERT OR IGNORE INTO delivery (object_id, destination, item, sop_class, sop_uid, state)"
                    " VALUES (?, ?, ?, ?, ?, 'pending')",
                    (object_id, one.destination, one.item, one.sop_class, one.sop_uid),
                )
            self._finish(object_id)
        self._tidy(object_id)

    def retry_object(self, object_id: int, reason: str, due_at: float, *, counts: bool = True) -> None:
        """Enhance it again later; `counts`: it may be that it never works."""
        with self._transaction():
            self._rows.execute(
                "UPDATE object SET attempts = attempts + ?, reason = ?, due_at = ? WHERE id = ?",
                (int(counts), reason, due_at, object_id),
            )

    def set_aside(self, object_id: int, state: Literal["kept", "dead"], reason: str) -> None:
        """Leave it for a person: `dead` moves its files to the dead-letter folder, with the reason."""
        with self._transaction():
            self._rows.execute("UPDATE object SET state = ?, reason = ? WHERE id = ?", (state, reason, object_id))
        if state == "dead":
            self._bury(object_id, reason)

    def due(self, destination: str, now: float | None = None, most: int = 20) -> list[Delivery]:
        """Deliveries to `destination` that are due; what was not tried before comes first, oldest first."""
        return self._deliveries("pending", destination, now, most)

    def unconfirmed(self, destination: str, now: float | None = None, most: int = 20) -> list[Delivery]:
        """Deliveries that `destination` has stored and whose confirmation is due."""
        return self._deliveries("sent", destination, now, most)

    def sent(self, delivery_id: int, check_at: float = 0.0) -> None:
        """The destination has stored it; look whether it is there from `check_at` on."""
        self._set_delivery(delivery_id, "sent", "", check_at)

    def asked(self, delivery_ids: list[int], commitment_uid: str, give_up_at: float) -> None:
        """Storage commitment was asked for; without a response it is looked for again from `give_up_at` on."""
        with self._transaction():
            self._rows.executemany(
                "UPDATE delivery SET commitment_uid = ?, due_at = ?, reason = 'commitment-asked'"
                " WHERE id = ? AND state = 'sent'",
                [(commitment_uid, give_up_at, one) for one in delivery_ids],
            )

    def committed(self, commitment_uid: str, stored: set[str], failed: set[str]) -> int:
        """What a destination reports about storage commitment: what it has is done, what it lacks is sent again."""
        with self._lock:
            rows = self._rows.execute(
                "SELECT id, sop_uid FROM delivery WHERE commitment_uid = ? AND commitment_uid != ''", (commitment_uid,)
            ).fetchall()
        for delivery_id, sop_uid in rows:
            if sop_uid in stored:
                self.confirmed(delivery_id)
            elif sop_uid in failed:
                self.delay(delivery_id, "commitment-failed", clock(None), counts=True)
        return len(rows)

    def confirmed(self, delivery_id: int) -> None:
        """The destination has it for certain."""
        with self._transaction():
            self._rows.execute(
                "UPDATE delivery SET state = 'done', reason = '', attempts = 0 WHERE id = ?", (delivery_id,)
            )
            (object_id,) = self._rows.execute("SELECT object_id FROM delivery WHERE id = ?", (delivery_id,)).fetchone()
            self._finish(object_id)
        self._tidy(object_id)

    def delay(self, delivery_id: int, reason: str, due_at: float, *, counts: bool) -> None:
        """Send it again from `due_at` on; `counts`: the destination refused it, which it may do so many times."""
        with self._transaction():
            self._rows.execute(
                "UPDATE delivery SET state = 'pending', reason = ?, due_at = ?, attempts = attempts + ? WHERE id = ?"
                " AND state != 'done'",
                (reason, due_at, int(counts), delivery_id),
            )

    def give_up(self, delivery: Delivery, reason: str) -> None:
        """Send it no more; its object becomes a dead letter."""
        self._set_delivery(delivery.id, "dead", reason, 0.0)
        self.set_aside(delivery.object_id, "dead", f"{delivery.destination}: {reason}")

    def revive(self, object_id: int | None = None) -> int:
        """Try dead letters again, one or all, and whatever waits for its next try at once; how many died."""
        with self._transaction():
            dead = [
                row[0]
                for row in self._rows.execute("SELECT id FROM object WHERE state = 'dead' ORDER BY id")
                if object_id in (None, row[0])
            ]
            for one in dead:
                self._revive(one)
            self._rows.execute("UPDATE object SET due_at = 0 WHERE state = 'received'")
            self._rows.execute("UPDATE delivery SET due_at = 0 WHERE state = 'pending'")
        return len(dead)

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

    def free_bytes(self) -> int:
        """Bytes free on the spool's file system."""
        return shutil.disk_usage(self.folder).free

    def sweep(self) -> None:
        """Remove what a crash left without a row, and put dead letters where they belong."""
        for partial in (self.folder / "incoming").iterdir():
            partial.unlink(missing_ok=True)
        with self._lock:
            rows = dict(self._rows.execute("SELECT id, state FROM object").fetchall())
            reasons = dict(self._rows.execute("SELECT id, reason FROM object WHERE state = 'dead'").fetchall())
        for home in [*(self.folder / "objects").iterdir(), *(self.folder / "dead").iterdir()]:
            state = rows.get(int(home.name)) if home.name.isdecimal() else "foreign"
            if state in (None, "done"):
                shutil.rmtree(home, ignore_errors=True)
        for object_id, reason in reasons.items():
            self._bury(object_id, reason)

    def forget(self, before: float) -> int:
        """Drop the rows of objects done before then; one of them sent again would be enhanced again."""
        with self._transaction():
            old = "SELECT id FROM object WHERE state = 'done' AND finished_at < ?"
            self._rows.execute(f"DELETE FROM delivery WHERE object_id IN ({old})", (before,))
            return self._rows.execute("DELETE FROM object WHERE state = 'done' AND finished_at < ?", (before,)).rowcount

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

    def _set_delivery(self, delivery_id: int, state: str, reason: str, due_at: float) -> None:
        with self._transaction():
            self._rows.execute(
                "UPDATE delivery SET state = ?, reason = ?, due_at = ? WHERE id = ? AND state != 'done'",
                (state, reason, due_at, delivery_id),
            )

    def _finish(self, object_id: int) -> None:
        """Within a transaction: an object is done when each of its deliveries is."""
        self._rows.execute(
            "UPDATE object SET state = 'done', finished_at = ?, reason = '' WHERE id = ? AND state = 'enhanced'"
            " AND NOT EXISTS (SELECT 1 FROM delivery WHERE object_id = object.id AND state != 'done')",
            (clock(None), object_id),
        )

    def _revive(self, object_id: int) -> None:
        """Within a transaction: a dead letter goes back to where it died."""
        sent = self._rows.execute("SELECT 1 FROM delivery WHERE object_id = ?", (object_id,)).fetchone() is not None
        self._rows.execute(
            "UPDATE object SET state = ?, attempts = 0, due_at = 0, reason = '' WHERE id = ?",
            ("enhanced" if sent else "received", object_id),
        )
        self._rows.execute(
            "UPDATE delivery SET state = 'pending', attempts = 0, due_at = 0, reason = ''"
            " WHERE object_id = ? AND state = 'dead'",
            (object_id,),
        )

    def _home(self, object_id: int) -> Path:
        """Where an object's files are: among the dead letters if it was one."""
        buried = self.folder / "dead" / str(object_id)
        return buried if buried.exists() else self.folder / "objects" / str(object_id)

    def _bury(self, object_id: int, reason: str) -> None:
        home, grave = self.folder / "objects" / str(object_id), self.folder / "dead" / str(object_id)
        with suppress(OSError):
            if home.exists() and not grave.exists():
                home.rename(grave)
            (grave / "reason.json").write_text(json.dumps({"object": object_id, "reason": reason}), encoding="utf-8")

    def _tidy(self, object_id: int) -> None:
        """Remove the files of an object that is done."""
        with self._lock:
            row = self._rows.execute("SELECT state FROM object WHERE id = ?", (object_id,)).fetchone()
        if row is not None and row[0] == "done":
            shutil.rmtree(self._home(object_id), ignore_errors=True)
