"""Carrying the change to full size: what it must never do, and what it must keep."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.imaging import detail_transfer
from service.imaging.detail_transfer import apply_change, fit_change, transfer
from service.imaging.working_size import shrink, unpad, working_size

Array = NDArray[np.uint8]


def textured(height: int, width: int, seed: int = 0) -> Array:
    """A picture with structure at every scale, down to single pixels."""
    rng = np.random.default_rng(seed)
    layers = [
        cv2.resize(rng.normal(0, 12, (max(1, height // step), max(1, width // step), 3)), (width, height))
        for step in (1, 3, 9, 27, 81)
    ]
    return np.clip(np.sum(layers, axis=0) + np.array((150, 100, 95)), 0, 255).astype(np.uint8)


def carried(photo: Array, change: object, working_pixels: int = 10_000) -> Array:
    """`photo` after the generator `change`, by the way the service goes."""
    size = working_size(photo.shape[1], photo.shape[0], working_pixels)
    working = shrink(photo, size)
    made = np.clip(np.rint(change(working.astype(np.float64))), 0, 255).astype(np.uint8)  # type: ignore[operator]
    return transfer(photo, unpad(working, size), unpad(made, size))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(50, 900), st.integers(50, 900), st.integers(0, 3), st.sampled_from([4096, 10_000, 130_560]))
def test_a_generator_that_returns_its_input_returns_the_photo_bit_for_bit(
    height: int, width: int, seed: int, working_pixels: int
) -> None:
    width, height = (min(side, 3 * other) for side, other in ((width, height), (height, width)))
    photo = textured(height, width, seed)
    assert np.array_equal(carried(photo, lambda x: x, working_pixels), photo)


def test_identity_holds_on_the_extremes_too() -> None:
    rng = np.random.default_rng(5)
    for photo in (
        np.zeros((400, 500, 3), np.uint8),
        np.full((400, 500, 3), 255, np.uint8),
        rng.choice(np.array([0, 255], np.uint8), (400, 500, 3)),
        rng.integers(0, 256, (400, 500, 3), dtype=np.uint8),
    ):
        assert np.array_equal(carried(photo, lambda x: x), photo)


def test_at_working_size_the_generators_own_pixels_are_delivered() -> None:
    photo, made = textured(100, 100), textured(100, 100, seed=9)
    assert transfer(photo, photo, made) is made


@pytest.mark.parametrize("levels", [-30, 7, 40])
def test_a_shift_of_brightness_is_the_same_shift_at_full_size(levels: int) -> None:
    photo = np.clip(textured(600, 800), 50, 200)
    expected = photo.astype(np.int16) + levels
    assert np.abs(carried(photo, lambda x: x + levels) - expected).max() <= 1


def test_contrast_that_is_raised_raises_the_fine_detail_too() -> None:
    photo = np.clip(textured(600, 800), 70, 180)

    def contrast(x: NDArray[np.float64]) -> NDArray[np.float64]:
        return (x - 128) * 1.4 + 128

    expected = contrast(photo.astype(np.float64))
    plain = photo + cv2.resize(
        contrast(cv2.resize(photo, (112, 88), interpolation=cv2.INTER_AREA).astype(float))
        - cv2.resize(photo, (112, 88), interpolation=cv2.INTER_AREA),
        (800, 600),
    )
    off, off_plain = (float(np.abs(made - expected).mean()) for made in (carried(photo, contrast), plain))
    assert off < 2
    assert off < off_plain / 2


def test_detail_that_the_working_image_cannot_show_survives() -> None:
    photo = np.full((800, 800, 3), 120, np.uint8)
    photo[::2, ::2] = 150
    enhanced = carried(photo, lambda x: x + 20)
    assert np.array_equal(enhanced, photo + 20)


def test_a_sharp_edge_gets_no_halo() -> None:
    photo = np.full((800, 800, 3), 60, np.uint8)
    photo[:, 403:] = 180
    enhanced = carried(photo, lambda x: x * 1.2)
    assert enhanced[:, :380].max() <= 73
    assert enhanced[:, 430:].min() >= 215
    assert enhanced.max() <= 222
    assert enhanced.min() >= 66


def test_what_the_generator_removes_is_not_inverted_by_the_detail() -> None:
    photo = textured(600, 600)
    flat = carried(photo, lambda x: np.full_like(x, 128))
    assert flat.std() < photo.std() / 2


def test_strips_agree_with_the_formula_written_plainly() -> None:
    photo = textured(517, 733)
    working = cv2.resize(photo, (104, 72), interpolation=cv2.INTER_AREA).astype(np.uint8)
    gain, offset = fit_change(working, textured(72, 104, seed=4))
    wide_gain, wide_offset = (cv2.resize(plane, (733, 517)) for plane in (gain, offset))
    expected = np.clip(np.rint(photo + wide_gain * photo + wide_offset), 0, 255)
    difference = np.abs(apply_change(photo, gain, offset) - expected)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 1e-3


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 1000))
def test_the_fit_explains_the_working_change_exactly(height: int, width: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    working, enhanced = rng.integers(0, 256, (2, height, width, 3), dtype=np.uint8)
    gain, offset = fit_change(working, enhanced)
    assert np.allclose(working + gain * working + offset, enhanced, atol=1e-3)


def test_the_same_input_gives_the_same_pixels() -> None:
    photo = textured(700, 900)
    first = carried(photo, lambda x: x * 0.9 + 10)
    assert np.array_equal(first, carried(photo, lambda x: x * 0.9 + 10))


@pytest.mark.parametrize("height", [1, 2, 47, 48, 49, 50, 97, 145])
def test_the_fit_is_the_same_whatever_strips_it_is_made_in(height: int, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(height)
    working, enhanced = (random.integers(0, 256, (height, 37, 3), dtype=np.uint8) for _ in range(2))
    in_strips = fit_change(working, enhanced)
    monkeypatch.setattr(detail_transfer, "STRIP_ROWS", height)
    for strips, whole in zip(in_strips, fit_change(working, enhanced), strict=True):
        assert np.array_equal(strips, whole)
