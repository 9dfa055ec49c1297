"""One-line filters: what anybody can do without a model, chosen photo by photo with the truth in hand.

The choice is a privilege that no model has. A model that is still behind is not worth its megabytes there.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from model_training.evaluation.classical import Enhance, clahe, dark_channel_prior
from model_training.evaluation.faults.kinds import Fault
from model_training.evaluation.psnr import psnr
from service.quality.pyramid import Image

STRETCH_PERCENTILES = (1, 99)
"""What a stretch takes for black and for white; the extremes would be at the mercy of a single pixel."""


class Best(NamedTuple):
    """The filter that came closest to the truth, and how close, in dB."""

    name: str
    psnr_db: float


def best_filter(degraded: Image, clean: Image, fault: Fault) -> Best:
    """The best of the filters for this very photo, judged by the `clean` one.

    Non-local means is left out where `fault` leaves no grain: there it can only lose, slowly.
    """
    filters = FILTERS | (DENOISERS if fault.grainy else {})
    return max((Best(name, psnr(apply(degraded), clean)) for name, apply in filters.items()), key=lambda b: b.psnr_db)


def unsharp_mask(sigma_px: float, amount: float) -> Enhance:
    """Add `amount` times what a Gaussian of `sigma_px` would blur away."""

    def apply(image: Image) -> Image:
        blurred = cv2.GaussianBlur(image, (0, 0), sigma_px)
        return np.asarray(cv2.addWeighted(image, 1 + amount, blurred, -amount, 0), np.uint8)

    return apply


def bilateral(deviation: float) -> Enhance:
    """Bilateral filter over 7x7 px for noise of about `deviation` / 3 grey levels."""
    return lambda image: np.asarray(cv2.bilateralFilter(image, 7, deviation, deviation / 8 + 1), np.uint8)


def non_local_means(strength: float) -> Enhance:
    """OpenCV's non-local means in luminance and colour: 5x5 px patches over 11x11 px."""
    return lambda image: np.asarray(cv2.fastNlMeansDenoisingColored(image, None, strength, strength, 5, 11), np.uint8)


def median(image: Image) -> Image:
    """Median of 3x3 px."""
    return np.asarray(cv2.medianBlur(image, 3), np.uint8)


def gaussian(image: Image) -> Image:
    """A Gaussian of 0.8 px."""
    return np.asarray(cv2.GaussianBlur(image, (0, 0), 0.8), np.uint8)


def contrast_stretch(image: Image) -> Image:
    """Percentiles 1 and 99 of all values to black and white."""
    return _stretched(image)


def channel_stretch(image: Image) -> Image:
    """Percentiles 1 and 99 of each channel to black and white."""
    return np.stack([_stretched(image[..., channel]) for channel in range(3)], axis=2)


def gamma(exponent: float) -> Enhance:
    """Values in [0, 1] to the power of `exponent`."""
    table = np.rint(255 * (np.arange(256) / 255) ** exponent).astype(np.uint8)
    return lambda image: table[image]


def _stretched(values: Image) -> Image:
    low, high = np.percentile(values, STRETCH_PERCENTILES)
    stretched = (values.astype(np.float32) - low) * (255 / max(high - low, 1))
    return np.asarray(np.clip(np.rint(stretched), 0, 255), np.uint8)


FILTERS: dict[str, Enhance] = {
    **{f"unsharp mask {s} px x {a}": unsharp_mask(s, a) for s in (1.0, 1.5, 2.0) for a in (0.5, 1.0, 1.5)},
    **{f"bilateral {deviation}": bilateral(deviation) for deviation in (15, 30, 50)},
    "median": median,
    "Gaussian": gaussian,
    "CLAHE": clahe,
    "contrast stretch": contrast_stretch,
    "channel stretch": channel_stretch,
    "gamma 0.6": gamma(0.6),
    "gamma 0.8": gamma(0.8),
    "dark channel": dark_channel_prior,
}
"""The filters that every fault is tried with."""

DENOISERS: dict[str, Enhance] = {f"non-local means {h}": non_local_means(h) for h in (4, 8)}
"""Those only tried against grain and blocks: each takes longer than all others together."""
