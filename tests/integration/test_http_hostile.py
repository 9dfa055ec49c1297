"""The hostile corpus over HTTP: each file ends in the right error, memory stays bounded, and the service goes on."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from service.errors import HTTP_STATUS
from tests import models
from tests.hostile import HostileFile, good_files, heavy_files, hostile_files
from tests.integration.command import Command, command

GIGABYTE = 1 << 30
CLIENTS = 4


def peak_bytes(running: Command) -> int:
    """The most memory that the process ever held (Linux: VmHWM)."""
    status = Path(f"/proc/{running.process.pid}/status").read_text()
    match = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    assert match
    return int(match[1]) * 1024


def outcome(client: httpx.Client, file: HostileFile) -> tuple[str, int, str | None]:
    """What became of one file: its name, status and error code."""
    headers = {"content-type": file.declared_type} if file.declared_type else {}
    answer = client.post("/enhance", content=file.body, headers=headers)
    return file.name, answer.status_code, None if answer.status_code == 200 else answer.json()["code"]


def test_every_hostile_file_ends_in_its_error_under_a_gigabyte_and_the_service_still_serves(tmp_path: Path) -> None:
    models.install(tmp_path / "models", models.identity())
    files = list(hostile_files())
    assert len(files) >= 60
    with command(tmp_path / "models", tmp_path / "log", LAMEGAN_DEADLINE_S="300") as running:
        with httpx.Client(base_url=running.ready_url(), timeout=300, trust_env=False) as client:
            with ThreadPoolExecutor(CLIENTS) as clients:
                outcomes = list(clients.map(lambda file: outcome(client, file), files))
                heavy = [make() for name, make in heavy_files() if name in ("png RGB", "jpeg")]  # 49 MP each
                honest = list(clients.map(lambda body: client.post("/enhance?format=jpeg", content=body), heavy))
            for body in good_files().values():
                assert client.post("/enhance", content=body).status_code == 200
        expected = [(file.name, 200 if file.code is None else HTTP_STATUS[file.code][0], file.code) for file in files]
        assert outcomes == expected
        assert [answer.status_code for answer in honest] == [200] * len(heavy)
        assert running.process.poll() is None
        peak = peak_bytes(running)
        assert peak < GIGABYTE, f"{peak / 1e6:.0f} MB"
    log = (tmp_path / "log").read_text()
    assert '"unforeseen"' not in log
    assert [line for line in log.splitlines() if not line.startswith("{")] == []
