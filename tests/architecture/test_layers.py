"""The layers hold, and a planted violation is found: import-linter runs on a copy with one import too many."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

VIOLATIONS = {
    "service/imaging/planted.py": ("import service.api", "The service's layers"),
    "service/engine/planted.py": ("import service.settings", "Only the composition roots read settings"),
    "service/quality/planted.py": ("import model_training", "The service knows nothing of training"),
    "model_training/planted.py": ("import service.engine", "Training takes from the service only"),
    "service/enhance_planted.py": ("", "exhaustive"),
    "service/registry/planted.py": ("import onnxruntime", "onnxruntime has one owner"),
    "service/monitoring/planted.py": ("import fastapi", "fastapi has one owner"),
    "service/api/planted.py": ("import prometheus_client", "prometheus_client has one owner"),
    "service/imaging/planted_dicom.py": ("import pydicom", "DICOM libraries have one owner"),
}


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("lint-imports")
    return subprocess.run([program, "--no-cache"], cwd=folder, capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for package in ("service", "model_training"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_layers_hold(copy: Path) -> None:
    result = lint(copy)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("path", VIOLATIONS)
def test_a_planted_violation_is_found(copy: Path, path: str) -> None:
    line, contract = VIOLATIONS[path]
    (copy / path).write_text(f"{line}\n", encoding="utf-8")
    result = lint(copy)
    assert result.returncode != 0
    assert contract in result.stdout + result.stderr
