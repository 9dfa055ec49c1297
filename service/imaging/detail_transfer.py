"""Carries what the generator did to the working image over to the full-size photo, keeping the photo's fine detail.

Round each working pixel the change is taken as an affine function of the pixel, `change = gain * value + offset`,
fitted by least squares over a small window as in the guided filter; what the fit leaves unexplained joins the offset.
Gain and offset vary slowly, so they can be interpolated to full size and applied to the photo's own pixels: contrast
that was raised raises detail finer than the working image too. No change fits with gain and offset exactly 0, so a
generator that returns its input returns the photo, bit for bit.

Source: K. He, J. Sun, "Fast Guided Filter" (arXiv 1505.00996). Departures: the fit is of the change, not of the output,
so that the regularisation pulls towards the photo and not towards flatness; each channel guides itself; the remainder
is kept. Measured against its alternatives in benchmarks/transfer.py; see docs/decisions.md.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Plane = NDArray[np.float32]

RADIUS = 1
"""Windows are 3x3 working pixels: the smallest that a line can be fitted to, and measured best."""

NOISE_VARIANCE = 2.0
"""Variance, in squared grey levels, below which a window's contrast is taken for noise and not scaled."""

GAIN_RANGE = (-0.95, 2.0)
"""Detail is never inverted, and never more than tripled, whatever the fit says."""

_STRIP_ROWS = 16


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
    """Gain and offset, each (h, w, 3) float32, with `enhanced - working = gain * working + offset` at every pixel."""
    value = working.astype(np.float32)
    change = enhanced.astype(np.float32) - value
    mean_value, mean_change = _window_mean(value), _window_mean(change)
    covariance = _window_mean(value * change) - mean_value * mean_change
    variance = _window_mean(value * value) - mean_value * mean_value
    gain = _window_mean(np.clip(covariance / (np.maximum(variance, 0) + NOISE_VARIANCE), *GAIN_RANGE))
    return gain, change - gain * value


def apply_change(photo: Pixels, gain: Plane, offset: Plane) -> Pixels:
    """`photo + gain * photo + offset` with both interpolated to the photo's size, rounded and clipped.

    Works through strips of rows that stay in the processor's cache; only the result is held at full size.
    """
    height, width = photo.shape[:2]
    wide_gain, wide_offset = _Widened(gain, width), _Widened(offset, width)
    result = np.empty_like(photo)
    for top in range(0, height, _STRIP_ROWS):
        rows = slice(top, min(height, top + _STRIP_ROWS))
        above, share = _rows_between(rows, len(gain) / height, len(gain))
        strip = photo[rows].reshape(len(above), -1)
        change = cv2.multiply(strip, wide_gain.rows(above, share), dtype=cv2.CV_32F)
        cv2.add(change, wide_offset.rows(above, share), change)
        cv2.add(change, strip, result[rows].reshape(len(above), -1), dtype=cv2.CV_8U)
    return result


def _window_mean(plane: Plane) -> Plane:
    side = 2 * RADIUS + 1
    return cv2.blur(plane, (side, side), borderType=cv2.BORDER_REFLECT_101).astype(np.float32, copy=False)


class _Widened:
    """A plane stretched to full width, its rows still to be interpolated.

    Not a matrix product: BLAS would wake its threads for each strip, and wait for them where cores are shared.
    """

    def __init__(self, plane: Plane, width: int) -> None:
        wide = cv2.resize(plane, (width, len(plane)), interpolation=cv2.INTER_LINEAR)
        self._rows = wide.reshape(len(plane), -1)
        self._steps = np.diff(self._rows, axis=0, append=self._rows[-1:])

    def rows(self, above: NDArray[np.intp], share: Plane) -> Plane:
        """Rows `share` of the way from the source rows `above` to those that follow them."""
        between: Plane = self._steps[above]
        between *= share
        between += self._rows[above]
        return between


def _rows_between(rows: slice, scale: float, source_height: int) -> tuple[NDArray[np.intp], Plane]:
    """For full-size rows, the source row above each, and how far the way to the next one, (n, 1) in [0, 1).

    Pixel centres are aligned as in `cv2.resize`: row y lies at (y + 0.5) * scale - 0.5, clamped at the border.
    """
    centres = ((np.arange(rows.start, rows.stop) + 0.5) * scale - 0.5).clip(0, source_height - 1)
    above = centres.astype(np.intp)
    return above, (centres - above).astype(np.float32)[:, None]
