"""Files that are on the disk once written: fsynced, whole, and their names too."""

from __future__ import annotations

import os
import time
from pathlib import Path


def write_durably(path: Path, body: bytes) -> None:
    """Write `body` to `path`, whole and on the disk when this returns.

    Raises:
        OSError: it could not be written; `path` may hold a part of it.
    """
    partial = path.with_name(f"{path.name}.partial")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(body)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def clock(now: float | None) -> float:
    """`now`, or where it is None the time."""
    return time.time() if now is None else now
