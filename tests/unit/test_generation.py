"""What the generator makes of a photo of any size: where each of its stages works."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from service.imaging.working_size import working_size
from service.pipeline.generation import generate
from service.pipeline.picture import Picture
from service.registry.card import ModelCard
from service.vocabulary import Output
from tests import models

Pixels = NDArray[np.uint8]
WORKING = 480 * 272


class Recorder:
    """Runs nothing: notes what was asked for, takes grain away in the detail stage, adds light in the whole."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []

    def __call__(self, image: Pixels, output: Output) -> Pixels:
        self.asked.append((output, image.shape[0] * image.shape[1]))
        if output == "detail":
            return np.full_like(image, 100)
        return np.asarray(image + np.uint8(20))


@pytest.fixture
def card(tmp_path: Path) -> ModelCard:
    return models.install(tmp_path, models.identity())


def enhanced(width: int, height: int, card: ModelCard) -> tuple[Pixels, list[tuple[str, int]]]:
    grain = np.random.default_rng(0).integers(90, 111, (height, width, 3)).astype(np.uint8)
    run = Recorder()
    return generate(Picture(grain, working_size(width, height, WORKING)), card, run), run.asked


def test_without_a_detail_stage_a_photo_runs_once_at_working_size(card: ModelCard) -> None:
    _, asked = enhanced(1280, 720, card)
    assert [output for output, _ in asked] == ["enhanced"]
    assert asked[0][1] < 1.1 * WORKING


def test_a_photo_of_the_working_size_goes_through_the_whole_alone(card: ModelCard) -> None:
    staged = card.model_copy(update={"detail_pixels": 1024 * 1024})
    assert [output for output, _ in enhanced(480, 272, staged)[1]] == ["enhanced"]


def test_grain_of_a_larger_photo_is_mended_at_its_own_size(card: ModelCard) -> None:
    staged = card.model_copy(update={"detail_pixels": 1024 * 1024})
    made, asked = enhanced(1280, 720, staged)
    assert asked[0] == ("detail", 1280 * 720)
    assert asked[1][0] == "colour"
    assert (made == 120).all()
    plain, _ = enhanced(1280, 720, card)
    assert plain.std() > 3  # at the working size the grain is hardly seen


def test_beyond_the_cap_the_detail_stage_works_at_the_cap_and_its_change_is_carried(card: ModelCard) -> None:
    staged = card.model_copy(update={"detail_pixels": 300 * 1000})
    made, asked = enhanced(1280, 720, staged)
    assert asked[0][0] == "detail"
    assert 270_000 < asked[0][1] < 330_000
    assert made.shape == (720, 1280, 3)
    assert abs(float(made.mean()) - 120) < 2
