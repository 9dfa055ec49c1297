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
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Literal

from service.dicom.gateway.rows import Delivery, Item, ObjectState, clock
from service.dicom.gateway.spool_index import SpoolIndex
from service.durable import sync_folder, write_all
from service.errors import ConfigurationError


class Spool(SpoolIndex):
    """One folder of objects; safe to share between threads, and readable by another process meanwhile."""

    def __init__(self, folder: Path, most_ahead_s: float = 86_400.0) -> None:
        """Open or make the spool in `folder`; due beyond `most_ahead_s` means due: the clock was set back.

        Raises:
            ConfigurationError: it cannot be made, or a newer version of the software wrote it.
        """
        self.folder = folder
        try:
            for name in ("objects", "dead"):
                (folder / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(f"The spool {folder} cannot be opened.") from error
        super().__init__(folder / "index.sqlite", most_ahead_s)
        self._last_id = 0

    def add(self, source_uid: str, sop_class: str, body: bytes, now: float | None = None) -> bool:
        """Keep an object for good; False if it is known already. An object that died comes to life again.

        The file is on the disk before its row is; without a row it is swept. Only one process may add.

        Raises:
            OSError, sqlite3.Error: it could not be kept; nothing of it is left.
        """
        if self.knows(source_uid):
            with self._transaction():
                if self._is_known(source_uid):
                    return False
        object_id = self._new_id()
        home = self.folder / "objects" / str(object_id)
        kept = False
        try:
            home.mkdir(exist_ok=True)
            write_all(home, {"original.dcm": body}, mode=0o600)
            sync_folder(home.parent)
            facts = (source_uid, sop_class, hashlib.sha256(body).hexdigest(), len(body), clock(now))
            with self._transaction():
                kept = not self._is_known(source_uid)  # another association may have sent it meanwhile
                if kept:
                    self._rows.execute(
                        "INSERT INTO object (id, source_uid, sop_class, sha256, bytes, received_at, state)"
                        " VALUES (?, ?, ?, ?, ?, ?, 'received')",
                        (object_id, *facts),
                    )
        except BaseException:
            kept = False
            raise
        finally:
            if not kept:
                shutil.rmtree(home, ignore_errors=True)
        return kept

    def _is_known(self, source_uid: str) -> bool:
        """Within a transaction: whether the object has a row; one that died comes to life."""
        known = self._rows.execute("SELECT id, state FROM object WHERE source_uid = ?", (source_uid,)).fetchone()
        if known is not None and known[1] == "dead":
            self._revive(known[0])
        return known is not None

    def _new_id(self) -> int:
        """A number that no object has or had."""
        with self._lock:
            (highest,) = self._rows.execute(
                "SELECT MAX((SELECT COALESCE(MAX(id), 0) FROM object),"
                " COALESCE((SELECT seq FROM sqlite_sequence WHERE name = 'object'), 0))"
            ).fetchone()
            self._last_id = max(self._last_id, highest) + 1
            return self._last_id

    def body(self, object_id: int, item: Item = "original") -> bytes:
        """The file of one item of an object.

        Raises:
            OSError: it cannot be read.
        """
        return self.file(object_id, item).read_bytes()

    def file(self, object_id: int, item: Item = "original") -> Path:
        """Where one item of an object is."""
        return self._home(object_id) / f"{item}.dcm"

    def enhanced(
        self, object_id: int, verdict: str, items: Mapping[Item, bytes], deliveries: Iterator[Delivery] | list[Delivery]
    ) -> None:
        """Keep the objects made of one, and where each has to go; without any delivery it is done."""
        home = self._home(object_id)
        write_all(home, {f"{item}.dcm": body for item, body in items.items()}, mode=0o600)
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

    def sent(self, delivery_ids: Iterable[int], check_at: float = 0.0) -> None:
        """The destination has stored them; look whether they are there from `check_at` on."""
        with self._transaction():
            self._rows.executemany(
                "UPDATE delivery SET state = 'sent', reason = '', due_at = ? WHERE id = ? AND state != 'done'",
                [(check_at, one) for one in delivery_ids],
            )

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
        self.confirmed(delivery_id for delivery_id, sop_uid in rows if sop_uid in stored)
        for delivery_id, sop_uid in rows:
            if sop_uid in failed - stored:
                self.delay(delivery_id, "commitment-failed", clock(None), counts=True)
        return len(rows)

    def confirmed(self, delivery_ids: Iterable[int]) -> None:
        """The destination has them for certain."""
        with self._transaction():
            object_ids = set()
            for delivery_id in delivery_ids:
                (object_id,) = self._rows.execute(
                    "UPDATE delivery SET state = 'done', reason = '', attempts = 0 WHERE id = ? RETURNING object_id",
                    (delivery_id,),
                ).fetchone()
                object_ids.add(object_id)
            for object_id in object_ids:
                self._finish(object_id)
        for object_id in object_ids:
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
        with self._transaction():
            self._rows.execute(
                "UPDATE delivery SET state = 'dead', reason = ?, due_at = 0 WHERE id = ? AND state != 'done'",
                (reason, delivery.id),
            )
        self.set_aside(delivery.object_id, "dead", f"{delivery.destination}: {reason}")

    def revive(self, object_id: int | None = None, state: Literal["kept", "dead"] = "dead") -> int:
        """Try objects in `state` again, one or all, and whatever waits for its next try at once; how many were."""
        with self._transaction():
            found = [
                row[0]
                for row in self._rows.execute("SELECT id FROM object WHERE state = ? ORDER BY id", (state,))
                if object_id in (None, row[0])
            ]
            for one in found:
                self._revive(one)
            self._rows.execute("UPDATE object SET due_at = 0 WHERE state = 'received'")
            self._rows.execute("UPDATE delivery SET due_at = 0 WHERE state = 'pending'")
        return len(found)

    def remove(self, object_ids: Iterable[int], states: tuple[ObjectState, ...]) -> list[int]:
        """Remove objects for good, row and files, unless one has left `states` meanwhile; those that were removed.

        Sent again, such an object is a new one.
        """
        marks = ", ".join("?" * len(states))
        gone = f"DELETE FROM object WHERE id = ? AND state IN ({marks})"
        with self._transaction():
            removed = [one for one in object_ids if self._rows.execute(gone, (one, *states)).rowcount]
            self._rows.executemany("DELETE FROM delivery WHERE object_id = ?", [(one,) for one in removed])
        for one in removed:
            shutil.rmtree(self._home(one), ignore_errors=True)
        return removed

    def bytes_of(self, object_id: int) -> int:
        """Bytes of the files of one object."""
        home = self._home(object_id)
        return sum(file.stat().st_size for file in home.iterdir()) if home.is_dir() else 0

    def free_bytes(self) -> int:
        """Bytes free on the spool's file system."""
        return shutil.disk_usage(self.folder).free

    def sweep(self) -> None:
        """Remove what a crash left without a row, and put dead letters where they belong."""
        shutil.rmtree(self.folder / "incoming", ignore_errors=True)  # of earlier versions
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
