"""Signal faults: blur, noise, blocks and resampling, which any picture can teach to see and to mend.

An image is (H, W, 3) float32 RGB, about [0, 1]; a fault gives one of the same shape. Lengths are in the image's own
pixels: a detail fault is what it is at any size of photo.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from service.pixels import FloatImage

SignalFault = Callable[[FloatImage, np.random.Generator], FloatImage]

SUBSAMPLINGS = (
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422,
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
)
BLOCK_PX = 8
SOFTEST_PX = 0.7
"""Deviation of the softest line that a shake leaves."""


def _float(image: NDArray[Any]) -> FloatImage:
    return np.asarray(image, np.float32)


def as_pixels(image: NDArray[Any]) -> NDArray[np.uint8]:
    """`image` in [0, 1] as uint8, clipped and rounded."""
    return np.asarray(np.clip(np.rint(image * 255), 0, 255), np.uint8)


def gaussian(image: FloatImage, sigma_px: float) -> FloatImage:
    """Blur by a Gaussian, the border mirrored."""
    return _float(cv2.GaussianBlur(image, (0, 0), sigma_px, borderType=cv2.BORDER_REFLECT_101))


def disk(image: FloatImage, radius_px: float) -> FloatImage:
    """Blur by a disk, as a lens out of focus does."""
    reach = int(np.ceil(radius_px))
    rows, columns = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    return _filtered(image, np.clip(radius_px + 0.5 - np.hypot(columns, rows), 0, 1))


def shake(image: FloatImage, rng: np.random.Generator) -> FloatImage:
    """Blur along a straight line, half of the time a soft one: the hand trembles while it moves."""
    kernel = _line(rng.uniform(2.5, 12), rng.uniform(0, np.pi))
    if rng.random() < 0.5:
        reach = int(np.ceil(4 * SOFTEST_PX))
        kernel = _float(cv2.GaussianBlur(np.pad(kernel, reach), (0, 0), rng.uniform(0.25, SOFTEST_PX)))
    return _filtered(image, kernel)


def _line(length_px: float, angle: float) -> FloatImage:
    """The kernel of a straight line of `length_px` at `angle` in radians."""
    reach = int(np.ceil(length_px / 2)) + 1
    kernel = np.zeros((2 * reach + 2, 2 * reach + 2), np.float32)
    for step in np.linspace(-(length_px - 1) / 2, (length_px - 1) / 2, 8 * reach + 1):
        column, row = reach + step * np.cos(angle), reach + step * np.sin(angle)
        left, top = int(np.floor(column)), int(np.floor(row))
        across, down = column - left, row - top
        kernel[top : top + 2, left : left + 2] += np.outer((1 - down, down), (1 - across, across))
    return kernel[:-1, :-1]


def _filtered(image: FloatImage, kernel: NDArray[Any]) -> FloatImage:
    return _float(cv2.filter2D(image, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT_101))


def blur(image: FloatImage, rng: np.random.Generator) -> FloatImage:
    """Half of it shake, the rest Gaussian, disks and boxes."""
    if rng.random() < 0.55:
        return shake(image, rng)
    kind = rng.choice(5)
    if kind < 3:
        return gaussian(image, rng.uniform(0.4, 2.6) if rng.random() < 0.85 else rng.uniform(2.6, 4))
    if kind == 3:
        return disk(image, rng.uniform(0.8, 4))
    side = int(rng.integers(1, 10)) * 2 + 1 if rng.random() < 0.8 else int(rng.integers(2, 13))
    return _float(cv2.blur(image, (side, side), borderType=cv2.BORDER_REFLECT_101))


def noise(image: FloatImage, rng: np.random.Generator, strongest: float = 0.065) -> FloatImage:
    """White noise, mostly; shot noise, blotches, grey grain and hot pixels."""
    grain, kind = rng.standard_normal(image.shape, np.float32), rng.random()
    if kind < 0.6:
        return _float(image + grain * np.float32(np.exp(rng.uniform(np.log(0.005), np.log(strongest)))))
    if kind < 0.8:
        read, shot = rng.uniform(0.002, 0.02), rng.uniform(0.003, 0.05)
        return _float(image + grain * np.sqrt(read**2 + shot**2 * np.clip(image, 0, 1)))
    if kind < 0.9:
        spread = rng.uniform(0.5, 1.1)
        blotches = _float(cv2.GaussianBlur(grain, (0, 0), spread))
        return _float(image + blotches * ((1.5 * spread + 0.5) * rng.uniform(0.005, 0.04)))
    if kind < 0.95:
        return _float(image + np.repeat(grain[..., :1], 3, 2) * rng.uniform(0.005, 0.05))
    hot = rng.random(image.shape[:2]) < rng.uniform(0.002, 0.02)
    spoilt = image.copy()
    spoilt[hot] = rng.integers(0, 2, (int(hot.sum()), 1))
    return spoilt


def jpeg(image: FloatImage, rng: np.random.Generator) -> FloatImage:
    """A JPEG file of quality 15 to 95, more often 25 to 60; one in five cut off its grid of blocks."""
    quality = int(rng.integers(15, 96) if rng.random() < 0.5 else rng.integers(25, 60))
    sampling = SUBSAMPLINGS[rng.integers(len(SUBSAMPLINGS))]
    top, left = rng.integers(0, BLOCK_PX, 2) if rng.random() < 0.2 else (0, 0)
    wide = np.pad(as_pixels(image), ((top, 0), (left, 0), (0, 0)), mode="reflect")
    options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling]
    _done, file = cv2.imencode(".jpg", np.ascontiguousarray(wide[..., ::-1]), options)
    stored = np.asarray(cv2.imdecode(file, cv2.IMREAD_COLOR), np.uint8)[top:, left:, ::-1]
    return _float(stored / np.float32(255))


def resampled(image: FloatImage, rng: np.random.Generator) -> FloatImage:
    """Taken at fewer pixels and enlarged."""
    height, width = image.shape[:2]
    factor = rng.uniform(1.15, 2.6)
    small = (max(8, int(width / factor)), max(8, int(height / factor)))
    reduced = cv2.resize(image, small, interpolation=[cv2.INTER_AREA, cv2.INTER_CUBIC][rng.integers(2)])
    return _float(
        cv2.resize(reduced, (width, height), interpolation=[cv2.INTER_CUBIC, cv2.INTER_LINEAR][rng.integers(2)])
    )


SINGLE: tuple[tuple[float, SignalFault], ...] = (
    (0.28, shake),
    (0.22, jpeg),
    (0.14, blur),
    (0.1, noise),
    (0.02, resampled),
)
"""How often a photo has this one fault alone; `CLEAN` has none, and the rest a mixture."""
CLEAN = 0.06


def signal_faults(image: FloatImage, rng: np.random.Generator) -> FloatImage:
    """One fault alone three times in four, at times none, else lens, sensor and file in their order."""
    kind = rng.random() - CLEAN
    if kind < 0:
        return image
    for share, fault in SINGLE:
        if kind < share:
            return fault(image, rng)
        kind -= share
    if rng.random() < 0.65:
        image = blur(image, rng) if rng.random() < 0.8 else resampled(image, rng)
    if rng.random() < 0.6:
        image = noise(_float(np.clip(image, 0, 1)), rng, 0.05)
    if rng.random() < 0.5:
        image = jpeg(image, rng)
    return image
