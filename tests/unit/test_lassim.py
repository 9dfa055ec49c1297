"""LaSSIM: the paper's number, its laws, and a foreign oracle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skimage.color import rgb2gray
from skimage.metrics import structural_similarity

from service.errors import ImageDimensions, InvalidParameter, LevelUnavailable
from service.imaging.codecs import decode
from service.quality.lassim import canonical_size, lassim, lassim_map, ssim, to_canonical
from service.quality.pyramid import least_side, level_shape

GENERATOR = np.random.default_rng(2304_01864)
SIZES = [
    *((56, 56), (57, 56), (272, 480), (480, 272), (271, 479), (64, 1000), (999, 57), (193, 193), (225, 225)),
    *((int(height), int(width)) for height, width in GENERATOR.integers(56, 420, (41, 2))),
]


def oracle(output: Any, input: Any, level: int = 3) -> float:
    """cv2's pyramid and skimage's SSIM; two flat residuals score 1 (2-lassim.md, step 5)."""

    def residual(image: Any) -> Any:
        base = rgb2gray(image)
        for _ in range(level):
            base = cv2.pyrDown(base)
        return base - cv2.pyrUp(cv2.pyrDown(base), dstsize=(base.shape[1], base.shape[0]))

    one, other = residual(output), residual(input)
    data_range = max(one.max(), other.max()) - min(one.min(), other.min())
    if data_range < 1e-12:
        return 1.0
    return float(structural_similarity(one, other, data_range=data_range))


def noise(height: int, width: int, seed: int = 0) -> Any:
    return np.random.default_rng([seed, height, width]).integers(0, 256, (height, width, 3), dtype=np.uint8)


def smooth(height: int, width: int) -> Any:
    coarse = np.random.default_rng(4).integers(60, 200, (height // 16, width // 16, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def read(folder: Path, name: str) -> Any:
    return decode((folder / f"{name}.png").read_bytes()).pixels


@pytest.mark.parametrize(
    ("output", "golden_lassim", "golden_ssim"),
    [("image_blur", 0.90532, 0.73016), ("image_elastic_blur", 0.81847, 0.72126)],
)
def test_the_published_pictures_score_what_the_authors_code_gives(
    throat: Path, output: str, golden_lassim: float, golden_ssim: float
) -> None:
    pair = read(throat, output), read(throat, "image_original")
    assert lassim(*pair) == pytest.approx(golden_lassim, abs=1e-5)
    assert lassim(*pair, scale="canonical") == lassim(*pair)
    assert ssim(*pair) == pytest.approx(golden_ssim, abs=1e-5)


def test_the_order_of_the_channels_matters(throat: Path) -> None:
    swapped = [read(throat, name)[..., ::-1] for name in ("image_blur", "image_original")]
    assert lassim(swapped[0], swapped[1]) == pytest.approx(0.90333, abs=1e-5)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_it_equals_opencv_and_skimage_at_every_size_and_level(height: int, width: int) -> None:
    output, input = noise(height, width, 1), noise(height, width, 2)
    for level in range(6):
        if min(level_shape(height, width, level)) < 7:
            with pytest.raises(LevelUnavailable, match=str(least_side(level))):
                lassim(output, input, level=level)
            continue
        assert lassim(output, input, level=level) == pytest.approx(oracle(output, input, level), abs=1e-9)
        floats = output / 255.0, input / 255.0
        assert lassim(*floats, level=level) == pytest.approx(oracle(*floats, level), abs=1e-9)


def patterns() -> dict[str, Any]:
    photo = cv2.GaussianBlur(noise(120, 160, 5), (0, 0), 3)
    grey = np.repeat(photo[..., :1], 3, axis=2)
    saturated = np.where(photo > 127, 255, 0).astype(np.uint8)
    flat = np.full_like(photo, 128)
    return {"grey": grey, "saturated": saturated, "flat": flat, "black": np.zeros_like(photo), "photo": photo}


@pytest.mark.parametrize("one", patterns())
@pytest.mark.parametrize("other", patterns())
def test_it_equals_the_oracle_on_grey_flat_black_and_saturated_images(one: str, other: str) -> None:
    output, input = patterns()[one], patterns()[other]
    for level in range(5):
        if min(level_shape(120, 160, level)) >= 7:
            assert lassim(output, input, level=level) == pytest.approx(oracle(output, input, level), abs=1e-9)


@pytest.mark.parametrize(("one", "other"), [(0, 255), (128, 100), (255, 255), (3, 7)])
def test_two_flat_images_score_one_whatever_their_brightness(one: int, other: int) -> None:
    output, input = (np.full((60, 90, 3), value, np.uint8) for value in (one, other))
    assert lassim(output, input) == 1.0
    assert lassim(output / 255.0, input / 255.0) == 1.0


def test_uint8_and_its_float_copy_score_the_same() -> None:
    output, input = noise(100, 130, 1), noise(100, 130, 2)
    assert lassim(output / 255.0, input) == pytest.approx(lassim(output, input), abs=1e-12)
    assert lassim((output / 255).astype(np.float32), input) == pytest.approx(lassim(output, input), abs=1e-5)


images = arrays(np.uint8, st.tuples(st.integers(49, 80), st.integers(49, 80), st.just(3)))


@settings(max_examples=30, deadline=None)
@given(images, st.integers(0, 3))
def test_an_image_scores_one_against_itself(image: Any, level: int) -> None:
    assert lassim(image, image, level=level) == 1.0
    assert ssim(image, image) == pytest.approx(1.0, abs=1e-12)


@settings(max_examples=30, deadline=None)
@given(images, st.integers(0, 2**32 - 1), st.integers(0, 3))
def test_it_is_symmetric_and_at_most_one(image: Any, seed: int, level: int) -> None:
    other = np.random.default_rng(seed).integers(0, 256, image.shape, dtype=np.uint8)
    assert lassim(image, other, level=level) == lassim(other, image, level=level) <= 1.0


def test_a_contiguous_copy_and_a_view_score_the_same() -> None:
    output, input = noise(120, 200, 1), noise(120, 200, 2)
    views = output[::2, ::2], input[::2, ::2]
    assert lassim(*views) == lassim(views[0].copy(), views[1].copy())


def test_the_canonical_scale_makes_sizes_comparable_and_never_enlarges() -> None:
    assert canonical_size(1920, 1080) == (480, 270)
    assert canonical_size(3000, 4000) == (360, 480)
    assert canonical_size(200, 100) == (200, 100)
    small = cv2.GaussianBlur(noise(270, 480, 3), (0, 0), 2)
    blurred = cv2.GaussianBlur(small, (0, 0), 3)
    large = [cv2.resize(image, (1920, 1080), interpolation=cv2.INTER_CUBIC) for image in (blurred, small)]
    assert lassim(*large, scale="canonical") == pytest.approx(lassim(blurred, small), abs=0.01)
    assert to_canonical(large[0]).shape == (270, 480, 3)


def test_the_map_averages_to_the_score_and_its_box_holds_the_fault() -> None:
    photo = smooth(272, 480)
    harmed = photo.copy()
    cv2.circle(harmed, (300, 100), 8, (40, 10, 10), -1)
    found = lassim_map(harmed, photo)
    assert found.lassim == lassim(harmed, photo)
    assert found.values.mean() == pytest.approx(found.lassim, abs=1e-12)
    assert found.values.min() == found.worst < 0.6
    assert found.box.left <= 300 < found.box.right
    assert found.box.top <= 100 < found.box.bottom


def test_the_box_is_in_input_pixels_at_the_canonical_scale_too() -> None:
    photo = smooth(1080, 1920)
    harmed = photo.copy()
    cv2.circle(harmed, (1500, 300), 32, (40, 10, 10), -1)
    box = lassim_map(harmed, photo, scale="canonical").box
    assert box.left <= 1500 < box.right <= 1920
    assert box.top <= 300 < box.bottom <= 1080


def test_refusals_say_what_is_wrong() -> None:
    image = noise(60, 60)
    with pytest.raises(ImageDimensions, match=r"60x60 px.*61x60 px"):
        lassim(image, noise(60, 61))
    with pytest.raises(LevelUnavailable, match="48x60 px is too small for level 3: each side needs 49 px"):
        lassim(noise(60, 48), noise(60, 48))
    with pytest.raises(InvalidParameter, match="0 or more"):
        lassim(image, image, level=-1)
    with pytest.raises(InvalidParameter, match="native or canonical"):
        lassim(image, image, scale="huge")  # type: ignore[arg-type]
    with pytest.raises(InvalidParameter, match=r"\(H, W, 3\)"):
        lassim(image[..., 0], image[..., 0])
    with pytest.raises(InvalidParameter, match="not int32"):
        lassim(image.astype(np.int32), image)
    with pytest.raises(InvalidParameter, match=r"outside \[0, 1\]"):
        lassim(image.astype(np.float64), image)
    with pytest.raises(InvalidParameter, match=r"outside \[0, 1\]"):
        lassim(np.full((60, 60, 3), np.nan), image)


def test_the_least_size_scores_and_one_less_does_not() -> None:
    for level in range(6):
        side = least_side(level)
        assert lassim(noise(side, side, 1), noise(side, side, 1), level=level) == 1.0
        with pytest.raises(LevelUnavailable):
            lassim(noise(side, side - 1), noise(side, side - 1), level=level)
