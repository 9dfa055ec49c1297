"""The guard's calibration: the conformal quantile's law, what reaches the card, and the command that does it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from model_training.cli import main
from model_training.data.phantom import phantom
from model_training.evaluation.classical import identity
from model_training.evaluation.report import Evaluation
from model_training.evaluation.scores import Judges, score
from model_training.guardrail import calibration as calibration_module
from model_training.guardrail.calibration import (
    SHARES,
    calibrate,
    conformal_floors,
    harmless_pairs,
    least_photos,
    reference_histograms,
    require_enough,
)
from model_training.guardrail.card_update import calibrate_model, calibration_subject, record, record_figures
from model_training.guardrail.faults import FAULTS
from service.drift.measures import LASSIM_BUCKETS
from service.errors import DataError, InvalidParameter
from service.quality.change_detector import WorstRegion
from service.quality.colour import ColourShift
from service.quality.guardrail import Measures
from service.quality.lassim import Box
from service.registry.card import read_card
from tests import models


def write_model(root: Path) -> Path:
    models.install(root, models.identity())
    return root / "tiny" / "1.0.0"


def measures(value: float) -> Measures:
    colour = ColourShift(1 - value, 1 - value, redder_share=1 - value, paler_share=1 - value, redness_order=value)
    return Measures(lassim=value, worst=WorstRegion(value, Box(0, 0, 1, 1)), colour=colour)


@pytest.fixture(scope="module")
def photos() -> list[Any]:
    return [phantom(64, 64, seed) for seed in range(40)]


def test_the_shares_of_alpha_leave_more_than_a_third_of_it_in_reserve() -> None:
    assert sum(SHARES.values()) < 2 / 3


def test_a_conformal_floor_is_missed_by_new_changes_no_more_often_than_alpha() -> None:
    generator = np.random.default_rng(0)
    allowed = 0.2 * SHARES["worst"]
    levels = []
    for _ in range(30):
        floors = conformal_floors([measures(value) for value in generator.random(199)], alpha=0.2)
        assert floors.worst is not None
        levels.append(floors.worst)  # values are uniform: a fresh one lies below the threshold with this probability
    assert np.mean(levels) == pytest.approx(allowed, abs=0.02)
    # three standard errors above: one seed in 700 gives more
    assert np.mean(levels) <= allowed + 3 * np.sqrt(allowed / 199 / 30)
    assert floors.delta_e_mean == pytest.approx(0.99, abs=0.03)


def test_too_few_changes_for_the_quantile_are_refused_with_the_number_needed() -> None:
    with pytest.raises(DataError, match="at least 399 are needed"):
        conformal_floors([measures(0.5)] * 150, alpha=0.05)


@pytest.mark.parametrize("alpha", [0.001, 0.03, 0.05, 0.1, 0.3, 0.9])
def test_the_least_number_of_photos_is_enough_and_one_fewer_is_not(alpha: float, photos: list[Any]) -> None:
    least = least_photos(alpha)
    assert least_photos(0.05) == 53
    changes = len(list(harmless_pairs(photos[0], identity, np.random.default_rng(0), 0)))
    conformal_floors([measures(0.5)] * (changes * len(range(least)[::2])), alpha)
    require_enough(least, alpha)
    with pytest.raises(DataError, match=f"at least {least} held-out photos, not {least - 1}"):
        require_enough(least - 1, alpha)
    if least > 40:
        with pytest.raises(DataError, match="too few"):
            conformal_floors([measures(0.5)] * (changes * len(range(least - 1)[::2])), alpha)


def test_a_photo_gives_every_harmless_change_and_the_generators_own(photos: list[Any]) -> None:
    pairs = list(harmless_pairs(photos[0], identity, np.random.default_rng(0), 0))
    names = [name for name, _ in pairs]
    assert {"blur", "exposure", "contrast", "denoise"} <= set(names)
    assert sum("generator" in name for name in names) == 3
    assert all(output.shape == input.shape for _, (output, input) in pairs)


@pytest.mark.slow
def test_a_calibration_states_rates_for_every_fault_and_size(photos: list[Any]) -> None:
    found = calibrate(photos, identity, alpha=0.2)
    assert (found.calibration_photos, found.test_photos) == (20, 20)
    assert {(item.fault, item.size) for item in found.detection} == {(kind, size) for kind, size, _ in FAULTS}
    assert all(item.trials == 20 for item in found.detection)
    rates = {(item.fault, item.size): item.rate for item in found.detection}
    assert rates["elastic warp", "alpha 35 (H)"] >= rates["elastic warp", "alpha 15 (L)"]
    assert 0 <= found.false_alarm_rate <= 0.35


@pytest.mark.parametrize("alpha", [0.0, 1.0, -1.0, float("nan")])
def test_an_alpha_that_is_no_probability_is_refused(alpha: float, photos: list[Any]) -> None:
    with pytest.raises(InvalidParameter, match="between 0 and 1"):
        calibrate(photos, identity, alpha=alpha)


def test_the_reference_counts_every_output_once_in_its_bucket(photos: list[Any]) -> None:
    references = reference_histograms(photos[:5], identity)
    reference = references["lassim"]
    assert all(sum(found.counts) == 10 for found in references.values())
    assert {"lassim_worst", "input_sharpness", "input_exposure", "input_contrast"} <= set(references)
    assert reference.upper_bounds == LASSIM_BUCKETS
    assert sum(reference.counts) == 10
    assert reference.counts[LASSIM_BUCKETS.index(1.0)] == 10


@pytest.mark.slow
def test_the_command_writes_floors_reference_and_rates_where_they_belong(
    photos: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibration_module, "FAULTS", FAULTS[1::8])  # all of them have a test above
    folder = tmp_path / "photos"
    folder.mkdir()
    for place, photo in enumerate(photos):
        cv2.imwrite(str(folder / f"{place:02}.png"), photo[..., ::-1])
    model = write_model(tmp_path / "models")
    before = read_card(model / "card.json")
    calibration = calibrate_model(calibration_subject(model, folder, 0.2), tmp_path / "out")
    card = read_card(model / "card.json")
    assert card.guard is not None
    assert card.guard.floors == calibration.floors
    assert card.guard.alpha == 0.2
    assert any(item.fault.endswith("in a restored photo") for item in card.guard.detection)
    assert card.lassim.reference is not None
    assert sum(card.lassim.reference.counts) == 2 * len(photos)
    assert card.file == before.file
    table = (tmp_path / "out" / "guard.md").read_text(encoding="utf-8")
    assert "| inserted lesion | sigma 6 px, depth 0.3 |" in table


def test_recorded_figures_replace_those_measured_on_the_same_images(tmp_path: Path, photos: list[Any]) -> None:
    model = write_model(tmp_path)
    scores = [score(photo, photo, None, Judges(None, None, None)) for photo in photos[:2]]
    record_figures(model, scores, "two phantoms")
    record_figures(model, scores, "two phantoms")
    figures = [figure for figure in read_card(model / "card.json").evaluation if figure.on == "two phantoms"]
    assert [figure.metric for figure in figures] == ["LaSSIM ↑", "worst place ↑"]
    assert figures[0].value == 1
    assert json.loads((model / "card.json").read_text(encoding="utf-8"))["evaluation"]


def test_an_evaluation_records_the_figures_of_the_model_it_measured_and_of_no_other(
    tmp_path: Path, photos: list[Any]
) -> None:
    model = write_model(tmp_path)
    scores = [score(photos[0], photos[0], None, Judges(None, None, None))]
    named_alike = Evaluation(scores={"tiny/1.0.0": scores}, files={"tiny/1.0.0": "0" * 64}, notes=["one phantom."])
    record(model, named_alike)
    assert not read_card(model / "card.json").evaluation
    measured = read_card(model / "card.json").file.sha256
    record(model, Evaluation(scores={"throat": scores}, files={"throat": measured}, notes=["one phantom."]))
    assert read_card(model / "card.json").evaluation[0].on == "one phantom."


def test_a_folder_without_a_model_is_refused_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "photos").mkdir()
    cv2.imwrite(str(tmp_path / "photos" / "one.png"), phantom(64, 64, 0))
    command = ["evaluate", str(tmp_path / "photos"), "--out", str(tmp_path / "out"), "--calibrate", str(tmp_path)]
    with pytest.raises(SystemExit) as stopped:
        main(command)
    assert stopped.value.code == 2
    assert "is not a model's folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--alpha", "0.05"], "needs at least 53 held-out photos, not 2"),
        (["--alpha", "1"], "between 0 and 1"),
        (["--alpha", "nan"], "between 0 and 1"),
    ],
)
def test_what_cannot_be_calibrated_is_refused_before_any_work(
    tmp_path: Path, options: list[str], said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = write_model(tmp_path / "models")
    (tmp_path / "photos").mkdir()
    for seed in range(2):
        cv2.imwrite(str(tmp_path / "photos" / f"{seed}.png"), phantom(64, 64, seed))
    monkeypatch.setattr("model_training.evaluation.report.evaluate", None)
    command = ["evaluate", str(tmp_path / "photos"), "--out", str(tmp_path / "out"), "--calibrate", str(model)]
    with pytest.raises(SystemExit) as stopped:
        main([*command, *options])
    assert stopped.value.code == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.fixture
def photo_folder(photos: list[Any], tmp_path: Path) -> Path:
    """40 photos as files."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for place, photo in enumerate(photos):
        cv2.imwrite(str(folder / f"{place:02}.png"), photo[..., ::-1])
    return folder


def test_a_photo_too_small_to_measure_is_named_and_left_out(photo_folder: Path, tmp_path: Path) -> None:
    model, skipped = write_model(tmp_path / "models"), list[str]()
    cv2.imwrite(str(photo_folder / "narrow.png"), phantom(700, 64, 0))
    subject = calibration_subject(model, photo_folder, 0.2, skipped.append)
    assert len(subject.photos) == 40
    (said,) = skipped
    assert "narrow.png is left out. An image of 480x44 px is too small for level 3" in said


def test_repeated_photos_are_named_and_count_once(photo_folder: Path, tmp_path: Path) -> None:
    model, skipped = write_model(tmp_path / "models"), list[str]()
    (photo_folder / "copy.png").write_bytes((photo_folder / "07.png").read_bytes())
    assert len(calibration_subject(model, photo_folder, 0.2, skipped.append).photos) == 40
    assert skipped == [f"{photo_folder / 'copy.png'}, number 41 of the photos, repeats {photo_folder / '07.png'}."]
    (tmp_path / "list.txt").write_text("photos/00.png\n" * 60)
    with pytest.raises(DataError, match="at least 40 held-out photos, not 1; copies of one count once"):
        calibration_subject(model, tmp_path / "list.txt", 0.2, skipped.append)
    assert len(set(skipped)) == 60


def test_a_card_of_another_file_is_refused(tmp_path: Path) -> None:
    model = write_model(tmp_path / "models")
    (model / "model.onnx").write_bytes(b"another")
    with pytest.raises(DataError, match="not the file that card"):
        calibration_subject(model, tmp_path, 0.05)


@pytest.mark.parametrize("method", ["none", "named", "other root", "other file of that name"])
@pytest.mark.slow
def test_the_calibrated_model_is_measured_and_recorded_whatever_the_methods(
    tmp_path: Path, photos: list[Any], monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    monkeypatch.setattr(calibration_module, "FAULTS", FAULTS[:1])
    folder = tmp_path / "photos"
    folder.mkdir()
    for place, photo in enumerate(photos):
        cv2.imwrite(str(folder / f"{place:02}.png"), photo[..., ::-1])
    (folder / "text.png").write_text("hello")
    model = write_model(tmp_path / "models")
    models.install(tmp_path / "same", models.identity())
    models.install(tmp_path / "other", models.brighten())
    methods = {
        "none": [],
        "named": ["--method", f"throat={model}"],
        "other root": ["--method", str(tmp_path / "same" / "tiny" / "1.0.0")],
        "other file of that name": ["--method", str(tmp_path / "other" / "tiny" / "1.0.0")],
    }
    out = str(tmp_path / "out")
    command = ["evaluate", str(folder), "--limit", "2", "--strips", "0", "--out", out, "--alpha", "0.2"]
    with pytest.raises(SystemExit) as stopped:
        main([*command, "--recipe", "none", "--calibrate", str(model), *methods[method]])
    assert stopped.value.code == 0
    card = read_card(model / "card.json")
    figures = {figure.metric: figure.value for figure in card.evaluation}
    assert figures["LaSSIM ↑"] == 1  # the calibrated one returns its input, the other brightens it
    assert card.guard is not None
    assert card.guard.alpha == 0.2
    assert not read_card(tmp_path / "other" / "tiny" / "1.0.0" / "card.json").evaluation
