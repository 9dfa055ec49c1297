"""The heat map's colours."""

from __future__ import annotations

import cv2
import numpy as np

from service.imaging.heatmap import render_heatmap
from tests.hostile import photo_pixels


def lightness(rgb: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(rgb.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)[..., 0]


def test_unchanged_places_have_no_colour() -> None:
    drawn = render_heatmap(np.ones((9, 14)), (160, 120), photo_pixels())
    assert drawn.shape == (120, 160, 3)
    assert np.ptp(drawn.astype(int), axis=2).max() == 0


def test_more_change_is_lighter_on_any_ground() -> None:
    for ground in (0, 90, 255):
        base = np.full((20, 60, 3), ground, np.uint8)
        drawn = [render_heatmap(np.full((4, 4), value), (60, 20), base) for value in (0.8, 0.6, 0.4, 0.2)]
        steps = np.diff([float(lightness(image).mean()) for image in drawn])
        assert (steps[1:] > 0).all()


def test_colour_lies_where_the_change_is() -> None:
    local = np.ones((12, 16))
    local[3, 4] = 0.0
    drawn = render_heatmap(local, (160, 120), photo_pixels()).astype(int)
    spread = np.ptp(drawn, axis=2)
    row, column = np.unravel_index(int(spread.argmax()), spread.shape)
    assert abs(row - 35) <= 10
    assert abs(column - 45) <= 10
    assert spread[60:, 80:].max() == 0


def test_a_border_shifts_the_map_to_where_its_windows_are() -> None:
    local = np.ones((6, 6))
    local[0, 0] = 0.0
    drawn = render_heatmap(local, (120, 120), np.full((120, 120, 3), 90, np.uint8), border=3)
    assert np.ptp(drawn[5, 5].astype(int)) > 50
    assert np.ptp(drawn[60, 60].astype(int)) == 0


def test_values_that_are_no_number_count_as_unchanged() -> None:
    drawn = render_heatmap(np.full((5, 5), np.nan), (50, 50), np.full((30, 30, 3), 90, np.uint8))
    assert np.ptp(drawn.astype(int), axis=2).max() == 0
