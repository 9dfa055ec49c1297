"""The classical methods, the planted faults and the harmless changes: what each does, and leaves alone."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest

from model_training.data.phantom import phantom
from model_training.data.synthetic import everyday
from model_training.evaluation.classical import CLASSICAL, dark_channel_prior, guided_filter, identity
from model_training.guardrail import faults
from model_training.guardrail.faults import FAULTS
from model_training.guardrail.harmless import HARMLESS

PHOTO = phantom(240, 136, 5)


@pytest.mark.parametrize("name", CLASSICAL)
@pytest.mark.parametrize("shape", [(136, 240), (65, 101), (64, 64)])
def test_a_classical_method_gives_the_same_size_and_is_repeatable(name: str, shape: tuple[int, int]) -> None:
    image = phantom(shape[1], shape[0], 1)
    made = CLASSICAL[name](image)
    assert made.shape == image.shape
    assert made.dtype == np.uint8
    assert np.array_equal(made, CLASSICAL[name](image))


@pytest.mark.parametrize("name", CLASSICAL)
@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_flat_image_stays_flat(name: str, level: int) -> None:
    made = CLASSICAL[name](np.full((64, 80, 3), level, np.uint8))
    assert np.ptp(made.reshape(-1, 3), axis=0).max() <= 1


def test_clahe_and_the_weighted_filter_raise_the_local_contrast() -> None:
    for name in ("clahe", "weighted-guided-filter"):
        made = CLASSICAL[name](PHOTO)
        assert cv2.Laplacian(made, cv2.CV_64F).std() > 1.1 * cv2.Laplacian(PHOTO, cv2.CV_64F).std()


def test_the_dark_channel_prior_takes_away_haze_that_follows_its_own_model() -> None:
    clear = everyday(240, 136, 3)
    hazy = np.rint(clear * 0.5 + 0.5 * 235).astype(np.uint8)
    made = dark_channel_prior(hazy)
    assert np.abs(made.astype(int) - clear).mean() < 0.7 * np.abs(hazy.astype(int) - clear).mean()


def test_the_guided_filter_of_a_constant_guide_is_a_double_mean() -> None:
    plane = np.random.default_rng(0).random((40, 50)).astype(np.float32)
    smooth = guided_filter(plane, np.full_like(plane, 0.5), 3, 1e-3)
    once = cv2.blur(plane, (7, 7), borderType=cv2.BORDER_REFLECT)
    assert smooth == pytest.approx(cv2.blur(once, (7, 7), borderType=cv2.BORDER_REFLECT), abs=1e-5)


def test_the_identity_returns_the_very_image() -> None:
    assert identity(PHOTO) is PHOTO


@pytest.mark.parametrize("name", HARMLESS)
def test_a_harmless_change_changes_something_and_one_seed_makes_one_image(name: str) -> None:
    changed, again = (HARMLESS[name](PHOTO, np.random.default_rng(1)) for _ in range(2))
    assert changed.shape == PHOTO.shape
    assert changed.dtype == np.uint8
    assert not np.array_equal(changed, PHOTO)
    assert np.array_equal(changed, again)


@pytest.mark.parametrize(("plant", "kind"), [(plant, f"{kind}, {size}") for kind, size, plant in FAULTS])
def test_a_planted_fault_is_repeatable_and_keeps_the_size(plant: Any, kind: str) -> None:
    changed, again = (plant(PHOTO, np.random.default_rng(1)) for _ in range(2))
    assert changed.shape == PHOTO.shape, kind
    assert changed.dtype == np.uint8
    assert np.array_equal(changed, again)
    assert not np.array_equal(changed, PHOTO)


def test_a_lesion_darkens_its_middle_by_its_depth_and_nothing_far_away() -> None:
    image = np.full((200, 200, 3), 200, np.uint8)
    spotted = faults.lesion(image, np.random.default_rng(0), sigma_px=6, depth=0.3)
    assert spotted.min() == pytest.approx(140, abs=1)
    changed = np.argwhere(spotted[..., 0] != 200)
    assert np.ptp(changed, axis=0).max() < 8 * 6


def test_a_lesion_lies_on_lit_tissue_where_there_is_some() -> None:
    image = np.zeros((200, 200, 3), np.uint8)
    image[:, 120:] = 180
    places = [faults.lit_place(image, np.random.default_rng(seed)) for seed in range(20)]
    assert min(column for column, _ in places) > 100


def test_moved_edges_move_by_the_given_distance_at_most() -> None:
    columns = np.broadcast_to(np.arange(200, dtype=np.uint8), (200, 200))
    image = np.stack([columns] * 3, axis=-1)
    shift = np.abs(faults.moved(image, np.random.default_rng(3), shift_px=6).astype(int) - image)
    assert 0 < shift.max() <= 6
