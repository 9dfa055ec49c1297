"""Rows of the spool's index, and the scripts that bring an index of any older version up to date."""

from __future__ import annotations

import sqlite3
import time
from dataclasses import dataclass
from typing import Literal

from service.dicom.gateway.faults import FAULT_TABLE

Item = Literal["image", "report", "original"]
ObjectState = Literal["received", "enhanced", "done", "kept", "dead"]
OBJECT_STATES: tuple[ObjectState, ...] = ("received", "enhanced", "done", "kept", "dead")

MIGRATIONS = (
    """
    CREATE TABLE object (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        source_uid TEXT NOT NULL UNIQUE,
        sop_class TEXT NOT NULL,
        sha256 TEXT NOT NULL,
        bytes INTEGER NOT NULL,
        received_at REAL NOT NULL,
        state TEXT NOT NULL,
        attempts INTEGER NOT NULL DEFAULT 0,
        due_at REAL NOT NULL DEFAULT 0,
        verdict TEXT NOT NULL DEFAULT '',
        reason TEXT NOT NULL DEFAULT ''
    );
    CREATE INDEX object_state ON object (state, due_at);
    CREATE TABLE delivery (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        object_id INTEGER NOT NULL REFERENCES object (id),
        destination TEXT NOT NULL,
        item TEXT NOT NULL,
        sop_class TEXT NOT NULL,
        sop_uid TEXT NOT NULL,
        state TEXT NOT NULL,
        attempts INTEGER NOT NULL DEFAULT 0,
        due_at REAL NOT NULL DEFAULT 0,
        reason TEXT NOT NULL DEFAULT '',
        UNIQUE (object_id, destination, item)
    );
    CREATE INDEX delivery_state ON delivery (destination, state, due_at);
    """,
    """
    ALTER TABLE delivery ADD COLUMN commitment_uid TEXT NOT NULL DEFAULT '';
    ALTER TABLE object ADD COLUMN finished_at REAL NOT NULL DEFAULT 0;
    """,
    FAULT_TABLE,
)
"""One script a version of the format; a spool of an older version is brought up to date when it is opened."""


@dataclass(frozen=True, slots=True)
class SpooledObject:
    """A row of the spool, without anything personal."""

    id: int
    source_uid: str
    sop_class: str
    bytes: int
    received_at: float
    state: ObjectState
    attempts: int
    verdict: str
    reason: str


@dataclass(frozen=True, slots=True)
class Delivery:
    """One object on its way to one destination.

    Attributes:
        state: pending, sent (stored there, not yet confirmed), done or dead.
        attempts: times that it was refused.
    """

    id: int
    object_id: int
    destination: str
    item: Item
    sop_class: str
    sop_uid: str
    state: str
    attempts: int
    reason: str


OBJECT_COLUMNS = "id, source_uid, sop_class, bytes, received_at, state, attempts, verdict, reason"
DELIVERY_COLUMNS = "id, object_id, destination, item, sop_class, sop_uid, state, attempts, reason"


def migrate(index: sqlite3.Connection) -> bool:
    """Bring `index`, which commits by itself, up to date; False if a newer version of the software wrote it."""
    (version,) = index.execute("PRAGMA user_version").fetchone()
    for number, script in enumerate(MIGRATIONS[version:], start=version + 1):
        index.execute("BEGIN IMMEDIATE")
        for statement in filter(str.strip, script.split(";")):
            index.execute(statement)
        index.execute(f"PRAGMA user_version = {number}")
        index.execute("COMMIT")
    return bool(version <= len(MIGRATIONS))


def clock(now: float | None) -> float:
    """`now`, or where it is None the time."""
    return time.time() if now is None else now
