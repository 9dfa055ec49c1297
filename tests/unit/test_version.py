"""Every face of the product tells its version, and all tell the same."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import pytest
from typer import Typer
from typer.testing import CliRunner

from model_training.cli import app as train
from service.commands.main import app as lamegan


@pytest.mark.parametrize("command", [lamegan, train], ids=["lamegan", "lamegan-train"])
def test_the_commands_print_their_version(command: Typer) -> None:
    done = CliRunner().invoke(command, ["--version"])
    assert (done.exit_code, done.stdout) == (0, f"lamegan {version('lamegan')}\n")


def test_the_changelog_has_a_section_for_the_version() -> None:
    changelog = (Path(__file__).parents[2] / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## [{version('lamegan')}]" in changelog
