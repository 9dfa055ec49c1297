"""`lamegan bench` says what the machine gets done; how fast that is, no test says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from service.commands.bench import SizeFigures, as_table, sample, suggested_queue
from service.commands.main import app
from service.imaging.codecs import decode
from service.pipeline import STAGES
from tests import models


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    models.install(tmp_path, models.identity())
    monkeypatch.setenv("LAMEGAN_MODELS_DIR", str(tmp_path))
    return tmp_path


@pytest.mark.usefixtures("root")
def test_every_size_has_its_rate_and_its_stages() -> None:
    done = CliRunner().invoke(
        app, ["bench", "--model", "tiny", "--seconds", "0.05", "--size", "96x80", "--size", "200x150", "--json"]
    )
    assert done.exit_code == 0, done.output
    facts = json.loads(done.stdout)
    assert [(one["width"], one["height"]) for one in facts["sizes"]] == [(96, 80), (200, 150)]
    assert facts["workers"] >= 1
    assert (facts["precision"], facts["provider"]) == ("float32", "cpu")
    for one in facts["sizes"]:
        assert one["alone_ms"] > 0
        assert one["per_s"] > 0
        assert set(one["stages_ms"]) == set(STAGES)


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize("size", ["96", "ax80", "0x80", "96x80x3", "99999x99999"])
def test_a_size_that_is_none_is_one_sentence(size: str) -> None:
    done = CliRunner().invoke(app, ["bench", "--model", "tiny", "--size", size])
    assert done.exit_code != 0
    assert "WIDTHxHEIGHT" in str(getattr(done.exception, "detail", done.output))


def test_the_table_names_every_stage_and_a_queue_that_is_soon_empty() -> None:
    stages = dict.fromkeys(STAGES, 3.0)
    figures = [SizeFigures(480, 272, 30.0, 40.4, stages), SizeFigures(4000, 3000, 200.0, 8.0, stages)]
    text = as_table(figures, workers=2, precision="int8", provider="cpu")
    assert "runs in int8 on cpu." in text
    assert all(stage in text for stage in STAGES)
    assert suggested_queue(figures[0]) == 40
    assert "LAMEGAN_QUEUE_CAPACITY=40" in text
    assert "4000x3000 within 5.0 s" in text


def test_the_sample_is_of_the_size_asked_for() -> None:
    assert decode(sample(321, 123)).pixels.shape == (123, 321, 3)
