"""Pictures in a black surround are found, and nothing else is taken for one."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from model_training.data.degradation import HELD_OUT, degrade
from model_training.data.phantom import phantom
from model_training.data.photo_faults import through_jpeg
from model_training.data.synthetic import everyday
from service.imaging.content_area import find_content_area

Pixels = NDArray[np.uint8]
Box = tuple[int, int, int, int]


def _screen(shape: str, black: int, size: tuple[int, int] = (540, 960)) -> tuple[Pixels, Box]:
    """A throat on a screen of `size` (H, W), and its rectangle: top, left, height, width."""
    height, width = size
    y, x = np.mgrid[0:height, 0:width]
    down, across = np.abs(y - height / 2 + 0.5), np.abs(x - width / 2 + 0.5)
    half = 0.46 * height
    shown = {
        "disc": np.hypot(down, across) <= half,
        "octagon": (down <= half) & (across <= half) & (down + across <= 1.6 * half),
        "square": (down <= half) & (across <= half),
        "cut disc": (np.hypot(down, across) <= 0.6 * height),
        "letterbox": down <= 0.38 * height,
        "beside a panel": x >= 0.3 * width,
    }[shape]
    rows, columns = np.flatnonzero(shown.any(1)), np.flatnonzero(shown.any(0))
    image = np.full((height, width, 3), black, np.uint8)
    throat = cv2.resize(phantom(480, 272, 7), (width, height), interpolation=cv2.INTER_CUBIC)
    image[shown] = throat[shown]
    return image, (rows[0], columns[0], rows[-1] + 1 - rows[0], columns[-1] + 1 - columns[0])


SHAPES = ["disc", "octagon", "square", "cut disc", "letterbox", "beside a panel"]


@pytest.mark.parametrize("black", [0, 16])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_picture_in_a_black_surround_is_found_through_noise_jpeg_and_text(shape: str, black: int) -> None:
    image, box = _screen(shape, black)
    noisy = np.clip(image + np.random.default_rng(0).normal(0, 2, image.shape), 0, 255).astype(np.uint8)
    named = image.copy()
    cv2.putText(named, "0042 A", (8, 30), cv2.FONT_HERSHEY_SIMPLEX, 0.8, (255, 255, 255), 2, cv2.LINE_AA)
    large = cv2.resize(image, (2880, 1620), interpolation=cv2.INTER_CUBIC)
    for photo, scale in ((image, 1), (noisy, 1), (through_jpeg(image, 60), 1), (named, 1), (large, 3)):
        found = find_content_area(photo)
        assert found is not None
        seen = np.array([found.top, found.left, found.height, found.width])
        assert np.abs(seen - np.array(box) * scale).max() <= 10 * scale


def test_what_has_no_surround_is_left_whole() -> None:
    throat = phantom(480, 272, 7)
    y, x = np.mgrid[0:272, 0:480]
    away = ((y / 272 - 0.5) ** 2 + (x / 480 - 0.5) ** 2) * 2
    vignette = (throat * np.clip(1.15 - 1.25 * away, 0.02, 1)[..., None]).astype(np.uint8)
    dark_side = (throat * np.clip(x / 200 - 0.6, 0, 1)[..., None]).astype(np.uint8)
    plain = [np.full((272, 480, 3), grey, np.uint8) for grey in (0, 16, 255)]
    night = (throat * 0.1).astype(np.uint8)
    for photo in (throat, vignette, dark_side, night, *plain):
        assert find_content_area(photo) is None


def test_hardly_any_badly_taken_photo_is_taken_for_a_screen() -> None:
    photos = [make(320, 240, seed) for seed in range(30) for make in (phantom, everyday)]
    found = [find_content_area(degrade(photo, index, recipe=HELD_OUT)) for index, photo in enumerate(photos)]
    found += [find_content_area((photo * 0.25).astype(np.uint8)) for photo in photos]
    assert sum(one is not None for one in found) <= 1


def test_a_picture_too_small_or_too_narrow_for_the_generator_is_left_in_its_photo() -> None:
    for height, width in ((40, 40), (60, 900)):
        image = np.zeros((540, 960, 3), np.uint8)
        image[200 : 200 + height, 30 : 30 + width] = 160
        assert find_content_area(image) is None


@pytest.mark.parametrize("shape", SHAPES)
def test_filling_leaves_the_picture_and_no_black(shape: str) -> None:
    image, _ = _screen(shape, 0)
    found = find_content_area(np.where(image.any(2, keepdims=True), np.maximum(image, 60), 0).astype(np.uint8))
    assert found is not None
    cut = found.cut(np.where(image.any(2, keepdims=True), np.maximum(image, 60), 0).astype(np.uint8))
    for scale in (1.0, 0.5):
        working = cv2.resize(cut, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        filled = found.fill(working)
        assert filled.shape == working.shape
        assert filled.max(2).min() >= 50
        deep = cv2.erode((working.max(2) >= 60).astype(np.uint8), np.ones((25, 25), np.uint8), borderValue=0) > 0
        assert np.array_equal(filled[deep], working[deep])


@pytest.mark.parametrize("shape", SHAPES)
def test_pasting_changes_the_picture_alone(shape: str) -> None:
    image, _ = _screen(shape, 0)
    image = np.where(image.any(2, keepdims=True), np.maximum(image, 60), 0).astype(np.uint8)
    found = find_content_area(image)
    assert found is not None
    before = image.copy()
    made = found.paste(image, np.full_like(found.cut(image), 255))
    assert np.array_equal(image, before)
    assert np.array_equal(made[image.max(2) == 0], image[image.max(2) == 0])
    deep = cv2.erode((image.max(2) > 0).astype(np.uint8), np.ones((17, 17), np.uint8), borderValue=1) > 0
    assert (made[deep] == 255).all()
    assert np.array_equal(found.paste(image, found.cut(image)), image)
