"""Carries what the generator did to the working image over to the full-size photo, keeping the photo's fine detail.

Round each working pixel the change is taken as an affine function of the pixel, `change = gain * value + offset`,
fitted by least squares over a small window as in the guided filter; what the fit leaves unexplained joins the offset.
Gain and offset vary slowly, so they can be interpolated to full size and applied to the photo's own pixels: contrast
that was raised raises detail finer than the working image too. No change fits with gain and offset exactly 0, so a
generator that returns its input returns the photo, bit for bit.

Source: K. He, J. Sun, "Fast Guided Filter" (arXiv 1505.00996). Departures: the fit is of the change, not of the output,
so that the regularisation pulls towards the photo and not towards flatness; each channel guides itself; the remainder
is kept. Measured against its alternatives in benchmarks/transfer.py; see decision 0014.
"""

from __future__ import annotations

import cv2
import numpy as np

from service.pixels import Pixels, Plane
from service.resample import most_rows, row_blocks, widened

RADIUS = 1
"""Windows are 3x3 working pixels: the smallest that a line can be fitted to, and measured best."""

NOISE_VARIANCE = 2.0
"""Variance, in squared grey levels, below which a window's contrast is taken for noise and not scaled."""

STRIP_ROWS = 48
"""Few enough for the cache, many enough that the rows about a strip cost little."""

GAIN_RANGE = (-0.95, 2.0)
"""Detail is never inverted, and never more than tripled, whatever the fit says."""


def transfer(photo: Pixels, working: Pixels, enhanced: Pixels) -> Pixels:
    """`photo` at full size with the change from `working` to `enhanced`, its own fine detail kept.

    Args:
        photo: (H, W, 3) uint8 RGB.
        working: (h, w, 3) uint8 RGB, `photo` shrunk.
        enhanced: (h, w, 3) uint8 RGB, what the generator made of `working`.

    Returns:
        (H, W, 3) uint8 RGB; `enhanced` itself where the sizes agree.
    """
    if working.shape == photo.shape:
        return enhanced
    return apply_change(photo, *fit_change(working, enhanced))


def fit_change(working: Pixels, enhanced: Pixels) -> tuple[Plane, Plane]:
    """Gain and offset, each (h, w, 3) float32, with `enhanced - working = gain * working + offset` at every pixel.

    Works through strips of rows that stay in the processor's cache, each with the rows about it that its windows reach.
    """
    gain, offset = (np.empty(working.shape, np.float32) for _ in range(2))
    height = len(working)
    for top in range(0, height, STRIP_ROWS):
        bottom = min(height, top + STRIP_ROWS)
        first, last = max(0, top - 2 * RADIUS), min(height, bottom + 2 * RADIUS)
        fitted = _fit_strip(working[first:last], enhanced[first:last])
        inner = slice(top - first, bottom - first)
        gain[top:bottom], offset[top:bottom] = (plane[inner] for plane in fitted)
    return gain, offset


def _fit_strip(working: Pixels, enhanced: Pixels) -> tuple[Plane, Plane]:
    """`fit_change` of a few rows; those within two windows of an end that is not the image's own are wrong."""
    value = working.astype(np.float32)
    change = enhanced.astype(np.float32)
    change -= value
    mean_value, mean_change = _window_mean(value), _window_mean(change)
    covariance, variance = _window_mean(value * change), _window_mean(value * value)
    mean_change *= mean_value
    covariance -= mean_change
    mean_value *= mean_value
    variance -= mean_value
    np.maximum(variance, 0, out=variance)
    variance += np.float32(NOISE_VARIANCE)
    covariance /= variance
    np.clip(covariance, *GAIN_RANGE, out=covariance)
    gain = _window_mean(covariance)
    value *= gain
    change -= value
    return gain, change


def apply_change(photo: Pixels, gain: Plane, offset: Plane) -> Pixels:
    """`photo + gain * photo + offset` with both interpolated to the photo's size, rounded and clipped.

    Works through blocks of rows that stay in the processor's cache; only the result is held at full size.
    """
    height, width = photo.shape[:2]
    factor, summand = widened(gain + np.float32(1), width), widened(offset, width)
    blocks = row_blocks(len(gain), height)
    factors, summands = np.empty((2, most_rows(blocks), factor.shape[1]), np.float32)
    result = np.empty(photo.shape, np.uint8)
    for block in blocks:
        rows = photo[block.rows].reshape(-1, factor.shape[1])
        product = cv2.multiply(rows, block.interpolate(factor, factors), dtype=cv2.CV_32F)
        cv2.add(product, block.interpolate(summand, summands), result[block.rows].reshape(rows.shape), dtype=cv2.CV_8U)
    return result


def _window_mean(plane: Plane) -> Plane:
    side = 2 * RADIUS + 1
    return cv2.blur(plane, (side, side), borderType=cv2.BORDER_REFLECT_101).astype(np.float32, copy=False)
