"""What is done to images on purpose: the paper's blurs and warps, and faults planted in structure.

Convention: images are (H, W, 3) uint8 RGB and come back so; sizes are pixels of the image given; every random
choice comes from the generator handed in.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from service.quality.pyramid import Image

BLUR_SIZES_PX = {"L": 9, "M": 13, "H": 17}
"""Box blur widths by intensity. Source: the paper, table I."""

WARP_ALPHAS = {"L": 15.0, "M": 25.0, "H": 35.0}
"""Elastic strengths by intensity. Source: the paper, table I."""

WARP_SIGMA_PX = 2.0
"""Smoothness of the elastic field. Source: the paper, section III."""


def box_blur(image: Image, size_px: int) -> Image:
    """`image` averaged over squares of `size_px` (odd)."""
    return cv2.blur(image, (size_px, size_px))


def warp(image: Image, alpha: float, generator: np.random.Generator) -> Image:
    """`image` bent by a random smooth field: uniform in [-1, 1], Gaussian of sigma 2 px, times `alpha`.

    Sampled bilinearly with reflected borders.
    """
    height, width = image.shape[:2]
    shift_x, shift_y = (_smooth_noise(height, width, generator) * alpha for _ in range(2))
    columns, rows = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    return cv2.remap(image, columns + shift_x, rows + shift_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)


def _smooth_noise(height: int, width: int, generator: np.random.Generator) -> NDArray[np.float32]:
    """(H, W) float32, uniform noise smoothed; the kernel ends at four sigma, as SciPy's does."""
    noise = generator.uniform(-1.0, 1.0, (height, width)).astype(np.float32)
    kernel_px = 2 * round(4 * WARP_SIGMA_PX) + 1
    size = (kernel_px, kernel_px)
    smooth = cv2.GaussianBlur(noise, size, WARP_SIGMA_PX, borderType=cv2.BORDER_REFLECT)
    return np.asarray(smooth, np.float32)
