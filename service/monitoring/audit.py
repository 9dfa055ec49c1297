"""The audit log: one JSON line for each enhanced photo, each holding the hash of the line before it.

Who (the key's name), when, which model, the SHA-256 of what came in and of what went out, score and verdict; no pixel,
no file name. Lines are only ever appended, to `audit-00000001.jsonl` and so on, and `head.json` holds the last line's
number and hash, so that a cut at the end is found too. Whoever can write the folder can write a whole new chain: keep a
line's number and hash elsewhere (the service logs the last one when it stops) and verify against it.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from service.durable import write_whole
from service.errors import AuditUnavailable, ConfigurationError

try:
    import fcntl
except ImportError:  # Windows locks no files
    fcntl = None  # type: ignore[assignment]

HEAD_FILE = "head.json"
FIRST_HASH = "0" * 64
"""What the first line of all has before it."""

Value = str | int | float | None


@dataclass(frozen=True, slots=True)
class Head:
    """The last line: its number, from 1, and its hash; 0 and `FIRST_HASH` before the first."""

    number: int
    hash: str


@dataclass(frozen=True, slots=True)
class Fault:
    """Where a chain is broken, and how."""

    file: str
    line: int
    what: str


@dataclass(frozen=True, slots=True)
class Audit:
    """What reading a whole log found."""

    lines: int
    files: int
    head: Head
    faults: tuple[Fault, ...]


class AuditLog:
    """Appends to the log in one folder; safe for several threads, and one process a folder."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        """Go on where the log in `folder` ends; a new file is begun after `max_bytes`.

        Raises:
            ConfigurationError: the folder cannot be written, another process writes there, or its log is broken.
        """
        self._folder = folder
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._head = Head(0, FIRST_HASH)
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._own = os.open(folder, os.O_RDONLY)
            if fcntl is not None:
                fcntl.flock(self._own, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigurationError("LAMEGAN_AUDIT_DIR: another process writes an audit log there.") from error
        except OSError as error:
            raise ConfigurationError(f"LAMEGAN_AUDIT_DIR cannot be used: {error.strerror}.") from error
        try:
            self._resume()
        except OSError as error:
            os.close(self._own)
            raise ConfigurationError(f"LAMEGAN_AUDIT_DIR cannot be used: {error.strerror}.") from error
        except ValueError as error:
            os.close(self._own)
            raise ConfigurationError(
                "LAMEGAN_AUDIT_DIR: the log there does not end as its head says; see `lamegan audit verify`."
            ) from error

    @property
    def head(self) -> Head:
        """The last line."""
        return self._head

    def append(self, facts: Mapping[str, Value]) -> Head:
        """Write one line with `facts`, durable on return to the system; the whole line or nothing of it.

        Raises:
            AuditUnavailable: it cannot be written, as on a full disk.
        """
        with self._lock:
            head = Head(self._head.number + 1, "")
            line = {"number": head.number, "time": _now(), **facts, "before": self._head.hash}
            head = Head(head.number, line_hash(line))
            data = (json.dumps(line | {"hash": head.hash}, separators=(",", ":")) + "\n").encode()
            try:
                self._write(data)
            except OSError as error:
                raise AuditUnavailable(f"The audit log cannot be written: {error.strerror}.") from error
            self._head = head
            return head

    def close(self) -> None:
        """Make everything durable and let the folder go.

        Raises:
            AuditUnavailable: the disk does not take the last lines.
        """
        with self._lock:
            try:
                os.fsync(self._file)
            except OSError as error:
                raise AuditUnavailable(f"The audit log is not durable: {error.strerror}.") from error
            finally:
                os.close(self._file)
                os.close(self._own)

    def _resume(self) -> None:
        files = log_files(self._folder)
        self._head = _kept_head(self._folder)
        path = files[-1] if files else self._folder / _name(1)
        last, torn = _last_line(path) if files else (None, False)
        if last is not None and (int(last["number"]), last["hash"]) == (self._head.number + 1, line_hash(last)):
            self._head = Head(self._head.number + 1, str(last["hash"]))  # it ended between a line and its head
        ends_with = Head(int(last["number"]), str(last["hash"])) if last else Head(0, FIRST_HASH)
        if ends_with != self._head:
            raise ValueError("the last line is not the head")
        self._open(self._after(path) if torn else path)  # what a power cut tore stays, for `verify` to show
        with suppress(OSError):  # a full disk: the head stays one line behind, which the next start takes too
            self._keep_head()

    def _after(self, path: Path) -> Path:
        return self._folder / _name(int(path.stem.rpartition("-")[2]) + 1)

    def _open(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._path = path
        self._size = os.fstat(self._file).st_size

    def _write(self, data: bytes) -> None:
        if self._size and self._size + len(data) > self._max_bytes:
            os.fsync(self._file)
            ended = self._file
            self._open(self._after(self._path))
            os.close(ended)
        try:
            written = os.write(self._file, data)
            if written != len(data):
                raise OSError(28, "no space left on device")
            self._keep_head(Head(self._head.number + 1, str(json.loads(data)["hash"])))
        except OSError:
            os.ftruncate(self._file, self._size)
            raise
        self._size += len(data)

    def _keep_head(self, head: Head | None = None) -> None:
        head = head or self._head
        text = json.dumps({"number": head.number, "hash": head.hash}) + "\n"
        write_whole(self._folder / HEAD_FILE, text.encode("ascii"), synced=False)


def verify(folder: Path, expected: Head | None = None) -> Audit:
    """Read the whole log in `folder` and find every cut, edit and gap; `expected` is a head that was kept elsewhere.

    Raises:
        OSError: it cannot be read.
    """
    faults: list[Fault] = []
    head, lines, seen = Head(0, FIRST_HASH), 0, set()
    files = log_files(folder)
    for place, path in enumerate(files, start=1):
        if path.name != _name(place):
            faults.append(Fault(path.name, 0, f"{_name(place)} is absent"))
        for number, line, what in _checked(path, head):
            lines += 1
            faults += [Fault(path.name, number, what)] if what else []
            head = Head(int(line["number"]), str(line["hash"])) if line else head
            seen.add((head.number, head.hash))
    kept = _kept_head(folder)
    if (kept.number, kept.hash) != (head.number, head.hash):
        faults.append(Fault(HEAD_FILE, 1, f"the log ends with line {head.number}, its head says {kept.number}"))
    if expected is not None and (expected.number, expected.hash) not in seen:
        faults.append(Fault(HEAD_FILE, 0, f"the line {expected.number} that is expected is not in the log"))
    return Audit(lines, len(files), head, tuple(faults))


def line_hash(line: Mapping[str, Any]) -> str:
    """SHA-256 of a line without its own hash, as canonical JSON (sorted, no spaces)."""
    plain = {name: value for name, value in line.items() if name != "hash"}
    return hashlib.sha256(json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def log_files(folder: Path) -> list[Path]:
    """The files of the log, oldest first."""
    return sorted(folder.glob("audit-*.jsonl"))


def _checked(path: Path, head: Head) -> Iterator[tuple[int, dict[str, Any] | None, str | None]]:
    """(number in the file, line, what is wrong with it) for each line of `path`, the first of which follows `head`."""
    with path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            line = _parsed(raw)
            if line is None:
                yield number, None, "is not a line of an audit log"
                continue
            what = None
            if line["hash"] != line_hash(line):
                what = "was edited"
            elif line["before"] != head.hash or line["number"] != head.number + 1:
                what = f"does not follow line {head.number}: lines were cut, added or moved"
            head = Head(int(line["number"]), str(line["hash"]))
            yield number, line, what


def _parsed(raw: bytes) -> dict[str, Any] | None:
    try:
        line = json.loads(raw)
        whole = raw.endswith(b"\n") and isinstance(line["number"], int) and {"hash", "before", "time"} <= set(line)
    except (ValueError, KeyError, TypeError):
        return None
    return line if whole else None


def _last_line(path: Path) -> tuple[dict[str, Any] | None, bool]:
    """The last whole line of `path`, None in an empty file, and whether a torn one follows."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 65_536))
        lines = file.read().splitlines(keepends=True)
    torn = bool(lines) and _parsed(lines[-1]) is None
    whole = lines[:-1] if torn else lines
    return (_parsed(whole[-1]) if whole else None), torn


def _kept_head(folder: Path) -> Head:
    try:
        kept = json.loads((folder / HEAD_FILE).read_bytes())
        return Head(int(kept["number"]), str(kept["hash"]))
    except FileNotFoundError:
        return Head(0, FIRST_HASH)
    except (KeyError, TypeError) as error:
        raise ValueError("the head is damaged") from error


def _name(number: int) -> str:
    return f"audit-{number:08d}.jsonl"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
