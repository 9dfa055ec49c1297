"""Working sizes and the way there and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import ImageDimensions
from service.imaging.working_size import MAX_STRETCH, MIN_SIDE, SLACK, STEP, shrink, unpad, working_size

WORKING_PIXELS = 480 * 272


@pytest.mark.parametrize(
    ("photo", "working"),
    [
        ((1920, 1080), (480, 272)),
        ((1080, 1920), (272, 480)),
        ((480, 272), (480, 272)),
        ((4000, 3000), (416, 312)),
        ((504, 504), (360, 360)),
        ((490, 280), (490, 280)),
        ((100, 80), (100, 80)),
    ],
)
def test_common_cameras_get_the_size_the_generator_knows(photo: tuple[int, int], working: tuple[int, int]) -> None:
    size = working_size(*photo, WORKING_PIXELS)
    assert (size.width, size.height) == working
    assert (size.pad_x, size.pad_y) == (0, 0)


@settings(deadline=None)
@given(st.integers(1, 12_000), st.integers(1, 12_000), st.integers(MIN_SIDE**2, 10**6))
def test_a_working_image_is_never_enlarged_and_never_below_the_generators_least(
    width: int, height: int, pixels: int
) -> None:
    try:
        size = working_size(width, height, pixels)
    except ImageDimensions:
        assert max(width, height) / min(width, height) > MAX_STRETCH / 4
        return
    assert size.width <= width
    assert size.height <= height
    assert size.width + size.pad_x >= MIN_SIDE
    assert size.height + size.pad_y >= MIN_SIDE
    assert size.width * size.height <= MAX_STRETCH * pixels
    if min(width, height) >= MIN_SIDE and (size.width, size.height) != (width, height):
        assert abs(size.width / width - size.height / height) * min(width, height) <= STEP
    if width * height <= pixels:
        assert (size.width, size.height) == (width, height)
    if width * height > SLACK * pixels and min(width, height) > MIN_SIDE:
        assert (size.width, size.height) != (width, height)


def test_a_photo_as_narrow_as_a_thread_is_refused() -> None:
    with pytest.raises(ImageDimensions):
        working_size(60_000, 64, WORKING_PIXELS)


def test_a_small_photo_is_mirrored_out_and_cut_back() -> None:
    photo = np.random.default_rng(0).integers(0, 256, (56, 90, 3), dtype=np.uint8)
    size = working_size(90, 56, WORKING_PIXELS)
    working = shrink(photo, size)
    assert working.shape == (64, 90, 3)
    assert np.array_equal(working[56:], photo[:-9:-1])
    assert np.array_equal(unpad(working, size), photo)


def test_shrinking_keeps_the_mean_of_each_channel() -> None:
    photo = np.random.default_rng(1).integers(0, 256, (1088, 1920, 3), dtype=np.uint8)
    working = shrink(photo, working_size(1920, 1088, WORKING_PIXELS))
    assert working.shape == (272, 480, 3)
    assert np.allclose(working.mean((0, 1)), photo.mean((0, 1)), atol=0.1)
