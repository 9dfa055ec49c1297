"""How good a photo is before anything is done to it: tells a new camera or a dirty lens from a worse model."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from service.quality.lassim import to_canonical


@dataclass(frozen=True, slots=True)
class InputQuality:
    """A photo at the canonical scale.

    Attributes:
        sharpness: mean absolute Laplacian (4 neighbours) of luminance, grey levels.
        exposure: mean luminance, 0 to 1.
        contrast: standard deviation of luminance, 0 to 1.
    """

    sharpness: float
    exposure: float
    contrast: float


def input_quality(photo: NDArray[np.uint8]) -> InputQuality:
    """Measure `photo`, (H, W, 3) uint8 RGB."""
    luminance = cv2.cvtColor(to_canonical(photo), cv2.COLOR_RGB2GRAY)
    mean, deviation = cv2.meanStdDev(luminance)
    laplacian = cv2.Laplacian(luminance, cv2.CV_16S)
    size = laplacian.size
    return InputQuality(
        sharpness=float(cv2.norm(laplacian, cv2.NORM_L1)) / size,
        exposure=float(mean[0, 0]) / 255,
        contrast=float(deviation[0, 0]) / 255,
    )
