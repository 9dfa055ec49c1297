"""The Laplacian pyramid of LaSSIM: luminance, OpenCV's pyrDown and pyrUp, and the residual of one level.

Convention: levels count from 0; level 0 has the image's own size and each further one `(n + 1) // 2`.
`LP_l = G_l - pyrUp(G_{l+1})`. OpenCV's `pyrUp` has an asymmetric border (left and top reflect-101, right and bottom
replicate); that is part of the definition.

Source: Cap, Fukuda, Iyatomi, arXiv 2304.01864, eq. 1, and the authors' code (skimage's rgb2gray, cv2's pyramids).
"""

from __future__ import annotations

import threading
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from service.errors import ImageDimensions, InvalidParameter, LevelUnavailable

Float64 = npt.NDArray[np.float64]
Image = npt.NDArray[Any]

LUMINANCE = (0.2125, 0.7154, 0.0721)
"""Weights of R, G, B: ITU-R BT.709 as skimage's `rgb2gray` has them."""

_WHOLE_LUMINANCE = (2125, 7154, 721)
"""The same times 10,000: whole numbers keep uint8 images exact."""

_WEIGHTS = np.asarray([_WHOLE_LUMINANCE], np.float64)
_WEIGHTS_32 = _WEIGHTS.astype(np.float32)

WINDOW = 7
"""Side of SSIM's window in pixels; a residual must hold at least one."""

_DEEPEST = 24
_CHUNK_PIXELS = 32_768
_SCRATCH_PIXELS = 480 * 480


class _Scratch(threading.local):
    """Memory of one thread, for images up to the canonical scale: fresh pages cost more than the arithmetic on them.

    Attributes:
        colours: (1, n, 3) float32, a chunk of an image; always finite.
        plane: (n,) float64, room for level 0.
        half: (n / 2,) float64, room for level 1.
    """

    def __init__(self) -> None:
        self.colours = np.zeros((1, _CHUNK_PIXELS, 3), np.float32)
        self.plane = np.empty(_SCRATCH_PIXELS)
        self.half = np.empty(_SCRATCH_PIXELS // 2)


_scratch = _Scratch()


def level_shape(height: int, width: int, level: int) -> tuple[int, int]:
    """Height and width of the pyramid's `level` for an image of `height` by `width`."""
    for _ in range(level):
        height, width = (height + 1) // 2, (width + 1) // 2
    return height, width


def least_side(level: int) -> int:
    """The shortest side, in pixels, whose residual at `level` still holds one window: 49 at level 3."""
    side = WINDOW
    for _ in range(level):
        side = 2 * side - 1
    return side


def check_image(image: Image, name: str = "image") -> None:
    """Refuse anything but (H, W, 3) uint8, or float in [0, 1].

    Raises:
        InvalidParameter: wrong shape or dtype, or floats that are not finite or outside [0, 1].
    """
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise InvalidParameter(f"The {name} must have the shape (H, W, 3), not {image.shape}.")
    if image.dtype == np.uint8:
        return
    if not np.issubdtype(image.dtype, np.floating):
        raise InvalidParameter(f"The {name} must be uint8, or float in [0, 1], not {image.dtype}.")
    low, high = float(image.min()), float(image.max())
    if not (low >= 0.0 and high <= 1.0):
        raise InvalidParameter(f"The {name} has values outside [0, 1]: {low:.4g} to {high:.4g}.")


def check_pair(output: Image, input: Image) -> None:
    """Refuse a pair that is not two images of one size.

    Raises:
        InvalidParameter: one of them is not an image.
        ImageDimensions: their sizes differ; says both.
    """
    check_image(output, "output")
    check_image(input, "input")
    if output.shape != input.shape:
        raise ImageDimensions(
            f"The two images differ in size: the output has {output.shape[1]}x{output.shape[0]} px, "
            f"the input {input.shape[1]}x{input.shape[0]} px."
        )


def check_level(height: int, width: int, level: int) -> None:
    """Refuse a level that an image of this size lacks, or whose residual is smaller than SSIM's window.

    Raises:
        InvalidParameter: the level is negative.
        LevelUnavailable: the image is too small; says the least size.
    """
    if level < 0:
        raise InvalidParameter(f"The level must be 0 or more, not {level}.")
    if level > _DEEPEST or min(height, width) < least_side(level):
        least = least_side(min(level, _DEEPEST))
        raise LevelUnavailable(
            f"An image of {width}x{height} px is too small for level {level}: each side needs {least} px or more.",
            limit=least,
            actual=min(height, width),
        )


def residual_pair(output: Image, input: Image, level: int) -> Float64:
    """Laplacian residuals of the luminance of two images.

    Args:
        output: (H, W, 3) RGB, uint8 or float in [0, 1].
        input: the same shape; both are taken as uint8 only if both are.
        level: which residual.

    Returns:
        (h, w, 2) float64 with (h, w) = `level_shape(H, W, level)`: the output's residual, then the input's, in units
        of 1/10,000 of the images' own unit. SSIM takes its range from the data, so the unit cancels.

    Raises:
        InvalidParameter, ImageDimensions, LevelUnavailable: as `check_pair` and `check_level` say.
    """
    check_pair(output, input)
    if output.dtype != input.dtype:
        output, input = (image / 255.0 if image.dtype == np.uint8 else image for image in (output, input))
    return np.asarray(cv2.merge([residual(image, level) for image in (output, input)]))


def residual(image: Image, level: int) -> Float64:
    """The Laplacian residual of one image's luminance, (h, w) float64; see `residual_pair`.

    Raises:
        InvalidParameter, LevelUnavailable: as `check_image` and `check_level` say.
    """
    check_image(image)
    check_level(image.shape[0], image.shape[1], level)
    base: Any = _level(image, min(level, 2))
    for _ in range(level - 2):
        base = cv2.pyrDown(base)
    return np.asarray(cv2.subtract(base, cv2.pyrUp(cv2.pyrDown(base), dstsize=(base.shape[1], base.shape[0]))))


def _level(image: Image, level: int) -> Float64:
    """One level of the luminance pyramid; what is larger than level 2 lives in this thread's scratch memory."""
    height, width = image.shape[:2]
    if level < 2 or height * width > _SCRATCH_PIXELS:
        base: Any = _luminance(image, np.empty((height, width)))
        for _ in range(level):
            base = cv2.pyrDown(base)
        return np.asarray(base)
    half_height, half_width = level_shape(height, width, 1)
    plane = _scratch.plane[: height * width].reshape(height, width)
    half = _scratch.half[: half_height * half_width].reshape(half_height, half_width)
    return np.asarray(cv2.pyrDown(cv2.pyrDown(_luminance(image, plane), dst=half)))


def _luminance(image: Image, plane: Float64) -> Float64:
    """Luminance of (H, W, 3) times 10,000, written into `plane`, (H, W) float64; exact for uint8.

    2125 R + 7154 G + 721 B of uint8 stays below 2**24, so float32 holds it exactly at half the memory traffic; the
    pyramid then runs in float64, which holds the sums of pyrDown's weights exactly too. A chunk at a time keeps the
    temporaries in the processor's cache.
    """
    pixels, result = image.reshape(1, -1, 3), plane.reshape(1, -1)
    if image.dtype != np.uint8:
        cv2.transform(pixels.astype(np.float64, copy=False), _WEIGHTS, dst=result)
        return plane
    for start in range(0, result.size, _CHUNK_PIXELS):
        chunk = pixels[:, start : start + _CHUNK_PIXELS]
        floats = _scratch.colours[:, : chunk.shape[1]]
        # floats * 0 + chunk: OpenCV's fastest way from uint8 to float32, a third quicker than astype.
        cv2.accumulateWeighted(chunk, floats, 1.0)
        result[:, start : start + _CHUNK_PIXELS] = cv2.transform(floats, _WEIGHTS_32)
    return plane
