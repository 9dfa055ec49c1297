"""Phantoms and everyday pictures: deterministic, of any size, and believable in their statistics."""

import numpy as np
import pytest
from PIL import Image

from model_training.data.phantom import phantom, write_phantoms
from model_training.data.synthetic import everyday
from service.errors import ImageDimensions


@pytest.mark.parametrize("draw", [phantom, everyday])
def test_the_same_arguments_draw_the_same_picture(draw):
    assert np.array_equal(draw(128, 96, 5), draw(128, 96, 5))
    assert not np.array_equal(draw(128, 96, 5), draw(128, 96, 6))


@pytest.mark.parametrize(("width", "height"), [(64, 64), (65, 131), (480, 272), (200, 320)])
def test_a_phantom_has_the_size_asked_for(width, height):
    made = phantom(width, height, 1)
    assert made.shape == (height, width, 3)
    assert made.dtype == np.uint8


def test_a_throat_is_red_rather_than_any_other_colour_and_uses_the_range():
    for seed in range(8):
        red, green, blue = phantom(160, 112, seed).reshape(-1, 3).astype(float).mean(0)
        assert red > green
        assert red > blue
        assert phantom(160, 112, seed).astype(float).std() > 15


def test_phantoms_differ_in_light_and_colour():
    means = np.array([phantom(96, 64, seed).reshape(-1, 3).mean(0) for seed in range(16)])
    assert (np.ptp(means, axis=0) > 30).all()


def test_some_phantoms_have_white_corners_as_an_overexposed_lens_ring_gives():
    corners = [phantom(160, 112, seed)[:4, :4].min() for seed in range(20)]
    assert max(corners) > 225
    assert min(corners) < 150


def test_everyday_pictures_include_grey_and_dark_ones():
    pictures = [everyday(96, 80, seed).astype(int) for seed in range(30)]
    assert any(np.ptp(picture, axis=2).mean() < 6 for picture in pictures)
    assert any(picture.mean() < 70 for picture in pictures)


def test_a_phantom_too_small_to_draw_is_refused():
    with pytest.raises(ImageDimensions, match="at least 64"):
        phantom(63, 100, 0)


def test_pairs_are_written_side_by_side_under_one_number(tmp_path):
    assert write_phantoms(tmp_path, 2, (96, 64), 5, pairs=True) == 4
    for number in ("0005", "0006"):
        good, bad = (np.asarray(Image.open(tmp_path / side / f"{number}.png")) for side in ("good", "bad"))
        assert good.shape == bad.shape == (64, 96, 3)
        assert not np.array_equal(good, bad)
