"""The audit log's chain: whole when nobody touched it, and any cut, edit or gap is found."""

from __future__ import annotations

import errno
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from service.commands.main import app
from service.errors import AuditUnavailable, ConfigurationError
from service.monitoring.audit import AuditLog, Head, log_files, verify

LINES = 60


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A log of sixty lines in several files."""
    folder = tmp_path / "audit"
    audit = AuditLog(folder, 4096)
    for number in range(LINES):
        audit.append({"key": "camera-1", "lassim": 0.9, "verdict": "pass", "request_id": f"r{number}"})
    audit.close()
    return folder


def test_a_log_that_nobody_touched_is_whole(log: Path) -> None:
    found = verify(log)
    assert (found.lines, found.faults, found.head.number) == (LINES, (), LINES)
    assert found.files == len(log_files(log)) > 2


def _edit(folder: Path) -> None:
    path = log_files(folder)[1]
    path.write_text(path.read_text().replace('"verdict":"pass"', '"verdict":"withheld"', 1))


def _cut_within(folder: Path) -> None:
    path = log_files(folder)[1]
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:2] + lines[3:]))


def _cut_the_end(folder: Path) -> None:
    path = log_files(folder)[-1]
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))


def _swap(folder: Path) -> None:
    path = log_files(folder)[0]
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([lines[1], lines[0], *lines[2:]]))


def _remove_a_file(folder: Path) -> None:
    log_files(folder)[1].unlink()


def _remove_the_last_file(folder: Path) -> None:
    log_files(folder)[-1].unlink()


def _add(folder: Path) -> None:
    path = log_files(folder)[-1]
    path.write_text(path.read_text() + path.read_text().splitlines(keepends=True)[-1])


@pytest.mark.parametrize("harm", [_edit, _cut_within, _cut_the_end, _swap, _remove_a_file, _remove_the_last_file, _add])
def test_any_cut_edit_or_gap_is_found(log: Path, harm: Callable[[Path], None]) -> None:
    harm(log)
    assert verify(log).faults
    done = CliRunner().invoke(app, ["audit", "verify", str(log)])
    assert done.exit_code == 1, done.output
    assert "NOT whole" in done.output


def test_a_chain_written_anew_is_told_by_a_line_that_was_kept_elsewhere(log: Path, tmp_path: Path) -> None:
    kept = verify(log).head
    other = AuditLog(tmp_path / "other", 4096)
    for _ in range(LINES):
        other.append({"key": "forger"})
    other.close()
    assert not verify(tmp_path / "other").faults
    assert verify(tmp_path / "other", kept).faults
    assert not verify(log, kept).faults
    options = ["audit", "verify", str(log), "--expect", f"{kept.number}:{kept.hash}"]
    assert CliRunner().invoke(app, options).exit_code == 0


def test_a_restart_goes_on_with_the_chain_and_a_line_that_a_crash_tore_is_shown(log: Path) -> None:
    AuditLog(log, 4096).close()
    path = log_files(log)[-1]
    with path.open("a") as file:
        file.write('{"number":61,"ti')
    audit = AuditLog(log, 4096)
    assert audit.append({"key": "camera-1"}).number == LINES + 1
    audit.close()
    found = verify(log)
    assert [(fault.file, fault.what) for fault in found.faults] == [(path.name, "is not a line of an audit log")]
    assert found.head.number == LINES + 1


def test_a_log_that_was_cut_is_not_gone_on_with(log: Path) -> None:
    _cut_the_end(log)
    with pytest.raises(ConfigurationError, match="audit verify"):
        AuditLog(log, 4096)


def test_one_process_writes(log: Path) -> None:
    first = AuditLog(log, 4096)
    with pytest.raises(ConfigurationError, match="another process"):
        AuditLog(log, 4096)
    first.close()


def test_threads_write_one_chain(tmp_path: Path) -> None:
    audit = AuditLog(tmp_path, 1 << 20)

    def write() -> None:
        for _ in range(50):
            audit.append({"key": "k"})

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    audit.close()
    assert verify(tmp_path).faults == ()
    assert verify(tmp_path).head.number == 200


def test_a_full_disk_leaves_no_half_line_and_writing_goes_on_when_there_is_room(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    audit = AuditLog(log, 1 << 20)
    write = os.write

    def full(file: int, data: bytes) -> int:
        write(file, data[:10])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(AuditUnavailable, match="No space left"):
        audit.append({"key": "k"})
    monkeypatch.undo()
    assert audit.append({"key": "k"}) == Head(LINES + 1, audit.head.hash)
    audit.close()
    assert verify(log).faults == ()


def test_lines_hold_what_they_are_given_and_nothing_else(log: Path) -> None:
    line = json.loads(log_files(log)[0].read_text().splitlines()[0])
    assert set(line) == {"number", "time", "key", "lassim", "verdict", "request_id", "before", "hash"}
