"""Objects that the gateway set aside are removed when a person says so, and only then."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.dicom.gateway.clearing import age_s, clear, find
from service.dicom.gateway.spool import Spool
from service.errors import CommandError
from tests import dicom_files as objects
from tests.gateway_parts import PATIENCE_S, Pacs, Running, running, store, to
from tests.live import wait_until

CT = "1.2.840.10008.5.1.4.1.1.2"


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Running]:
    """A gateway that has done one object, keeps two and has one dead letter."""
    pacs = Pacs()
    try:
        with running(tmp_path / "spool", to(pacs)) as one:
            assert store(one.port, objects.as_file(objects.endoscopic(1))) == 0
            for seed in (2, 3):
                assert store(one.port, objects.as_file(objects.endoscopic(seed, SOPClassUID=CT, Modality="CT"))) == 0
            assert store(one.port, objects.as_file(objects.endoscopic(4, PixelData=b"\0\0"))) == 0
            wait_until(lambda: [one.count(state) for state in ("done", "kept", "dead")] == [1, 2, 1], PATIENCE_S)
            wait_until((tmp_path / "spool" / "dead" / "4" / "reason.json").exists, PATIENCE_S)
            (tmp_path / "gateway.toml").write_text(
                f'[listen]\nallowed_calling = ["*"]\n[spool]\nfolder = "{tmp_path / "spool"}"\n'
                '[[destination]]\nname = "pacs"\nkind = "stow"\nurl = "http://127.0.0.1:1"\n'
            )
            yield one
    finally:
        pacs.stop()


def command(folder: Path, *arguments: str, stdin: int | None = subprocess.DEVNULL) -> subprocess.CompletedProcess[str]:
    given = [sys.executable, "-m", "service.commands.main", "gateway", *arguments]
    return subprocess.run(
        [*given, "--config", str(folder / "gateway.toml")], stdin=stdin, capture_output=True, text=True, check=False
    )


def homes(folder: Path) -> list[str]:
    return sorted(home.name for name in ("objects", "dead") for home in (folder / "spool" / name).iterdir())


def test_nothing_is_removed_without_a_state_or_an_agreement(gateway: Running, tmp_path: Path) -> None:
    assert "--kept, --dead" in command(tmp_path, "clear", "--yes").stderr
    assert "--yes" in command(tmp_path, "clear", "--kept", "--dead").stderr
    assert "is not an age" in command(tmp_path, "clear", "--kept", "--yes", "--older-than", "soon").stderr
    told = json.loads(command(tmp_path, "clear", "--kept", "--dead", "--dry-run", "--json").stdout)
    assert (told["dry_run"], told["found"], told["removed"]) == (True, 3, 0)
    assert [(one["state"], one["reason"], one["count"]) for one in told["reasons"]] == [
        ("dead", "undecodable-image", 1),
        ("kept", "unsupported-type", 2),
    ]
    assert (gateway.count("kept"), gateway.count("dead")) == (2, 1)
    assert homes(tmp_path) == ["2", "3", "4"]


def test_kept_objects_go_with_their_files_and_one_sent_again_is_new(gateway: Running, tmp_path: Path) -> None:
    size = sum(path.stat().st_size for number in "23" for path in (tmp_path / "spool" / "objects" / number).iterdir())
    told = json.loads(command(tmp_path, "clear", "--kept", "--yes", "--json").stdout)
    assert (told["removed"], told["bytes_removed"]) == (2, size)
    assert (gateway.count("kept"), gateway.count("dead"), gateway.count("done")) == (0, 1, 1)
    assert homes(tmp_path) == ["4"]
    assert store(gateway.port, objects.as_file(objects.endoscopic(2, SOPClassUID=CT, Modality="CT"))) == 0
    wait_until(lambda: gateway.count("kept") == 1, PATIENCE_S)
    assert homes(tmp_path) == ["4", "5"]  # numbers are not used twice


def test_a_person_at_a_terminal_is_asked(gateway: Running, tmp_path: Path) -> None:
    for answer, left in (("n", 1), ("y", 0)):
        ours, theirs = pty.openpty()
        try:
            os.write(ours, f"{answer}\n".encode())
            done = command(tmp_path, "clear", "--dead", stdin=theirs)
            assert "Remove them for good?" in done.stderr
            assert done.returncode == (2 if left else 0), done.stderr
            assert gateway.count("dead") == left
        finally:
            os.close(ours)
            os.close(theirs)
    assert "1 objects were removed" in done.stdout
    assert homes(tmp_path) == ["2", "3"]


def test_kept_objects_are_tried_again_after_a_change_of_settings(gateway: Running, tmp_path: Path) -> None:
    done = command(tmp_path, "retry", "--kept")
    assert done.stdout == "2 kept objects are tried again.\n"
    name = "lamegan_gateway_processed_total"
    wait_until(lambda: gateway.metric(name, outcome="kept") == 4, PATIENCE_S)  # the settings are what they were
    assert gateway.count("kept") == 2


def test_only_what_is_old_enough_is_found_and_what_was_tried_again_meanwhile_stays(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    for number, received_at in ((1, 1000.0), (2, 2000.0), (3, 3000.0)):
        spool.add(f"2.25.{number}", CT, b"body", received_at)
        spool.set_aside(number, "kept", "unsupported-type")
    clearing = find(spool, ("kept",), 3600.0, now=2000.0 + 3600.0)
    assert [one.id for one, _ in clearing.found] == [1, 2]
    spool.revive(1, "kept")
    assert clear(spool, clearing) == {2}
    assert spool.body(1) == b"body"
    assert [one.id for one in spool.objects(("kept", "received"))] == [1, 3]
    spool.close()


@pytest.mark.parametrize(("text", "seconds"), [("90m", 5400), ("12h", 43_200), ("7d", 604_800), ("2w", 1_209_600)])
def test_ages(text: str, seconds: float) -> None:
    assert age_s(text) == seconds


@pytest.mark.parametrize("text", ["", "7", "d", "-1d", "7 days", "1e9d"])
def test_other_ages_are_refused(text: str) -> None:
    with pytest.raises(CommandError):
        age_s(text)
