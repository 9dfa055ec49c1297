"""`lamegan-train evaluate`: methods, tables, figures, and what cannot be measured is said so."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from model_training.cli import app, main
from model_training.evaluation.images import find_images
from model_training.evaluation.methods import find_method
from model_training.evaluation.report import EvaluationRequest, evaluate
from model_training.evaluation.scores import CEILING_DB, Judges, psnr, score
from model_training.everyday import everyday
from model_training.phantom import phantom
from service.errors import DataError, InvalidParameter, UndecodableImage
from tests import models

NOBODY = Judges(None, None, None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for seed in range(3):
        cv2.imwrite(str(folder / f"{seed}.png"), everyday(208, 200, seed)[..., ::-1])
    return folder


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("good")
    for seed in range(20, 46):
        cv2.imwrite(str(folder / f"{seed}.png"), everyday(288, 208, seed)[..., ::-1])
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    models.install(root, models.brighten(), "brighter")
    return root / "brighter" / "1.0.0"


def test_psnr_is_its_definition_and_stays_finite() -> None:
    black = np.zeros((10, 10, 3), np.uint8)
    assert psnr(black, black) == CEILING_DB
    assert psnr(black + np.uint8(16), black) == pytest.approx(20 * np.log10(255 / 16))


def test_a_method_that_returns_its_input_is_perfectly_faithful_and_no_closer_to_the_truth() -> None:
    clean = phantom(160, 120, 0)
    bad = np.clip(clean * 0.5 + 90, 0, 255).astype(np.uint8)
    scores = score(bad, bad, clean, NOBODY)
    assert scores.lassim == 1
    assert scores.psnr_db == psnr(bad, clean)
    assert scores.delta_e is not None
    assert scores.delta_e > 5
    assert scores.niqe is None


def test_every_kind_of_method_is_found_by_name_or_path(model: Path) -> None:
    photo = phantom(96, 80, 1)
    assert np.array_equal(find_method("input").enhance(photo), photo)
    assert find_method("clahe").name == "clahe"
    for text, name in ((str(model), "brighter/1.0.0"), (f"ours={model / 'model.onnx'}", "ours")):
        method = find_method(text)
        assert method.name == name
        assert np.array_equal(method.enhance(photo), np.minimum(photo.astype(int) + 12, 255))


@pytest.mark.parametrize("text", ["nothing-like-this", "name=/absent", "="])
def test_an_unknown_method_is_refused_with_the_known_ones(text: str) -> None:
    with pytest.raises(DataError):
        find_method(text)


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"not a model")
    with pytest.raises(DataError, match="ONNX Runtime can load"):
        find_method(str(tmp_path))


def test_the_command_writes_tables_scores_and_figures(folder: Path, good: Path, model: Path, tmp_path: Path) -> None:
    methods = ["--method", "clahe", "--method", str(model)]
    command = ["evaluate", str(folder), *methods, "--pristine", str(good), "--strips", "2", "--out", str(tmp_path)]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    with (tmp_path / "scores.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["method"] for row in rows[::3]] == ["input", "clahe", "brighter/1.0.0", "clean"]
    of_input, of_clean = rows[0], rows[-1]
    assert float(of_input["lassim"]) == 1
    assert float(of_clean["psnr_db"]) == CEILING_DB
    assert float(of_clean["lassim_clean"]) == 1
    assert float(of_input["psnr_db"]) < 40
    assert all(row["niqe_own"] and row["brisque"] for row in rows)
    report = (tmp_path / "report.md").read_text(encoding="utf-8")
    for expected in (
        "| input | 1.000 ± 0.000 |",
        "BRISQUE (own regressor)",
        "NIMA: the package pyiqa",
        "published model",
    ):
        assert expected in report
    assert all(cv2.imread(str(tmp_path / name)) is not None for name in ("strips.png", "distributions.png"))


def test_the_same_evaluation_gives_the_same_scores(folder: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        evaluate(EvaluationRequest(folder, ("dark-channel",), tmp_path / name, size=(96, 80), limit=2, strips=0))
    assert (tmp_path / "one" / "scores.csv").read_bytes() == (tmp_path / "two" / "scores.csv").read_bytes()


def test_photos_without_a_truth_have_no_distance_to_it(folder: Path, tmp_path: Path) -> None:
    result = evaluate(EvaluationRequest(folder, ("clahe",), tmp_path, recipe="none", limit=1, strips=1))
    assert list(result.scores) == ["input", "clahe"]
    assert result.scores["clahe"][0].psnr_db is None
    assert "Close to the truth" not in (tmp_path / "report.md").read_text(encoding="utf-8")


def test_the_published_niqe_model_is_used_where_it_is_given(folder: Path, shared_data: Path, tmp_path: Path) -> None:
    published = shared_data / "weights" / "niqe_pris_params.npz"
    request = EvaluationRequest(folder, (), tmp_path, limit=1, strips=0, niqe_model=published)
    result = evaluate(request)
    assert result.scores["input"][0].niqe is not None
    assert "NIQE (published model)" not in result.absent


def test_two_methods_of_one_name_or_an_unknown_recipe_are_refused(folder: Path, model: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="its own name"):
        evaluate(EvaluationRequest(folder, (f"a={model}", f"a={model / 'model.onnx'}"), tmp_path))
    with pytest.raises(DataError, match="its own name"):
        evaluate(EvaluationRequest(folder, (f"clean={model}",), tmp_path))
    with pytest.raises(InvalidParameter, match="held-out"):
        evaluate(EvaluationRequest(folder, (), tmp_path, recipe="worse"))


def test_a_text_file_lists_images_relative_to_itself(folder: Path) -> None:
    listed = folder / "some.txt"
    listed.write_text("2.png\n\n0.png\n", encoding="utf-8")
    assert find_images(listed) == [folder / "2.png", folder / "0.png"]
    (folder / "none.txt").write_text("\n", encoding="utf-8")
    with pytest.raises(UndecodableImage, match="lists no image"):
        find_images(folder / "none.txt")


def test_an_empty_folder_is_one_sentence_and_exit_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["evaluate", str(tmp_path), "--out", str(tmp_path / "out")])
    assert stopped.value.code == 2
    assert "holds no image" in capsys.readouterr().err
