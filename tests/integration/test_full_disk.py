"""A disk that is really full: a small file system of its own, filled to the last byte."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.monitoring.audit import verify
from tests import models
from tests.live import LiveService, encoded, scene

PNG = encoded(scene(96, 72))
BYTES = 64 * 1024


class Disk:
    """A folder with a file system of `BYTES`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._filler = folder / "filler"

    def fill(self) -> None:
        with self._filler.open("ab", buffering=0) as file:
            while _took(file, bytes(512)):
                pass

    def make_room(self) -> None:
        self._filler.unlink()


def _took(file: io.FileIO, data: bytes) -> bool:
    try:
        return file.write(data) > 0
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        return False


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """A small file system; skips where this user may not mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={BYTES}", "tmpfs", folder], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        pytest.skip(f"no small file system can be mounted here: {done.stderr.strip()}")
    try:
        yield Disk(folder)
    finally:
        subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize(("required", "status"), [(True, 503), (False, 200)])
def test_with_no_room_for_the_audit_log_photos_are_refused_or_served_by_setting(
    tmp_path: Path, disk: Disk, required: bool, status: int, capfd: pytest.CaptureFixture[str]
) -> None:
    models.install(tmp_path / "models", models.identity())
    settings = {"audit_dir": disk.folder / "audit", "audit_required": required}
    with LiveService(tmp_path / "models", **settings) as live:
        assert live.http.post("/enhance", content=PNG).status_code == 200
        disk.fill()
        answers = [
            live.http.post("/enhance", content=PNG) for _ in range(12)
        ]  # a page of the disk has some lines' room
        assert answers[-1].status_code == status
        if required:
            assert answers[-1].json()["code"] == "audit-unavailable"
        assert "lamegan_audit_failures_total 0.0" not in live.http.get("/metrics").text
        assert live.http.get("/health/ready").status_code == 200
    assert "audit line not written" in "".join(capfd.readouterr())
    with LiveService(tmp_path / "models", **settings) as live:  # a restart while it is full
        assert live.http.post("/enhance", content=PNG).status_code == status
        disk.make_room()
        assert live.http.post("/enhance", content=PNG).status_code == 200
    found = verify(disk.folder / "audit")
    assert found.faults == ()
    assert found.lines >= 2


def test_with_no_room_for_a_next_file_of_the_audit_log_the_chain_goes_on_in_the_old_one(
    tmp_path: Path, disk: Disk
) -> None:
    models.install(tmp_path / "models", models.identity())
    with LiveService(tmp_path / "models", audit_dir=disk.folder / "audit", audit_max_bytes=4096) as live:
        codes = [live.http.post("/enhance", content=PNG).status_code for _ in range(12)]
        disk.fill()
        codes += [live.http.post("/enhance", content=PNG).status_code for _ in range(12)]
        disk.make_room()
        codes += [live.http.post("/enhance", content=PNG).status_code for _ in range(12)]
    assert set(codes) == {200, 503}
    assert codes[-12:] == [200] * 12
    found = verify(disk.folder / "audit")
    assert (found.faults, found.lines) == ((), codes.count(200))


def test_with_no_room_for_the_state_the_service_serves_on_and_a_change_of_model_is_refused(
    tmp_path: Path, disk: Disk
) -> None:
    for version in ("1.0.0", "1.1.0"):
        models.install(tmp_path / "models", models.identity(), version=version)
    environment = {"LAMEGAN_MODELS_DIR": str(tmp_path / "models"), "LAMEGAN_STATE_DIR": str(disk.folder)}
    environment["LAMEGAN_MODEL"] = "tiny/1.0.0"

    def activate(version: str) -> tuple[int, str]:
        command = [sys.executable, "-m", "service.commands.main", "models", "activate", f"tiny/{version}"]
        done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)
        return done.returncode, done.stderr

    assert activate("1.0.0")[0] == 0
    kept = (disk.folder / "active.json").read_bytes()
    disk.fill()
    with LiveService(tmp_path / "models", state_dir=disk.folder) as live:
        assert live.http.post("/enhance", content=PNG).headers["model"] == "tiny/1.0.0"
        code, told = activate("1.1.0")
        assert code == 2
        assert "No space left on device" in told
        assert "nothing changed" in " ".join(told.split())
        assert (disk.folder / "active.json").read_bytes() == kept
        assert live.http.post("/enhance", content=PNG).headers["model"] == "tiny/1.0.0"
        disk.make_room()
        assert activate("1.1.0")[0] == 0
