"""`lamegan-train evaluate`: methods, tables, figures, and what cannot be measured is said so."""

from __future__ import annotations

import csv
import io
import os
import sys
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import typer
from onnx import TensorProto, helper
from typer.testing import CliRunner

from model_training.cli import app, main
from model_training.commands.options import PRESETS, RECIPES
from model_training.commands.pictures import phantom as phantom_command
from model_training.config.load import preset_names
from model_training.data.degradation import RECIPES as DEGRADATIONS
from model_training.data.phantom import phantom
from model_training.data.photos import find_photos
from model_training.data.synthetic import everyday
from model_training.evaluation import niqe
from model_training.evaluation.images import parse_size
from model_training.evaluation.methods import find_method
from model_training.evaluation.psnr import CEILING_DB, psnr
from model_training.evaluation.report import EvaluationRequest, evaluate
from model_training.evaluation.scores import Judges, score
from service.errors import DataError, ImageDimensions, InvalidParameter
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


@pytest.mark.parametrize(
    ("given", "made", "kind", "shape"),
    [
        ("x", "enhanced", TensorProto.UINT8, ["B", "H", "W", 3]),
        ("image", "y", TensorProto.UINT8, ["B", "H", "W", 3]),
        ("image", "enhanced", TensorProto.FLOAT, ["B", "H", "W", 3]),
        ("image", "enhanced", TensorProto.UINT8, ["B", 3, "H", "W"]),
        ("image", "enhanced", TensorProto.UINT8, [1, 272, 480, 3]),
        ("image", "enhanced", TensorProto.UINT8, ["H", "W", 3]),
    ],
)
def test_a_foreign_model_is_refused_in_one_sentence(
    given: str, made: str, kind: int, shape: list[str | int], tmp_path: Path
) -> None:
    ends = [helper.make_tensor_value_info(name, kind, shape) for name in (given, made)]
    graph = helper.make_graph([helper.make_node("Identity", [given], [made])], "foreign", ends[:1], ends[1:])
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", models.OPSET)], ir_version=models.IR_VERSION
    )
    onnx.save(model, tmp_path / "foreign.onnx")
    with pytest.raises(DataError, match="is not an exported generator: it must take `image`"):
        find_method(str(tmp_path / "foreign.onnx"))


def test_a_path_may_hold_an_equals_sign_with_and_without_a_name_before_it(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "rate=1" / "model=a.onnx"
    path.parent.mkdir()
    path.write_bytes((model / "model.onnx").read_bytes())
    assert find_method(str(path)).name == "model=a"
    assert find_method(f"ours={path}").name == "ours"


@pytest.mark.slow
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
    assert all(row["niqe_own"] and not row["brisque"] for row in rows)
    report = (tmp_path / "report.md").read_text(encoding="utf-8")
    for expected in (
        "| input | 1.000 ± 0.000 |",
        "BRISQUE: no folder with the published allmodel and allrange",
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
    assert find_photos(listed) == [folder / "2.png", folder / "0.png"]
    (folder / "none.txt").write_text("\n", encoding="utf-8")
    with pytest.raises(DataError, match="no images in"):
        find_photos(folder / "none.txt")


def test_an_empty_folder_is_one_sentence_and_exit_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "photos").mkdir()
    assert "no images in" in refusal(capsys, "evaluate", tmp_path / "photos", "--out", tmp_path / "out")


@pytest.fixture
def mixed(folder: Path, tmp_path: Path) -> Path:
    """Two clean photos, and files that are not photos, as a folder holds them."""
    mixed = tmp_path / "mixed"
    (mixed / "dir.png").mkdir(parents=True)
    for name in ("0.png", "2.png"):
        (mixed / name).write_bytes((folder / name).read_bytes())
    (mixed / "cut.png").write_bytes((folder / "1.png").read_bytes()[:3000])
    (mixed / "text.jpg").write_text("hello")
    cv2.imwrite(str(mixed / "tiny.png"), np.zeros((12, 12, 3), np.uint8))
    return mixed


@pytest.mark.parametrize(
    ("command", "wrong"), [(["evaluate", "--strips", "0"], 4), (["validate-lassim"], 3), (["degrade"], 4)]
)
@pytest.mark.slow
def test_unusable_files_are_named_and_counted_and_the_rest_is_used(
    mixed: Path, tmp_path: Path, command: list[str], wrong: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([command[0], str(mixed), *command[1:], "--out", str(tmp_path / "out")])
    said = capsys.readouterr()
    assert stopped.value.code == 0, said.err
    assert f"Skipped, {wrong} in all:" in said.err
    assert all(f"{name} cannot be read as an image" in said.err for name in ("dir.png", "cut.png", "text.jpg"))
    used = {"evaluate": "report.md", "validate-lassim": "table.md"}.get(command[0])
    if used:
        assert f"{6 - wrong} image(s)" in (tmp_path / "out" / used).read_text(encoding="utf-8")
    else:
        assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["00000.png", "00001.png"]


def refusal(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """What a command says when it refuses: exit code 2 and one sentence."""
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    said = capsys.readouterr().err.strip()
    assert stopped.value.code == 2
    assert len(said.splitlines()) == 1
    return said


@pytest.mark.parametrize("command", ["evaluate", "validate-lassim", "degrade"])
def test_nothing_usable_is_one_sentence_and_exit_2(
    tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "text.png").write_text("hello")
    assert "can be used" in refusal(capsys, command, tmp_path / "photos", "--out", tmp_path / "out")


@pytest.mark.parametrize("command", ["evaluate", "validate-lassim", "degrade"])
@pytest.mark.parametrize("out", ["photos", "photos/below/out", "link", "elsewhere/../photos"])
def test_a_folder_that_is_searched_for_photos_is_not_written_into(
    folder: Path, tmp_path: Path, command: str, out: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "photos")
    (tmp_path / "photos" / "0.png").write_bytes((folder / "0.png").read_bytes())
    said = refusal(capsys, command, tmp_path / "photos", "--out", tmp_path / out)
    assert "is searched for photos" in " ".join(said.split())
    assert [path.name for path in (tmp_path / "photos").rglob("*")] == ["0.png"]


@pytest.mark.parametrize("place", ["file", "file/below", "/proc/lamegan"])
def test_a_place_that_cannot_be_written_is_refused_before_any_work(
    folder: Path, tmp_path: Path, place: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(path: Path, *, least: int) -> None:
        raise AssertionError(f"{path} was read")

    monkeypatch.setattr("model_training.evaluation.images.read_photo", read)
    (tmp_path / "file").write_text("")
    for command in ("evaluate", "validate-lassim"):
        assert "cannot be written" in refusal(capsys, command, folder, "--out", tmp_path / place)
    detector = f"{tmp_path / place}/detector.npz" if "proc" not in place else "/proc/detector.npz"
    assert "cannot be written" in refusal(capsys, "fit-guard", folder, "--out", detector)


def test_the_look_whether_a_place_can_be_written_leaves_nothing_there(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refusal(capsys, "evaluate", folder, "--out", tmp_path / "deep" / "out", "--method", "nothing-like-this")
    assert not (tmp_path / "deep").exists()


def test_photos_too_small_to_measure_are_named_and_the_rest_is_evaluated(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(niqe, "LEAST_BLOCKS", 5)  # enough for a pristine model that need not judge well
    for name in ("photos", "good"):
        (tmp_path / name).mkdir()
    for name in ("0.png", "2.png"):
        (tmp_path / "photos" / name).write_bytes((folder / name).read_bytes())
    cv2.imwrite(str(tmp_path / "photos" / "1.png"), phantom(700, 64, 0))
    cv2.imwrite(str(tmp_path / "photos" / "3.png"), phantom(150, 120, 0))
    cv2.imwrite(str(tmp_path / "good" / "large.png"), everyday(288, 208, 20)[..., ::-1])
    cv2.imwrite(str(tmp_path / "good" / "small.png"), phantom(150, 120, 0))
    skipped: list[str] = []
    asked = EvaluationRequest(tmp_path / "photos", (), tmp_path / "out", strips=0, pristine=tmp_path / "good")
    result = evaluate(asked, skip=skipped.append)
    assert len(skipped) == 2
    assert f"{tmp_path / 'good' / 'small.png'} is left out. NIQE needs" in skipped[0]
    assert f"{tmp_path / 'photos' / '1.png'} cannot be measured" in skipped[1]
    assert {len(scores) for scores in result.scores.values()} == {3}
    assert [np.isnan(item.niqe_own or 0) for item in result.scores["input"]] == [False, False, True]
    assert result.notes[0].startswith("3 image(s)")
    with pytest.raises(DataError, match=r"can be used: .*1\.png cannot be measured"):
        evaluate(EvaluationRequest(tmp_path / "photos" / "1.png", (), tmp_path / "out"))


def test_a_size_too_small_to_measure_is_refused_before_any_work(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ImageDimensions, match="40x30 px is too small"):
        evaluate(EvaluationRequest(folder, (), tmp_path, size=(40, 30)))


def test_pristine_photos_that_are_evaluated_too_are_counted(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "good").mkdir()
    for name, of in (("other name.png", "1.png"), ("again.png", "1.png"), ("third.png", "2.png")):
        (tmp_path / "good" / name).write_bytes((folder / of).read_bytes())
    cv2.imwrite(str(tmp_path / "good" / "own.png"), everyday(208, 200, 9))
    command = ["evaluate", folder, "--limit", "2", "--strips", "0", "--pristine", tmp_path / "good"]
    with pytest.raises(SystemExit) as stopped:  # of the three photos the first and the last are evaluated
        main([*map(str, command), "--recipe", "none", "--out", str(tmp_path / "out")])
    assert stopped.value.code == 0
    assert "1 of the --pristine photos are among the evaluated ones" in capsys.readouterr().err


def test_the_help_says_that_calibration_takes_all_photos() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    (limit,) = [option for option in commands["evaluate"].params if option.name == "limit"]
    assert "calibration uses all" in limit.help


def test_a_name_that_is_not_utf8_is_printed_escaped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, printed = os.fsencode(tmp_path) + b"/caf\xe9", io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(printed, encoding="utf-8", errors="strict"))
    with pytest.raises(SystemExit) as stopped:
        main(["phantom", "--size", "64x64", "--out", os.fsdecode(out)])
    sys.stdout.flush()
    assert stopped.value.code == 0
    assert rb"caf\udce9" in printed.getvalue().replace(b"\n", b"")


def test_help_names_every_preset_and_recipe() -> None:
    for name in preset_names():
        assert name in PRESETS.split(", ")
    assert RECIPES.split(", ") == list(DEGRADATIONS)


@pytest.mark.parametrize("size", ["99999x64", "9000x9000", "8192x8192"])
def test_a_size_that_no_machine_should_draw_is_refused(size: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidParameter, match="too large"):
        parse_size(size)
    with pytest.raises(InvalidParameter, match="too large"):
        phantom_command(tmp_path, size=size)
    with pytest.raises(InvalidParameter, match="too large"):
        phantom_command(tmp_path, size="4000x3000")
