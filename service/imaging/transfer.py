"""Carries what the generator did to the working image over to the full-size photo."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]


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
    height, width = photo.shape[:2]
    change = cv2.subtract(enhanced, working, dtype=cv2.CV_16S)
    return cv2.add(photo, cv2.resize(change, (width, height)), dtype=cv2.CV_8U).astype(np.uint8, copy=False)
