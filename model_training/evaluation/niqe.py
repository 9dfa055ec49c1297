"""NIQE and BRISQUE: how natural an image looks, without anything to compare it with. Lower is better in both.

NIQE measures how far an image's statistics lie from those of pristine ones: with the published model (a file the
user has) its values compare with the literature's; with a model fitted on our own clean images they say how far an
image is from those. BRISQUE needs a regressor from the same kind of statistics to opinion scores.
"""

import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from model_training.evaluation.natural_scene import FEATURES, Floats, features, halved, local_moments, luma, normalised
from service.errors import DataError, ImageDimensions
from service.quality.pyramid import Image

BLOCK_PX = 96
"""Side of NIQE's blocks. Source: the authors' code."""

SHARP_SHARE = 0.75
"""Only blocks with at least this share of the image's highest block sharpness describe what is pristine."""

LEAST_BLOCKS = 4 * 2 * FEATURES
"""Sharp blocks that a covariance of 36 statistics needs to be more than an accident."""


@dataclass(frozen=True, slots=True)
class PristineModel:
    """Statistics of pristine blocks.

    Attributes:
        mean: (36,) float64.
        covariance: (36, 36) float64.
        source: in words, what it was fitted on.
    """

    mean: Floats
    covariance: Floats
    source: str


def niqe(image: Image, params: PristineModel) -> float:
    """NIQE of (H, W, 3) uint8 RGB: distance of its block statistics from the pristine ones; lower is better.

    An image with fewer than two usable blocks of 96x96 px has none: nan.
    """
    try:
        blocks = block_features(image)
    except ImageDimensions:
        return float("nan")
    whole = blocks[~np.isnan(blocks).any(axis=1)]
    if len(whole) < 2:
        return float("nan")
    middle = (params.covariance + np.cov(whole, rowvar=False)) / 2
    apart = params.mean - np.nanmean(blocks, axis=0)
    return float(np.sqrt(apart @ np.linalg.pinv(middle) @ apart))


def block_features(image: Image) -> Floats:
    """(N, 36) float64: the statistics of each 96x96 block at full and half size.

    Raises:
        ImageDimensions: the image holds fewer than two blocks.
    """
    return _features_and_sharpness(image)[0]


def require_blocks(image: Image) -> None:
    """Refuses an image that NIQE cannot be taken of.

    Raises:
        ImageDimensions: it holds fewer than two blocks.
    """
    height, width = image.shape[:2]
    if (height // BLOCK_PX) * (width // BLOCK_PX) < 2:
        raise ImageDimensions(
            f"NIQE needs at least two blocks of {BLOCK_PX}x{BLOCK_PX} px; the image has {width}x{height} px.",
            limit=2 * BLOCK_PX,
        )


def _features_and_sharpness(image: Image) -> tuple[Floats, Floats]:
    require_blocks(image)
    rows, columns = image.shape[0] // BLOCK_PX, image.shape[1] // BLOCK_PX
    full = luma(image)[: rows * BLOCK_PX, : columns * BLOCK_PX]
    half = halved(full / 255) * 255
    parts = [
        np.array([features(block) for block in _blocks(normalised(plane), side)])
        for plane, side in ((full, BLOCK_PX), (half, BLOCK_PX // 2))
    ]
    deviation = local_moments(full)[1]
    return np.concatenate(parts, axis=1), np.array([block.mean() for block in _blocks(deviation, BLOCK_PX)])


def _blocks(plane: Floats, side: int) -> list[Floats]:
    height, width = plane.shape
    return [
        plane[top : top + side, left : left + side] for left in range(0, width, side) for top in range(0, height, side)
    ]


def fit_pristine(images: Iterable[Image], source: str) -> PristineModel:
    """A pristine model from good `images`: the mean and covariance of their sharp blocks.

    Blocks overlap by half (the authors' do not): a few dozen photos must give enough of them.

    Raises:
        DataError: fewer sharp blocks than `LEAST_BLOCKS`.
        ImageDimensions: an image is too small.
    """
    found = [_sharp_blocks(image[top:, left:]) for image in images for top, left in _offsets(image)]
    sharp = np.concatenate(found) if found else np.empty((0, 2 * FEATURES))
    if len(sharp) < LEAST_BLOCKS:
        raise DataError(f"A pristine model needs {LEAST_BLOCKS} sharp blocks; these images have {len(sharp)}.")
    return PristineModel(sharp.mean(axis=0), np.cov(sharp, rowvar=False), source)


def _offsets(image: Image) -> list[tuple[int, int]]:
    """(top, left) of the block grids, shifted by half a block where two blocks still fit."""
    step = BLOCK_PX // 2
    shifts = [(top, left) for top in (0, step) for left in (0, step)]
    height, width = image.shape[:2]
    fits = [((height - top) // BLOCK_PX) * ((width - left) // BLOCK_PX) >= 2 for top, left in shifts]
    return [shift for shift, fit in zip(shifts, fits, strict=True) if fit or shift == (0, 0)]


def _sharp_blocks(image: Image) -> Floats:
    blocks, sharpness = _features_and_sharpness(image)
    return np.asarray(blocks[(sharpness > SHARP_SHARE * sharpness.max()) & ~np.isnan(blocks).any(axis=1)])


def read_pristine(path: Path) -> PristineModel:
    """The pristine model in an npz with `mu_pris_param` and `cov_pris_param`, as BasicSR ships it.

    Raises:
        DataError: the file is absent or is not such a model.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            mean = np.asarray(stored["mu_pris_param"], np.float64).reshape(-1)
            covariance = np.asarray(stored["cov_pris_param"], np.float64)
            source = str(stored["source"]) if "source" in stored else "published"
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is no NIQE model: it must be an npz with mu_pris_param and cov_pris_param.") from error
    if mean.shape != (2 * FEATURES,) or covariance.shape != (2 * FEATURES, 2 * FEATURES):
        raise DataError(f"{path} is no NIQE model: its statistics have the wrong size.")
    return PristineModel(mean, covariance, source)


def write_pristine(model: PristineModel, path: Path) -> None:
    """Write `model` so that `read_pristine` and BasicSR can read it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        np.savez(
            file,
            mu_pris_param=model.mean.reshape(1, -1),
            cov_pris_param=model.covariance,
            source=np.array(model.source),
        )
