"""The colour shift: CIEDE2000 against skimage and Sharma's own pairs, and what counts as redder."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.color import deltaE_ciede2000, rgb2lab

from model_training.data.phantom import phantom
from service.quality.colour import ciede2000, colour_shift, lab, redder_than

SHARMA = [
    ((50, 2.6772, -79.7751), (50, 0, -82.7485), 2.0425),
    ((50, 0, 0), (50, -1, 2), 2.3669),
    ((50, 2.49, -0.001), (50, -2.49, 0.0009), 7.1792),
    ((50, 2.5, 0), (73, 25, -18), 27.1492),
    ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
    ((22.7233, 20.0904, -46.6940), (23.0331, 14.9730, -42.5619), 2.0373),
    ((2.0776, 0.0795, -1.1350), (0.9033, -0.0636, -0.5514), 0.9082),
]
"""Sharma, Wu, Dalal (2005), table 1: pairs 1, 7, 9, 17, 25, 30 and 34."""


@pytest.mark.parametrize(("first", "second", "expected"), SHARMA)
def test_ciede2000_gives_the_values_of_its_authors_table(
    first: tuple[float, ...], second: tuple[float, ...], expected: float
) -> None:
    pixels = [np.array(values, np.float32).reshape(1, 1, 3) for values in (first, second)]
    assert ciede2000(pixels[0], pixels[1]).item() == pytest.approx(expected, abs=2e-4)


def test_lab_and_ciede2000_agree_with_skimage_on_random_colours() -> None:
    generator = np.random.default_rng(0)
    one = generator.random((80, 80, 3)).astype(np.float32)
    two = np.clip(one + generator.normal(0, 0.1, one.shape), 0, 1).astype(np.float32)
    assert np.abs(lab(one) - rgb2lab(one)).max() < 1e-3
    expected = deltaE_ciede2000(rgb2lab(one), rgb2lab(two))
    assert np.abs(ciede2000(lab(one), lab(two)) - expected).max() < 0.01


def test_the_shift_of_small_images_is_skimages_mean_and_percentile() -> None:
    one, two = phantom(160, 96, 1), phantom(160, 96, 2)
    expected = deltaE_ciede2000(rgb2lab(one), rgb2lab(two))
    shift = colour_shift(two, one)
    assert shift.delta_e_mean == pytest.approx(expected.mean(), abs=1e-3)
    assert shift.delta_e_p95 == pytest.approx(np.quantile(expected, 0.95), abs=1e-2)


@given(st.integers(0, 50))
@settings(max_examples=10, deadline=None)
def test_an_image_has_no_shift_to_itself_and_the_same_both_ways(seed: int) -> None:
    one, two = phantom(120, 80, seed), phantom(120, 80, seed + 1)
    same = colour_shift(one, one)
    assert (same.delta_e_mean, same.delta_e_p95, same.redder_share) == (0, 0, 0)
    assert colour_shift(one, two).delta_e_mean == pytest.approx(colour_shift(two, one).delta_e_mean, rel=1e-5)


def test_a_reddened_quarter_of_the_area_is_counted_as_such() -> None:
    image = np.full((80, 160, 3), 120, np.uint8)
    red = image.copy()
    red[:40, :80] = (190, 90, 90)
    assert redder_than(red, image) == pytest.approx(0.25)
    assert redder_than(image, red) == 0


def test_a_bold_red_patch_is_told_from_a_picture_that_turned_redder_as_a_whole() -> None:
    photo = phantom(480, 272, 2)
    warmer = np.clip(photo * [1.15, 0.9, 0.9], 0, 255).astype(np.uint8)
    patched = photo.copy()
    patched[100:150, 200:280] = np.clip(patched[100:150, 200:280] * [1.1, 0.5, 0.5], 0, 255).astype(np.uint8)
    size = 50 * 80 / (480 * 272)
    assert redder_than(warmer, photo) > 0.1
    assert colour_shift(warmer, photo).redder_share < 0.1 * size
    assert colour_shift(patched, photo).redder_share == pytest.approx(size, rel=0.3)


def test_a_brighter_grey_or_a_bluer_area_is_not_redder() -> None:
    image = np.full((80, 160, 3), 100, np.uint8)
    assert redder_than(image + np.uint8(60), image) == 0
    assert redder_than(image + np.array([0, 0, 90], np.uint8), image) == 0


def test_pixel_noise_hardly_shifts_the_colour_of_places() -> None:
    image = np.full((272, 480, 3), 120, np.uint8)
    noisy = (image + np.random.default_rng(0).normal(0, 10, image.shape)).clip(0, 255).astype(np.uint8)
    assert redder_than(noisy, image) == 0
    assert colour_shift(noisy, image).delta_e_mean < 4


def test_floats_and_bytes_give_the_same_shift() -> None:
    one, two = phantom(160, 90, 1), phantom(160, 90, 4)
    of_bytes, of_floats = colour_shift(two, one), colour_shift(two / 255, one / 255)
    assert of_bytes.delta_e_mean == pytest.approx(of_floats.delta_e_mean, rel=1e-4)
