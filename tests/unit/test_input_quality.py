"""What tells a new camera or a dirty lens from a worse model."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from service.quality.assessment import quantile_of_bytes
from service.quality.input_quality import input_quality
from tests.live import scene


def test_a_grey_image_has_its_exposure_and_nothing_else() -> None:
    seen = input_quality(np.full((90, 160, 3), 51, np.uint8))
    assert seen.exposure == pytest.approx(0.2)
    assert seen.contrast == 0
    assert seen.sharpness == 0


def test_black_and_white_halves_have_the_greatest_contrast() -> None:
    halves = np.zeros((100, 100, 3), np.uint8)
    halves[:, 50:] = 255
    seen = input_quality(halves)
    assert seen.exposure == pytest.approx(0.5)
    assert seen.contrast == pytest.approx(0.5)
    assert seen.sharpness == pytest.approx(2 * 255 / 100)  # two columns of the edge, 255 each


def test_blur_lowers_sharpness_and_haze_lowers_contrast() -> None:
    photo = cv2.add(scene(), np.random.default_rng(0).integers(0, 30, (272, 480, 3), dtype=np.uint8))
    sharp = input_quality(photo)
    assert input_quality(cv2.GaussianBlur(photo, (0, 0), 3)).sharpness < sharp.sharpness / 2
    hazy = cv2.addWeighted(photo, 0.5, np.full_like(photo, 220), 0.5, 0)
    assert input_quality(hazy).contrast < sharp.contrast * 0.6
    assert input_quality(hazy).exposure > sharp.exposure


def test_cameras_of_any_resolution_are_measured_at_one_scale() -> None:
    small = input_quality(scene(480, 272))
    large = input_quality(cv2.resize(scene(480, 272), (1920, 1088), interpolation=cv2.INTER_CUBIC))
    assert large.sharpness == pytest.approx(small.sharpness, rel=0.15)
    assert large.exposure == pytest.approx(small.exposure, abs=0.01)


@given(
    arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40)), elements=st.integers(0, 255)),
    st.floats(0, 1),
)
def test_a_quantile_of_bytes_is_numpys(plane: npt.NDArray[np.uint8], share: float) -> None:
    assert quantile_of_bytes(plane, share) == np.quantile(plane, share)
