"""What a run of `lamegan enhance` has done so far, kept on disk so that a later run can go on.

A line is written before a result and another after it, both at once on disk. So after Ctrl-C or a crash it is known
which results are whole, which file was being written, and what the CSV must say of those made before.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from service.errors import CommandError

JOURNAL_NAME = ".lamegan-journal.jsonl"
"""The journal's name in the folder of the results; hidden, so that it is never taken for an input."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What is known of one input from an earlier run.

    Attributes:
        begun: the result that was being written.
        facts: the row of the table, once the result was whole; None before.
        options: what was asked for.
        stamp: size and time of the input then.
    """

    begun: str
    facts: dict[str, object] | None
    options: str
    stamp: list[int]


class Journal:
    """The journal at `path`; what it holds of earlier runs is read when it is opened."""

    def __init__(self, path: Path | None, options: str) -> None:
        """`path` None keeps nothing. `options` says what is asked for, in a form that can be compared."""
        self._path = path
        self._options = options
        self._lock = Lock()
        self._known = dict(self._read())

    def earlier(self, source: Path, target: Path) -> Entry | None:
        """What an earlier run did of `source`, if its result was `target`."""
        found = self._known.get(os.path.realpath(source))
        return found if found is not None and found.begun == os.path.realpath(target) else None

    def is_current(self, entry: Entry, source: Path) -> bool:
        """Whether the result of `entry` is whole, of the same input and made by the same options."""
        return entry.facts is not None and entry.options == self._options and entry.stamp == _stamp(source)

    def is_older(self, entry: Entry, source: Path) -> bool:
        """Whether the input has changed since."""
        return entry.stamp != _stamp(source)

    def begin(self, source: Path, target: Path) -> None:
        """Note that `target` is about to be written."""
        self._append({"input": os.path.realpath(source), "begun": os.path.realpath(target)})

    def finish(self, source: Path, target: Path, facts: dict[str, object]) -> None:
        """Note that `target` is whole, and the row of the table for it."""
        if self._path is None:
            return
        self._append(
            {
                "input": os.path.realpath(source),
                "begun": os.path.realpath(target),
                "facts": facts,
                "options": self._options,
                "stamp": _stamp(source),
            }
        )

    def _append(self, line: dict[str, object]) -> None:
        if self._path is None:
            return
        data = (json.dumps(line) + "\n").encode("ascii")
        try:
            with self._lock:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                handle = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
                try:
                    os.write(handle, data)  # one call, so that a line is whole or not there
                finally:
                    os.close(handle)
        except OSError as error:
            raise CommandError.unwritable(self._path, error) from error

    def _read(self) -> Iterator[tuple[str, Entry]]:
        if self._path is None:
            return
        try:
            lines = self._path.read_bytes().splitlines()
        except FileNotFoundError:
            return
        except OSError as error:
            raise CommandError.unreadable(self._path, error) from error
        for line in lines:
            with suppress(ValueError, KeyError, TypeError):  # a last line that was cut off
                read = json.loads(line)
                yield (
                    read["input"],
                    Entry(read["begun"], read.get("facts"), read.get("options", ""), read.get("stamp", [])),
                )


def _stamp(source: Path) -> list[int]:
    found = source.stat()
    return [found.st_size, found.st_mtime_ns]
