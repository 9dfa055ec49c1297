"""The documented way to train on one's own throat photos runs, command by command, on a small folder alike."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from model_training.data.phantom import phantom
from tests.training_files import write_vgg

ROOT = Path(__file__).resolve().parents[2]
PHOTOS, KEPT_OUT = 54, 54
"""A calibration needs 53 photos; the lists below keep every other one out instead of every tenth."""

TINY = "generator.options={detail_widths: [8, 8, 8], colour_widths: [8, 8, 8], colour_blocks: [1, 1, 1]}"
VIEWS = "data={height: 96, width: 96, crop: 64}"
SOON = ("journal.validate=2", "journal.checkpoint=2", "journal.validate_images=2")
SMALL = (
    *(TINY, VIEWS, *SOON, "warmstart.steps=2", "warmstart.batch=2"),
    "warmstart.mixture={count_phantoms: 1, count_everyday: 1}",
)
SMALL_FIT = (
    *(TINY, VIEWS, *SOON, "discriminator.width=8", "restoration.pairs=1"),
    "optimiser={constant: 2, decay: 0, unit: steps}",
    "degrader.options={widths: [8, 8, 8], blocks: [1, 1, 1]}",
)


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """A folder as the page describes it: pgu/, anything/, the features, the sources, and the shipped models."""
    for folder, count, seed in (
        ("pgu/bacterial", PHOTOS // 2, 0),
        ("pgu/other", PHOTOS // 2 + KEPT_OUT, 500),
        ("anything", 2, 900),
    ):
        (tmp_path / folder).mkdir(parents=True)
        for index in range(count):
            Image.fromarray(phantom(176, 160, seed + index)).save(tmp_path / folder / f"{index:03}.jpg", quality=92)
    write_vgg(tmp_path / "vgg16.npz")
    (tmp_path / "sources.yaml").write_text("hq: {name: drawn, licence: MIT, credit: this project, patients: 0}\n")
    shutil.copytree(ROOT / "models", tmp_path / "models")
    return tmp_path


def commands() -> list[str]:
    text = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"<!-- own photos:start -->\n```sh\n(.*?)```\n<!-- own photos:end -->", text, re.DOTALL)
    return block.strip().splitlines()


def shortened(command: str) -> str:
    """The command with fewer steps and smaller networks; nothing else of it changes."""
    command = command.replace("NR % 10", "NR % 2")
    if " warm-start " in command:
        command += "".join(f" --set '{setting}'" for setting in SMALL)
    elif " fit " in command:
        command += "".join(f" --set '{setting}'" for setting in SMALL_FIT)
    elif "--faults" in command:
        command += " --limit 1 --fault 'noise .02'"
    return command


def test_the_documented_commands_train_calibrate_and_activate_a_model_of_ones_own(desk: Path) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for command in commands():
        done = subprocess.run(
            ["bash", "-euc", shortened(command)],
            cwd=desk,
            env={**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
    assert (desk / "models" / "throat" / "1.0.0" / "card.json").is_file()
    assert (desk / "report" / "guard.md").is_file()
    assert (desk / "report" / "faults.md").is_file()
