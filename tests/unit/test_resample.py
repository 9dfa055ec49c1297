"""Means over areas and rows between rows: the values of OpenCV's, by another way."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from service import resample
from service.resample import area_mean, most_rows, row_blocks, widened

SIZES = [((4000, 3000), (416, 312)), ((1280, 720), (480, 270)), ((1920, 1080), (480, 270)), ((1600, 1200), (480, 360))]


def noise(width: int, height: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(("photo", "small"), SIZES)
def test_area_means_are_opencvs_to_one_grey_level_where_rounding_is_a_toss(
    photo: tuple[int, int], small: tuple[int, int]
) -> None:
    image = noise(*photo)
    difference = cv2.absdiff(area_mean(image, *small), cv2.resize(image, small, interpolation=cv2.INTER_AREA))
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.01


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(2, 90), st.integers(2, 90), st.integers(2, 30), st.integers(2, 30), st.integers(0, 99))
def test_area_means_are_exact_for_any_sizes(columns: int, rows: int, width: int, height: int, seed: int) -> None:
    columns, rows = max(columns, 2 * width), max(rows, 2 * height)
    image = noise(columns, rows, seed)
    least, resample.LEAST_PIXELS = resample.LEAST_PIXELS, 0
    try:
        found = area_mean(image, width, height)
    finally:
        resample.LEAST_PIXELS = least
    exact = weights(rows, height) @ image.astype(float).transpose(2, 0, 1) @ weights(columns, width).T
    assert np.abs(found - exact.transpose(1, 2, 0)).max() <= 0.5 + 1e-2


def weights(source: int, size: int) -> NDArray[np.float64]:
    """(size, source): the share of each source pixel in each cell."""
    edges = np.arange(size + 1) * source / size
    starts, ends = edges[:-1, None], edges[1:, None]
    pixels = np.arange(source)
    return np.clip(np.minimum(ends, pixels + 1) - np.maximum(starts, pixels), 0, 1) * size / source


def test_a_part_cut_out_of_a_larger_image_is_read_in_place() -> None:
    image = noise(1700, 1300)
    part = image[100:1200, 30:1500]
    assert np.array_equal(area_mean(part, 400, 300), area_mean(np.ascontiguousarray(part), 400, 300))


def test_a_flat_image_stays_flat_to_the_last_grey_level() -> None:
    for value in (0, 1, 127, 128, 254, 255):
        assert (area_mean(np.full((1111, 1777, 3), value, np.uint8), 480, 300) == value).all()


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(1, 40), st.integers(1, 200), st.integers(0, 99))
def test_rows_between_are_opencvs(source: int, height: int, seed: int) -> None:
    plane = np.random.default_rng(seed).random((source, 5, 3), np.float32)
    wide = widened(plane, 11)
    room = np.empty((most_rows(row_blocks(source, height)), wide.shape[1]), np.float32)
    found = np.concatenate([block.interpolate(wide, room).copy() for block in row_blocks(source, height)])
    assert found.reshape(height, 11, 3) == pytest.approx(cv2.resize(plane, (11, height)), abs=1e-5)
