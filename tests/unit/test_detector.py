"""The structure detector: what ships is what is fitted, its evidence has the laws it claims, and it can be fitted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from model_training.cli import main
from model_training.data.phantom import phantom
from model_training.guardrail import faults
from model_training.guardrail.detector import Detector, detector_loss, fit_detector, make_examples
from model_training.guardrail.fitting import write_network
from service.errors import DataError, ImageDimensions
from service.quality import change_detector
from service.quality.change_detector import CHANNELS, evidence, structure_map, worst_region

PHOTO = phantom(480, 272, 3)


@pytest.fixture(scope="module")
def photos() -> list[Any]:
    return [phantom(240, 240, seed) for seed in range(3)]


def loaded(weights: Any) -> Detector:
    """The shipped network as torch has it."""
    detector = Detector()
    detector.load_state_dict(
        {
            "first.weight": torch.from_numpy(weights["first"]),
            "first.bias": torch.from_numpy(weights["first_bias"]),
            "second.weight": torch.from_numpy(weights["second"]),
            "second.bias": torch.from_numpy(weights["second_bias"]),
            "last.weight": torch.from_numpy(weights["last"].reshape(1, -1, 1, 1)),
            "last.bias": torch.from_numpy(weights["last_bias"].reshape(1)),
        }
    )
    return detector


@pytest.mark.parametrize("size", [(480, 272), (97, 131), (49, 49), (300, 64)])
def test_the_service_computes_the_network_that_torch_fitted(size: tuple[int, int]) -> None:
    input = cv2.resize(PHOTO, size)
    output = faults.warp(input, 20, np.random.default_rng(0))
    with np.load(Path(change_detector.__file__).with_name("change_detector.npz")) as weights:
        logits = loaded(weights)(torch.from_numpy(evidence(output, input))[None])[0] - float(weights["offset"])
    assert structure_map(output, input) == pytest.approx(torch.sigmoid(-logits).detach().numpy(), abs=1e-4)


@pytest.mark.parametrize("size", [(480, 272), (97, 131), (49, 49)])
def test_identical_images_leave_nothing_unexplained(size: tuple[int, int]) -> None:
    image = cv2.resize(PHOTO, size)
    maps = evidence(image, image)
    assert maps.shape[0] == CHANNELS
    assert worst_region(image, image).value > 0.8
    half = [*range(8), 16, 17, 22, 23]  # the bands of the input, then of the output, level by level
    assert np.isfinite(maps).all()
    assert np.array_equal(maps[half[:4]], maps[half[4:8]])


@pytest.mark.parametrize("level", [0, 128, 255])
def test_flat_images_are_kept_structure(level: int) -> None:
    flat = np.full((96, 128, 3), level, np.uint8)
    assert np.isfinite(evidence(flat, flat)).all()
    assert worst_region(flat, flat).value > 0.5


def test_bytes_and_floats_give_the_same_map() -> None:
    output = faults.lesion(PHOTO, np.random.default_rng(0))
    assert structure_map(output, PHOTO) == pytest.approx(structure_map(output / 255, PHOTO / 255), abs=1e-4)


def test_too_small_or_unequal_images_are_refused() -> None:
    with pytest.raises(ImageDimensions):
        evidence(PHOTO[:48, :48], PHOTO[:48, :48])
    with pytest.raises(ImageDimensions):
        evidence(PHOTO, PHOTO[1:])


def test_one_seed_makes_one_set_of_examples_with_marks_where_the_faults_are(photos: list[Any]) -> None:
    examples, again = (make_examples(photos, 12, seed=5) for _ in range(2))
    assert np.array_equal(examples.maps, again.maps)
    assert examples.maps.shape == (12, CHANNELS, 34, 60)
    assert 2 < examples.faulty.sum() < 11  # of 12 by a fair coin: once in 45 outside, and seeded
    assert (examples.marks.max(axis=(1, 2)) > 0).tolist() == examples.faulty.tolist()
    with pytest.raises(DataError, match="clean photos"):
        make_examples([], 1, seed=0)


def test_fitting_lowers_the_loss_and_its_file_is_what_the_service_reads(photos: list[Any], tmp_path: Path) -> None:
    examples = make_examples(photos, 20, seed=1)
    maps, marks = torch.from_numpy(examples.maps).float(), torch.from_numpy(examples.marks).float()
    faulty = torch.from_numpy(examples.faulty).float()
    losses = []
    for epochs in (1, 25):
        detector = fit_detector(examples, epochs, seed=0)
        losses.append(float(detector_loss(detector(maps), marks, faulty).detach()))
    assert losses[1] < 0.8 * losses[0]
    write_network(detector, tmp_path / "made" / "change_detector.npz")
    shipped = Path(change_detector.__file__).with_name("change_detector.npz")
    with np.load(tmp_path / "made" / "change_detector.npz") as ours, np.load(shipped) as theirs:
        assert {name: ours[name].shape for name in ours} == {name: theirs[name].shape for name in theirs}


def test_the_command_writes_a_detector(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cv2.imwrite(str(tmp_path / "one.png"), phantom(240, 240, 0))
    command = ["fit-guard", str(tmp_path), "--out", str(tmp_path / "new.npz"), "--count", "4", "--epochs", "1"]
    with pytest.raises(SystemExit) as stopped:
        main(command)
    assert stopped.value.code == 0
    assert (tmp_path / "new.npz").stat().st_size > 10_000


def test_the_command_names_what_it_cannot_use_and_refuses_a_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "broken.png").write_bytes(b"no image")
    command = ["fit-guard", str(photos), "--count", "4", "--epochs", "1", "--out"]
    for out, said in ((tmp_path / "new.npz", "needs clean photos"), (tmp_path, "names the file to write")):
        with pytest.raises(SystemExit) as stopped:
            main([*command, str(out)])
        assert stopped.value.code == 2
        assert said in capsys.readouterr().err
    cv2.imwrite(str(photos / "one.png"), phantom(240, 240, 0))
    with pytest.raises(SystemExit) as stopped:
        main([*command, str(tmp_path / "new.npz")])
    assert stopped.value.code == 0
    assert "broken.png cannot be read as an image." in capsys.readouterr().err
