"""What a command may write: never a file that it reads, and no file twice."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from threading import Lock

from service.errors import CommandError

_Mark = str | tuple[int, int]


class Targets:
    """The files that one run writes, each claimed before it is written; safe to share between threads.

    Files are compared by their resolved paths and, where they exist, by device and inode, so that links are seen
    through, and names that differ in case where the file system does not tell them apart.
    """

    def __init__(self, inputs: Iterable[Path]) -> None:
        self._inputs = {mark for path in inputs for mark in _marks(path)}
        self._claimed: set[_Mark] = set()
        self._lock = Lock()

    def check(self, path: Path) -> None:
        """Let `path` pass unless it is an input.

        Raises:
            CommandError: it is.
        """
        if not self._inputs.isdisjoint(_marks(path)):
            raise CommandError(f"{path} would replace an input of this run.")

    def claim(self, path: Path, *, overwrite: bool) -> None:
        """Keep `path` for the caller.

        Raises:
            CommandError: it is an input or a folder, something else of this run goes there, or it exists and may not be
                overwritten.
        """
        self.check(path)
        marks = set(_marks(path))
        with self._lock:
            if not self._claimed.isdisjoint(marks):
                raise CommandError(f"{path} would be written twice in this run.")
            if len(marks) > 1 and path.is_dir():
                raise CommandError(f"{path} is a folder.")
            if len(marks) > 1 and not overwrite:
                raise CommandError(f"{path} exists; say --overwrite to replace it.")
            self._claimed |= marks

    def claim_report(self, path: Path) -> None:
        """Keep `path` for a report written when the work is done; its folder is made, one that exists is replaced.

        Raises:
            CommandError: as `claim`, or it could not be written even now.
        """
        self.claim(path, overwrite=True)
        try:
            _check_writable(path)
        except OSError as error:
            raise CommandError.unwritable(path, error) from error


def _marks(path: Path) -> Iterator[_Mark]:
    """What tells whether two paths are one file: one mark if nothing is there, two if something is."""
    yield os.path.realpath(path)
    with suppress(OSError):
        found = path.stat()
        yield found.st_dev, found.st_ino


def _check_writable(path: Path) -> None:
    """Make the folder of `path`, and raise unless a file can be written there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    there = path if path.exists() else path.parent
    if not os.access(there, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def write_report(path: Path, text: str) -> None:
    """Write `text` as UTF-8, a file name that is not UTF-8 as the bytes it has.

    Raises:
        CommandError: it cannot be written.
    """
    try:
        path.write_text(text, encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise CommandError.unwritable(path, error) from error
