"""NIQE and BRISQUE: against a second, plainer writing of the authors' steps, and by the laws of both."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from scipy.ndimage import convolve
from scipy.special import gamma

from model_training.data.phantom import phantom
from model_training.data.synthetic import everyday
from model_training.evaluation.brisque import brisque, read_published, statistics
from model_training.evaluation.niqe import (
    PristineModel,
    block_features,
    fit_pristine,
    niqe,
    read_pristine,
    write_pristine,
)
from service.errors import DataError, ImageDimensions


def oracle_features(block: Any) -> list[float]:
    """18 numbers of a block, step by step as BasicSR's niqe.py writes them."""

    def fit(values: Any) -> tuple[float, float, float]:
        shapes = np.arange(0.2, 10.001, 0.001)
        reciprocal = np.reciprocal(shapes)
        ratios = np.square(gamma(reciprocal * 2)) / (gamma(reciprocal) * gamma(reciprocal * 3))
        values = values.flatten()
        left = np.sqrt(np.mean(values[values < 0] ** 2))
        right = np.sqrt(np.mean(values[values > 0] ** 2))
        lean = left / right
        ratio = (np.mean(np.abs(values))) ** 2 / np.mean(values**2)
        ratio = (ratio * (lean**3 + 1) * (lean + 1)) / ((lean**2 + 1) ** 2)
        shape = shapes[np.argmin((ratios - ratio) ** 2)]
        return (
            shape,
            left * np.sqrt(gamma(1 / shape) / gamma(3 / shape)),
            right * np.sqrt(gamma(1 / shape) / gamma(3 / shape)),
        )

    shape, left, right = fit(block)
    found = [shape, (left + right) / 2]
    for shift in ([0, 1], [1, 0], [1, 1], [1, -1]):
        shape, left, right = fit(block * np.roll(block, shift, axis=(0, 1)))
        found += [shape, (right - left) * (gamma(2 / shape) / gamma(1 / shape)), left, right]
    return found


def oracle_half(plane: Any) -> Any:
    """MATLAB's imresize by one half: cubic of a = -0.5 stretched by two, indices mirrored, weights normalised."""

    def cubic(x: Any) -> Any:
        x = np.abs(x)
        near, far = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
        return near * (x <= 1) + far * ((x > 1) & (x <= 2))

    for axis in (0, 1):
        length = plane.shape[axis]
        centres = np.arange(1, math.ceil(length / 2) + 1) * 2 - 0.5
        indices = np.floor(centres - 4)[:, None] + np.arange(10)
        weights = cubic((centres[:, None] - indices) / 2)
        weights /= weights.sum(axis=1, keepdims=True)
        mirror = np.concatenate([np.arange(length), np.arange(length)[::-1]])
        taken = np.moveaxis(plane, axis, 0)[mirror[(indices.astype(int) - 1) % (2 * length)]]
        plane = np.moveaxis(np.einsum("mp,mp...->m...", weights, taken), 0, axis)
    return plane


def oracle_niqe(image: Any, model: PristineModel) -> float:
    offsets = np.arange(-3, 4)
    window = np.exp(-(offsets[:, None] ** 2 + offsets[None] ** 2) / (2 * (7 / 6) ** 2))
    window /= window.sum()
    plane = np.round(image[..., ::-1].astype(float) / 255 @ [24.966, 128.553, 65.481] + 16)
    rows, columns = plane.shape[0] // 96, plane.shape[1] // 96
    plane = plane[: rows * 96, : columns * 96]
    tables = []
    for side in (96, 48):
        mean = convolve(plane, window, mode="nearest")
        deviation = np.sqrt(np.abs(convolve(plane**2, window, mode="nearest") - mean**2))
        normal = (plane - mean) / (deviation + 1)
        places = [(row * side, column * side) for column in range(columns) for row in range(rows)]
        tables.append([oracle_features(normal[top : top + side, left : left + side]) for top, left in places])
        plane = oracle_half(plane / 255) * 255
    table = np.concatenate([np.array(part) for part in tables], axis=1)
    apart = model.mean - np.nanmean(table, axis=0)
    return float(np.sqrt(apart @ np.linalg.pinv((model.covariance + np.cov(table, rowvar=False)) / 2) @ apart))


@pytest.fixture(scope="module")
def good() -> list[Any]:
    return [everyday(300, 200, seed) for seed in range(40)]


@pytest.fixture(scope="module")
def own(good: list[Any]) -> PristineModel:
    return fit_pristine(good, "40 drawn pictures")


@pytest.mark.parametrize(("width", "height"), [(300, 200), (193, 97), (288, 192)])
def test_niqe_equals_a_second_writing_of_the_authors_steps(width: int, height: int) -> None:
    image = everyday(width, height, 99)
    model = PristineModel(np.full(36, 0.5), np.eye(36) / 10, "made up")
    # The two round luma's halves differently here and there, which may move a fitted shape by its step of 0.001.
    assert niqe(image, model) == pytest.approx(oracle_niqe(image, model), rel=3e-3)


def test_niqe_with_the_published_model_equals_that_writing_on_a_throat(throat: Path, shared_data: Path) -> None:
    model = read_pristine(shared_data / "weights" / "niqe_pris_params.npz")
    image = cv2.imread(str(throat / "image_original.png"))[..., ::-1]
    value = niqe(image, model)
    assert value == pytest.approx(oracle_niqe(image, model), rel=1e-6)
    assert value == pytest.approx(5.5243, abs=1e-3)  # this implementation's own value, so that it cannot drift
    blurred = np.ascontiguousarray(cv2.GaussianBlur(image, (0, 0), 2))
    assert niqe(blurred, model) > value


@pytest.mark.slow
def test_degrading_a_good_picture_raises_niqe(own: PristineModel) -> None:
    seeds = range(50, 56)
    clean = np.mean([niqe(everyday(300, 200, seed), own) for seed in seeds])
    blurred = np.mean([niqe(cv2.GaussianBlur(everyday(300, 200, seed), (0, 0), 2), own) for seed in seeds])
    assert blurred > clean


def test_a_pristine_model_survives_its_file(own: PristineModel, tmp_path: Path) -> None:
    write_pristine(own, tmp_path / "models" / "own.npz")
    again = read_pristine(tmp_path / "models" / "own.npz")
    assert np.array_equal(again.mean, own.mean)
    assert np.array_equal(again.covariance, own.covariance)
    assert again.source == own.source


@pytest.mark.parametrize("content", [b"", b"no npz", b"PK\x03\x04broken"])
def test_a_file_that_is_no_niqe_model_is_said_to_be_none(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "model.npz").write_bytes(content)
    with pytest.raises(DataError, match="is no NIQE model"):
        read_pristine(tmp_path / "model.npz")
    np.savez(tmp_path / "other.npz", mu_pris_param=np.zeros(3), cov_pris_param=np.zeros((3, 3)))
    with pytest.raises(DataError, match="wrong size"):
        read_pristine(tmp_path / "other.npz")


def test_niqe_of_a_too_small_image_is_refused_with_the_least_size() -> None:
    with pytest.raises(ImageDimensions, match="96x96"):
        block_features(phantom(150, 120, 0))


@pytest.mark.parametrize(("width", "height"), [(150, 120), (700, 64)])
def test_an_image_too_small_for_two_blocks_has_no_niqe(width: int, height: int) -> None:
    assert math.isnan(niqe(phantom(width, height, 0), PristineModel(np.zeros(36), np.eye(36), "made up")))


def test_too_few_good_images_make_no_pristine_model() -> None:
    with pytest.raises(DataError, match="sharp blocks"):
        fit_pristine([everyday(300, 200, 0)], "one")


def test_brisque_statistics_of_white_noise_are_those_of_a_gaussian() -> None:
    noise = np.random.default_rng(0).normal(128, 20, (256, 256, 1)).repeat(3, axis=2).clip(0, 255).astype(np.uint8)
    found = statistics(noise)
    assert found.shape == (36,)
    assert found[0] > 2  # at least as square as a Gaussian: the local deviation is estimated from the same pixels
    assert found[[3, 7, 11, 15]] == pytest.approx(np.zeros(4), abs=0.15)  # neighbours are nearly independent


def test_brisque_reads_the_grey_levels_of_the_authors_rgb2gray() -> None:
    image = everyday(120, 100, 3)
    grey = np.round(image @ np.array([0.298936021, 0.587043074, 0.114020904]))  # MATLAB's rgb2gray, of uint8 as uint8
    assert statistics(image) == pytest.approx(statistics(np.repeat(grey[..., None], 3, 2).astype(np.uint8)), abs=1e-9)


def test_the_published_regressor_is_read_from_libsvm_files_and_computed_as_libsvm_does(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    vectors, weights = generator.uniform(-1, 1, (5, 36)), generator.normal(0, 10, 5)
    rows = [
        " ".join([f"{weight:.17g}", *(f"{place + 1}:{value:.17g}" for place, value in enumerate(vector))])
        for weight, vector in zip(weights, vectors, strict=True)
    ]
    head = "svm_type epsilon_svr\nkernel_type rbf\ngamma 0.05\nnr_class 2\ntotal_sv 5\nrho -12.5\nSV\n"
    (tmp_path / "allmodel").write_text(head + "\n".join(rows) + "\n", encoding="ascii")
    bounds = [f"{place + 1} {-place - 1} {place + 2}" for place in range(36)]
    (tmp_path / "allrange").write_text("x\n-1 1\n" + "\n".join(bounds) + "\n", encoding="ascii")
    regressor = read_published(tmp_path)
    image = phantom(120, 100, 0)
    low, high = -np.arange(1.0, 37), np.arange(2.0, 38)
    scaled = -1 + 2 * (statistics(image) - low) / (high - low)
    kernel = [math.exp(-0.05 * float(((vector - scaled) ** 2).sum())) for vector in vectors]
    assert brisque(image, regressor) == pytest.approx(float(np.dot(weights, kernel)) + 12.5)


@pytest.mark.parametrize(
    ("model", "bounds"),
    [("", "x\n-1 1\n"), ("svm_type x\nSV\n1 1:2\n", "x\n-1 1\n" + "1 0 1\n" * 36), ("x", "y"), ("x", "x\n0 1\n")],
)
def test_files_that_are_no_brisque_model_are_refused(model: str, bounds: str, tmp_path: Path) -> None:
    (tmp_path / "allmodel").write_text(model, encoding="ascii")
    (tmp_path / "allrange").write_text(bounds, encoding="ascii")
    with pytest.raises(DataError):
        read_published(tmp_path)
    with pytest.raises(DataError, match="cannot be read"):
        read_published(tmp_path / "absent")
