"""Natural scene statistics: what the no-reference measures NIQE and BRISQUE read off an image.

Luminance is normalised by its local mean and deviation; an undistorted photo then has nearly Gaussian values and
neighbour products of a known shape, and each distortion bends those shapes in its own way. Generalised Gaussians
are fitted to them at full and at half size: 36 numbers.

Source: Mittal, Soundararajan, Bovik, "Making a Completely Blind Image Quality Analyzer", IEEE SPL 20 (2013);
Mittal, Moorthy, Bovik, "No-Reference Image Quality Assessment in the Spatial Domain", IEEE TIP 21 (2012);
details as BasicSR's niqe.py (Apache-2.0) has them, which follows the authors' MATLAB.
"""

from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.ndimage import correlate1d
from scipy.special import gamma

from service.quality.pyramid import Image

Floats: TypeAlias = npt.NDArray[np.float64]

FEATURES = 18
"""Numbers an image or block has at one size."""

_WINDOW_RADIUS, _WINDOW_SIGMA = 3, 7 / 6
"""The 7x7 Gaussian of the local mean and deviation."""

SHAPES = np.arange(0.2, 10.001, 0.001)
"""Shape parameters tried, as in the authors' code."""

RATIOS = np.square(gamma(2 / SHAPES)) / (gamma(1 / SHAPES) * gamma(3 / SHAPES))
"""E|x|^2 / E x^2 of a generalised Gaussian of each shape; rises with the shape."""

NEIGHBOURS = ((0, 1), (1, 0), (1, 1), (1, -1))
"""Right, below, and the two diagonals, as (rows, columns)."""

_HALVING = np.array([-3.0, -9.0, 29.0, 111.0, 111.0, 29.0, -9.0, -3.0]) / 256
"""MATLAB's imresize by one half: the cubic of a = -0.5, stretched twofold against aliasing."""


class AsymmetricGaussian(NamedTuple):
    """An asymmetric generalised Gaussian: shape, and deviations left and right of zero."""

    shape: float
    left: float
    right: float


def luma(image: Image) -> Floats:
    """ITU-R BT.601 luma of (H, W, 3) uint8 RGB in whole grey levels 16..235, as (H, W) float64."""
    weights = np.array([65.481, 128.553, 24.966]) / 255
    return np.asarray(np.round(image.astype(np.float64) @ weights + 16))


def normalised(plane: Floats) -> Floats:
    """(H, W) luminance less its local mean, over its local deviation plus one grey level."""
    mean, deviation = local_moments(plane)
    return np.asarray((plane - mean) / (deviation + 1))


def local_moments(plane: Floats) -> tuple[Floats, Floats]:
    """Local mean and deviation of (H, W) luminance under the 7x7 Gaussian."""
    offsets = np.arange(-_WINDOW_RADIUS, _WINDOW_RADIUS + 1)
    window = np.exp(-np.square(offsets / _WINDOW_SIGMA) / 2)
    window /= window.sum()
    mean = _separable(plane, window)
    return mean, np.sqrt(np.abs(_separable(np.square(plane), window) - np.square(mean)))


def halved(plane: Floats) -> Floats:
    """(H, W) resized by one half as MATLAB's imresize does, with mirrored borders."""
    smooth = correlate1d(plane, _HALVING, axis=0, mode="reflect", origin=-1)[::2]
    return np.asarray(correlate1d(smooth, _HALVING, axis=1, mode="reflect", origin=-1)[:, ::2])


def features(block: Floats) -> Floats:
    """(18,) numbers of a normalised (h, w) block: its own shape and spread, then four of each neighbour product."""
    own = fit_asymmetric(block)
    found = [own.shape, (own.left + own.right) / 2]
    for shift in NEIGHBOURS:
        product = fit_asymmetric(block * np.roll(block, shift, axis=(0, 1)))
        mean = (product.right - product.left) * float(gamma(2 / product.shape) / gamma(1 / product.shape))
        found += [product.shape, mean, product.left, product.right]
    return np.array(found)


def fit_asymmetric(values: npt.NDArray[Any]) -> AsymmetricGaussian:
    """Moment fit of an asymmetric generalised Gaussian; left and right are its beta parameters, nan if one-sided."""
    below, above = values[values < 0], values[values > 0]
    if below.size == 0 or above.size == 0:
        return AsymmetricGaussian(float("nan"), float("nan"), float("nan"))
    left, right = float(np.sqrt(np.mean(below**2))), float(np.sqrt(np.mean(above**2)))
    lean = left / right
    ratio = float(np.mean(np.abs(values)) ** 2 / np.mean(values**2))
    ratio *= (lean**3 + 1) * (lean + 1) / (lean**2 + 1) ** 2
    shape = float(SHAPES[np.argmin(np.square(RATIOS - ratio))])
    scale = float(np.sqrt(gamma(1 / shape) / gamma(3 / shape)))
    return AsymmetricGaussian(shape, left * scale, right * scale)


def _separable(plane: Floats, window: Floats) -> Floats:
    down = correlate1d(plane, window, axis=0, mode="nearest")
    return np.asarray(correlate1d(down, window, axis=1, mode="nearest"))
