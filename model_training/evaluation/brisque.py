"""BRISQUE: distortion read off an image's statistics by a regressor; lower is better.

The published regressor (a support vector machine fitted to the LIVE database's opinions) is not ours to ship; it is
read from the authors' two files where the user has them. Without them there is no BRISQUE.

Source: Mittal, Moorthy, Bovik, "No-Reference Image Quality Assessment in the Spatial Domain", IEEE TIP 21 (2012).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.special import gamma

from model_training.evaluation.natural_scene import (
    FEATURES,
    NEIGHBOURS,
    RATIOS,
    SHAPES,
    Floats,
    halved,
    normalised,
)
from service.errors import DataError, ImageDimensions
from service.quality.pyramid import Image

LEAST_SIDE_PX = 32
MODEL_FILE, RANGE_FILE = "allmodel", "allrange"
"""Names of the authors' files: a libsvm model and a libsvm range file."""

RGB2GRAY = (0.298936, 0.587043, 0.114021)
"""Weights of R, G, B: ITU-R BT.601 as MATLAB's `rgb2gray` has them, which the authors' code calls."""


def brisque(image: Image, regressor: PublishedRegressor) -> float:
    """BRISQUE of (H, W, 3) uint8 RGB by `regressor`; lower is better.

    Raises:
        ImageDimensions: a side is under 32 px.
    """
    return regressor.predict(statistics(image))


def statistics(image: Image) -> Floats:
    """(36,) float64: shapes and spreads of the whole image at full and at half size.

    Raises:
        ImageDimensions: a side is under 32 px.
    """
    if min(image.shape[:2]) < LEAST_SIDE_PX:
        raise ImageDimensions(
            f"BRISQUE needs {LEAST_SIDE_PX} px on each side; the image has {image.shape[1]}x{image.shape[0]} px."
        )
    grey = np.round(image.astype(np.float64) @ np.array(RGB2GRAY))
    return np.concatenate([_at_one_size(normalised(plane)) for plane in (grey, halved(grey))])


def _at_one_size(plane: Floats) -> Floats:
    """(18,) numbers of a normalised plane: shape and variance, then shape, mean and two variances a neighbour."""
    energy = float(np.mean(np.square(plane)))
    found = [_shape(float(np.mean(np.abs(plane)) ** 2) / max(energy, 1e-12)), energy]
    for shift in NEIGHBOURS:
        product = plane * np.roll(plane, shift, axis=(0, 1))
        below, above = (_mean_square(product[side]) for side in (product < 0, product > 0))
        lean = np.sqrt(below / max(above, 1e-12))
        ratio = float(np.mean(np.abs(product)) ** 2 / max(float(np.mean(np.square(product))), 1e-12))
        shape = _shape(ratio * (lean**3 + 1) * (lean + 1) / (lean**2 + 1) ** 2)
        scale = np.sqrt(gamma(1 / shape) / gamma(3 / shape)) * gamma(2 / shape) / gamma(1 / shape)
        found += [shape, float((np.sqrt(above) - np.sqrt(below)) * scale), below, above]
    return np.array(found)


def _mean_square(values: Floats) -> float:
    return float(np.mean(np.square(values))) if values.size else 0.0


def _shape(ratio: float) -> float:
    return float(SHAPES[np.argmin(np.square(RATIOS - ratio))])


@dataclass(frozen=True, slots=True)
class PublishedRegressor:
    """The authors' support vector regression with a radial kernel.

    Attributes:
        vectors: (N, 36) support vectors in scaled statistics.
        weights: (N,) their coefficients.
        width: gamma of the kernel.
        offset: rho.
        low: (36,) statistic that scales to -1.
        high: (36,) statistic that scales to 1.
        name: what tables call it.
    """

    vectors: Floats
    weights: Floats
    width: float
    offset: float
    low: Floats
    high: Floats
    name: str = "BRISQUE (published)"

    def predict(self, statistics: Floats) -> float:
        """The score, about 0 (pristine) to 100."""
        scaled = 2 * (statistics - self.low) / (self.high - self.low) - 1
        distances = np.square(self.vectors - scaled).sum(axis=1)
        return float(self.weights @ np.exp(-self.width * distances) - self.offset)


def read_published(folder: Path) -> PublishedRegressor:
    """The published regressor from `allmodel` and `allrange` in `folder`.

    Raises:
        DataError: a file is absent or is not what it should be.
    """
    low, high = _read_range(folder / RANGE_FILE)
    header, vectors, weights = _read_model(folder / MODEL_FILE)
    try:
        width, offset = float(header["gamma"]), float(header["rho"])
    except (KeyError, ValueError) as error:
        raise DataError(f"{folder / MODEL_FILE} is not a libsvm model with a radial kernel.") from error
    return PublishedRegressor(vectors, weights, width, offset, low, high)


def _read_model(path: Path) -> tuple[dict[str, str], Floats, Floats]:
    """Header, support vectors (N, 36) and coefficients (N,) of a libsvm text model."""
    head, separator, body = _text(path).partition("\nSV\n")
    header = dict(line.split(maxsplit=1) for line in head.splitlines() if " " in line)
    rows = [line.split() for line in body.splitlines() if line.strip()]
    if not separator or not rows or header.get("kernel_type") != "rbf":
        raise DataError(f"{path} is not a libsvm model with a radial kernel.")
    vectors = np.zeros((len(rows), 2 * FEATURES))
    try:
        for place, row in enumerate(rows):
            for entry in row[1:]:
                index, value = entry.split(":")
                vectors[place, int(index) - 1] = float(value)
        return header, vectors, np.array([float(row[0]) for row in rows])
    except (ValueError, IndexError) as error:
        raise DataError(f"{path} is not a libsvm model of {2 * FEATURES} statistics.") from error


def _read_range(path: Path) -> tuple[Floats, Floats]:
    """Least and greatest value of each statistic from a libsvm range file that scales to [-1, 1]."""
    lines = [line.split() for line in _text(path).splitlines() if line.strip()]
    try:
        if lines[0] != ["x"] or [float(value) for value in lines[1]] != [-1.0, 1.0]:
            raise DataError(f"{path} is not a libsvm range file that scales to -1 .. 1.")
        table = np.array([[float(value) for value in line] for line in lines[2:]])
    except (IndexError, ValueError) as error:
        raise DataError(f"{path} is not a libsvm range file.") from error
    if table.shape != (2 * FEATURES, 3):
        raise DataError(f"{path} has other statistics than BRISQUE's {2 * FEATURES}.")
    return table[:, 1], table[:, 2]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").replace("\r\n", "\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path} cannot be read; BRISQUE's published files are {MODEL_FILE} and {RANGE_FILE}."
        ) from error
