"""`lamegan drift` and `lamegan-train reference`: from a CSV of scores to a verdict and an exit code."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from model_training.cli import app as training
from service.commands.main import app
from service.drift.reference import find_references, next_version, read_reference
from service.errors import LameganError

DIGEST = "a" * 64


def scores(path: Path, mean: float, count: int = 400, seed: int = 0) -> Path:
    """A CSV as `lamegan enhance --csv` writes it, one line of which failed."""
    rng = np.random.default_rng(seed)
    lines = [f"{i}.jpg,{min(rng.normal(mean, 0.08), 1):.4f},{rng.normal(0.9, 0.05):.4f}," for i in range(count)]
    path.write_text("\n".join(["input,lassim,worst,error", *lines, "bad.jpg,,,damaged"]) + "\n")
    return path


@pytest.fixture
def reference(tmp_path: Path) -> Path:
    """A reference with a mean LaSSIM of 0.85."""
    good = scores(tmp_path / "first-weeks.csv", 0.85, 1400)
    options = ["--csv", str(good), "--model-digest", DIGEST, "--name", "clinic", "--out", str(tmp_path / "references")]
    done = CliRunner().invoke(training, ["reference", *options])
    assert done.exit_code == 0, done.output
    assert "clinic/1.0.0, 1400 photos" in done.output
    return tmp_path / "references" / "clinic" / "1.0.0" / "reference.json"


def test_scores_like_the_references_are_no_drift(tmp_path: Path, reference: Path) -> None:
    same = scores(tmp_path / "now.csv", 0.85, seed=1)
    done = CliRunner().invoke(app, ["drift", "--csv", str(same), "--reference", str(reference)])
    assert done.exit_code == 0, done.output
    assert "No drift." in done.output
    assert "#" in done.output


def test_lower_scores_are_drift_and_cron_sees_it(tmp_path: Path, reference: Path) -> None:
    lower = scores(tmp_path / "now.csv", 0.82, seed=1)
    plot = tmp_path / "drift.png"
    options = ["--csv", str(lower), "--reference", str(reference), "--json", "--plot", str(plot)]
    done = CliRunner().invoke(app, ["drift", *options])
    assert done.exit_code == 1, done.output
    found = json.loads(done.output)
    assert found["drift"] is True
    assert found["measures"]["lassim"]["drift"] is True
    assert found["measures"]["lassim"]["ks_p"] < 1e-4
    assert found["measures"]["lassim_worst"]["drift"] is False
    assert found["model_digest"] == DIGEST
    with Image.open(plot) as drawn:
        assert drawn.format == "PNG"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ([], "either --prometheus or --csv"),
        (["--csv", "absent.csv"], "cannot be read"),
        (["--prometheus", "nonsense"], "must begin with http"),
        (["--prometheus", "http://127.0.0.1:1"], "cannot be asked"),
        (["--prometheus", "http://127.0.0.1:1", "--window", "soon"], "Write the window"),
    ],
)
def test_what_cannot_be_told_is_one_sentence(options: list[str], sentence: str) -> None:
    with pytest.raises(LameganError, match=sentence):
        CliRunner().invoke(app, ["drift", *options], catch_exceptions=False)


def test_few_photos_say_nothing(tmp_path: Path, reference: Path) -> None:
    few = scores(tmp_path / "now.csv", 0.5, 60)
    with pytest.raises(LameganError, match="60 photos say nothing"):
        CliRunner().invoke(app, ["drift", "--csv", str(few), "--reference", str(reference)], catch_exceptions=False)


def test_a_reference_is_written_once_and_the_next_gets_the_next_version(tmp_path: Path, reference: Path) -> None:
    root = reference.parents[2]
    assert next_version(root, "clinic") == "2.0.0"
    options = ["--csv", str(scores(tmp_path / "again.csv", 0.8)), "--model-digest", DIGEST, "--out", str(root)]
    with pytest.raises(LameganError, match="never changes"):
        CliRunner().invoke(
            training, ["reference", *options, "--name", "clinic", "--version", "1.0.0"], catch_exceptions=False
        )
    assert CliRunner().invoke(training, ["reference", *options, "--name", "clinic"]).exit_code == 0
    (root / "clinic" / "9.0.0").mkdir()
    (root / "clinic" / "9.0.0" / "reference.json").write_text("{}")
    found, faults = find_references(root)
    assert found[DIGEST].version == "2.0.0"
    assert len(faults) == 1
    assert read_reference(reference).counts["lassim"] != found[DIGEST].counts["lassim"]
