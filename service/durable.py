"""Files that are whole: what is written to a file appears at once or not at all, and is on the disk if asked for."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path


def write_whole(path: Path, body: bytes | memoryview, *, synced: bool = True, mode: int = 0o666) -> None:
    """Put `body` at `path`, whole or not at all; until then what was there stays.

    Args:
        path: the file; its folder exists. A hidden `.NAME.partial` beside it holds the bytes until all are there.
        body: the content.
        synced: whether content and name are on the disk on return, so that a power cut cannot undo them.
        mode: permissions of the file, less the process's umask.

    Raises:
        OSError: it could not be written; nothing has changed.
    """
    _put(path, body, synced=synced, mode=mode)
    if synced:
        sync_folder(path.parent)


def write_all(folder: Path, files: Mapping[str, bytes], *, mode: int = 0o666) -> None:
    """Put several files into `folder`, each whole or not at all; on return all are on the disk.

    Raises:
        OSError: one could not be written; those before it are there.
    """
    for name, body in files.items():
        _put(folder / name, body, synced=True, mode=mode)
    if files:
        sync_folder(folder)


def _put(path: Path, body: bytes | memoryview, *, synced: bool, mode: int) -> None:
    """See `write_whole`; with `synced` the content is on the disk, but not yet its name."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0), mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(body)
            if synced:
                file.flush()
                os.fsync(file.fileno())
        partial.replace(path)
    except OSError:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable; Windows, where a folder cannot be opened, does so by itself."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
