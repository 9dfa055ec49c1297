"""The shipping lines: each passes for what it should pass, and fails for the fault it is there to find."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from model_training.acceptance import criteria as shipping
from model_training.acceptance.criteria import (
    Trial,
    cleanness_lines,
    faithfulness_lines,
    grid_excess,
    harmlessness_lines,
    kindness_lines,
    main,
    niqe_line,
    photos_of,
    restoration_lines,
    screen_lines,
    smoothness_line,
    trials,
)
from model_training.acceptance.screens import SHAPES, screen
from model_training.data.degradation import HELD_OUT, degrade
from model_training.data.phantom import phantom
from model_training.evaluation import niqe as no_reference
from model_training.evaluation.niqe import fit_pristine
from service.errors import DataError

MODEL = Path(__file__).resolve().parents[2] / "models" / "lamegan-fast" / "1.0.0" / "model.onnx"


def _trials(make):
    found = []
    for seed in range(3):
        clean = phantom(256, 208, seed)
        bad = degrade(clean, seed, recipe=HELD_OUT)
        label = np.zeros(clean.shape[:2], np.uint8)
        label[64:144, 64:160] = 4
        found.append(Trial(clean, bad, make(clean, bad), label))
    return found


@pytest.fixture(scope="module")
def perfect():
    return _trials(lambda clean, bad: clean)


@pytest.fixture(scope="module")
def idle():
    return _trials(lambda clean, bad: bad)


def _held(lines):
    return [line.holds for line in lines]


def test_the_truth_holds_every_line_and_doing_nothing_does_not(perfect, idle):
    assert all(_held(restoration_lines(perfect) + faithfulness_lines(perfect)))
    rises, falls, redder = restoration_lines(idle)
    assert not rises.holds
    assert not falls.holds
    assert redder.name.startswith("area turned clearly redder")


def test_niqe_closes_the_whole_gap_for_the_truth_and_none_for_nothing(perfect, idle):
    pristine = fit_pristine([phantom(480, 400, seed) for seed in range(10, 20)], "phantoms")
    assert niqe_line(perfect, pristine).value == pytest.approx(1)
    assert niqe_line(idle, pristine).value == pytest.approx(0)


def test_harm_inside_the_pathology_alone_is_found():
    def smear(clean, bad):
        made = clean.copy()
        made[64:144, 64:160] = cv2.GaussianBlur(clean, (0, 0), 9)[64:144, 64:160]
        return made

    inside = faithfulness_lines(_trials(smear))[-1]
    assert not inside.holds


def test_a_blot_in_a_corner_is_found_though_every_mean_keeps_its_bound(perfect):
    def blotted(clean, bad):
        made = clean.copy()
        cv2.circle(made, (10, made.shape[0] - 10), 9, (250, 240, 60), -1)
        return made

    trials = _trials(blotted)
    worst, *means = faithfulness_lines(trials)
    assert not worst.holds
    assert all(_held(means[:2] + restoration_lines(trials)[:2]))
    assert faithfulness_lines(perfect)[0].value > worst.value + 0.3


def test_an_image_is_harmless_to_itself_and_a_darker_one_is_not():
    photo = phantom(128, 96, 1)
    assert all(_held(harmlessness_lines("same", [photo], [photo])))
    darker = (photo * 0.8).astype(np.uint8)
    assert not all(_held(harmlessness_lines("darker", [photo], [darker])))


@pytest.mark.parametrize("period", [2, 4, 8, 16])
def test_a_planted_grid_stands_out_at_its_period_and_noise_does_not(period):
    rng = np.random.default_rng(0)
    noise = [rng.standard_normal((192, 240)) for _ in range(4)]
    assert grid_excess(noise, period) < 1.2
    grid = np.where(np.arange(240) % period == 0, 2.0, 0.0)[None, :]
    assert grid_excess([image + grid for image in noise], period) > 3


def test_a_planted_frame_is_found(perfect):
    def framed(clean, bad):
        made = clean.astype(int)
        made[:16] -= 12
        made[-16:] -= 12
        return made.clip(0, 255).astype(np.uint8)

    calm = [(trial.clean, trial.clean) for trial in perfect]
    assert all(_held(cleanness_lines(perfect, calm)))
    assert not cleanness_lines(_trials(framed), calm)[1].holds
    assert not cleanness_lines(perfect, [(trial.clean, framed(trial.clean, None)) for trial in perfect])[2].holds


def test_a_step_in_a_flat_image_is_found():
    def stepped(image):
        made = image.astype(int)
        made[:, 240:] += 6
        return made.clip(0, 255).astype(np.uint8)

    assert smoothness_line(lambda image: image).holds
    assert not smoothness_line(stepped).holds


def test_wild_colours_and_losses_on_other_photos_are_found():
    kinds = {"phantoms": [phantom(128, 96, 1)]}
    assert kindness_lines(kinds, lambda image: image)[0].holds
    wild, gain = kindness_lines(kinds, lambda image: np.ascontiguousarray(image[..., ::-1]))
    assert not wild.holds
    assert not gain.holds


def test_a_black_surround_that_turns_grey_is_found_and_so_is_a_picture_that_depends_on_it():
    clean = [phantom(400, 300, seed) for seed in (1, 2)]
    black, rises, kept, named = screen_lines(clean, lambda image: image)
    assert black.value == 0
    assert black.holds
    assert rises.value == 0
    assert not rises.holds
    assert kept.value == 60
    assert named.value == 0
    assert not named.holds
    lifted = screen_lines(clean, lambda image: np.maximum(image, 12))
    assert lifted[0].value == pytest.approx(12, abs=1)
    assert not lifted[0].holds
    brighter = screen_lines(clean, lambda image: np.clip(image * 1.4, 0, 255).astype(np.uint8))
    assert brighter[0].holds
    assert not brighter[2].holds


def test_a_screen_shows_a_disc_or_an_octagon_on_black():
    for shape in SHAPES:
        tower = screen(shape)
        recorded = tower.record(np.full((300, 400, 3), 180, np.uint8))
        assert recorded.shape == (272, 480, 3)
        assert recorded[tower.black].max() <= 12  # a JPEG's blocks reach that far
        assert recorded[tower.black].mean() < 0.2
        assert np.abs(recorded[tower.inside].astype(int) - 180).max() <= 12
        assert 0.3 < tower.inside.mean() < tower.shown.mean() < 0.6
        assert not (tower.inside & tower.black).any()


def test_a_model_is_measured_with_photos_from_elsewhere_and_the_lines_are_written(tmp_path, monkeypatch):
    monkeypatch.setattr(shipping, "other_photos", dict)
    monkeypatch.setattr(no_reference, "LEAST_BLOCKS", 5)  # enough for a pristine model that need not judge well
    for name, seeds in (("seq", range(4)), ("elsewhere", range(10, 12))):
        (tmp_path / name).mkdir()
        for seed in seeds:
            Image.fromarray(phantom(480, 272, seed)).save(tmp_path / name / f"{seed}.webp", lossless=True)
    asked = ["--sequences", "seq", "--elsewhere", str(tmp_path / "elsewhere"), "--throat", str(tmp_path / "seq/0.webp")]
    for suffix in ("json", "md"):
        lines = main([str(MODEL), str(tmp_path), *asked, "--out", str(tmp_path / f"lines.{suffix}")])
    written = json.loads((tmp_path / "lines.json").read_text())
    assert [line["name"] for line in written] == [line.name for line in lines]
    assert [line["holds"] for line in written] == _held(lines)
    assert sum(line.name.startswith("photos from elsewhere") for line in lines) == 2
    assert (tmp_path / "lines.md").read_text().count("\n") == len(lines) + 2


def test_no_held_out_photo_is_an_error(tmp_path):
    with pytest.raises(DataError, match="no folder or list of images"):
        trials(tmp_path, None, ["patient1"], lambda image: image)


def test_the_photos_of_a_sequence_are_of_any_kind_and_in_order_of_their_path(tmp_path):
    for name in ("b/1.webp", "b/0.png", "a/2.jpg", "b/note.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert photos_of(tmp_path, ["b", "a"]) == [tmp_path / name for name in ("b/0.png", "b/1.webp", "a/2.jpg")]


def test_the_larynx_photos_are_the_webp_files_in_order_of_their_path(shared_data):
    larynx = shared_data / "data" / "larynx"
    for name in ("patient1/seq1", "patient2/seq6"):
        assert photos_of(larynx, [name]) == sorted((larynx / name).glob("*.webp"))


def test_what_cannot_be_measured_is_one_sentence_and_exit_2(tmp_path, capsys):
    (tmp_path / "seq").mkdir()
    (tmp_path / "seq" / "text.png").write_text("hello")
    (tmp_path / "model.onnx").write_text("hello")
    asked = ["--sequences", "seq"]
    for arguments, words in (
        ([MODEL, tmp_path, *asked], "cannot be read as an image"),
        ([MODEL, tmp_path, "--sequences", "gone"], "no folder or list of images"),
        ([tmp_path / "model.onnx", tmp_path, *asked], "ONNX Runtime can load"),
        ([MODEL, tmp_path, *asked, "--out", tmp_path / "model.onnx" / "lines.json"], "cannot be written"),
    ):
        with pytest.raises(SystemExit) as stopped:
            main([str(argument) for argument in arguments])
        said = capsys.readouterr().err.strip()
        assert stopped.value.code == 2
        assert words in said
        assert len(said.splitlines()) == 1
