"""What is done to images on purpose: the paper's blurs and warps, and faults planted in structure.

Convention: images are (H, W, 3) uint8 RGB and come back so; sizes are pixels of the image given; every random
choice comes from the generator handed in.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from service.quality.pyramid import LUMINANCE, Image

Plant: TypeAlias = Callable[[Image, np.random.Generator], Image]
"""Plants a fault at a random position."""

BLUR_SIZES_PX = {"L": 9, "M": 13, "H": 17}
"""Box blur widths by intensity. Source: the paper, table I."""

WARP_ALPHAS = {"L": 15.0, "M": 25.0, "H": 35.0}
"""Elastic strengths by intensity. Source: the paper, table I."""

LIT = 50
"""Grey level from which tissue counts as lit."""

RED_TISSUE, NEARLY_FULL = 1.4, 235
"""Red over green from which tissue counts as red, and the red from which the sensor may hide that."""

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


def warp_by(image: Image, generator: np.random.Generator, *, alpha: float) -> Image:
    """`warp`, with its arguments in the order of the other faults."""
    return warp(image, alpha, generator)


def _smooth_noise(height: int, width: int, generator: np.random.Generator) -> NDArray[np.float32]:
    """(H, W) float32, uniform noise smoothed; the kernel ends at four sigma, as SciPy's does."""
    noise = generator.uniform(-1.0, 1.0, (height, width)).astype(np.float32)
    kernel_px = 2 * round(4 * WARP_SIGMA_PX) + 1
    size = (kernel_px, kernel_px)
    smooth = cv2.GaussianBlur(noise, size, WARP_SIGMA_PX, borderType=cv2.BORDER_REFLECT)
    return np.asarray(smooth, np.float32)


def lesion(image: Image, generator: np.random.Generator, *, sigma_px: float = 6.0, depth: float = 0.3) -> Image:
    """`image` with a spot that multiplies light by `1 - depth * exp(-r^2 / (2 sigma^2))`; negative depth brightens.

    It lies on lit tissue where there is some: in the dark nobody could see it.
    """
    spot = _bump(image.shape[:2], lit_place(image, generator), sigma_px)
    return _rounded(image * (1 - depth * spot[..., None]))


def moved(image: Image, generator: np.random.Generator, *, shift_px: float = 5.0, reach_px: float = 20.0) -> Image:
    """`image` with the edges around one point moved by up to `shift_px`, fading out over `reach_px`."""
    height, width = image.shape[:2]
    weight = _bump((height, width), lit_place(image, generator), reach_px) * np.float32(shift_px)
    angle = generator.uniform(0, 2 * np.pi)
    columns, rows = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    across, down = columns + weight * np.float32(np.cos(angle)), rows + weight * np.float32(np.sin(angle))
    return _as_image(cv2.remap(image, across, down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT))


def inpainted(image: Image, generator: np.random.Generator, *, radius_px: float = 14.0) -> Image:
    """`image` with a disc removed and filled smoothly from its rim: whatever was there is gone."""
    column, row = lit_place(image, generator)
    mask = np.zeros(image.shape[:2], np.uint8)
    cv2.circle(mask, (round(column), round(row)), round(radius_px), 255, -1)
    return _as_image(cv2.inpaint(image, mask, 3, cv2.INPAINT_TELEA))


def pasted(image: Image, generator: np.random.Generator, *, radius_px: float = 16.0) -> Image:
    """`image` with a soft-edged disc of another part of its own laid over it."""
    here, there = lit_place(image, generator), lit_place(image, generator)
    shift = (here[0] - there[0], here[1] - there[1])
    moved_over = cv2.warpAffine(
        image,
        np.array([[1, 0, shift[0]], [0, 1, shift[1]]], np.float64),
        (image.shape[1], image.shape[0]),
        borderMode=cv2.BORDER_REFLECT,
    )
    cover = np.minimum(1, 1.6 * _bump(image.shape[:2], here, radius_px / 1.6))[..., None]
    return _rounded(image * (1 - cover) + moved_over * cover)


def reddened(image: Image, generator: np.random.Generator, *, radius_px: float = 20.0, strength: float = 0.4) -> Image:
    """`image` with log(R / G) of a soft-edged disc of red tissue raised by `strength`, at the luminance it had.

    A negative strength makes it paler.
    """
    centre = red_place(image, generator)
    rows, columns = np.ogrid[: image.shape[0], : image.shape[1]]
    away = np.hypot(rows - centre[1], columns - centre[0])
    cover = np.clip((radius_px - away) / (0.3 * radius_px) + 0.5, 0, 1)[..., None]
    turned = image * np.array([1.0, np.exp(-strength), np.exp(-strength)])
    turned *= (image @ np.array(LUMINANCE) / np.maximum(turned @ np.array(LUMINANCE), 1e-3))[..., None]
    return _rounded(image + cover * (turned - image))


def red_place(image: Image, generator: np.random.Generator) -> tuple[float, float]:
    """(column, row) of a random lit region, red tissue if one of a few tries is."""
    smooth = cv2.blur(image, (15, 15)).astype(np.float32)
    place = lit_place(image, generator)
    for _ in range(20):
        red, green, _ = smooth[int(place[1]), int(place[0])]
        if red >= RED_TISSUE * green and red < NEARLY_FULL:
            break
        place = lit_place(image, generator)
    return place


def lit_place(image: Image, generator: np.random.Generator) -> tuple[float, float]:
    """(column, row) of a random position away from the border, lit if one of a few tries is."""
    height, width = image.shape[:2]
    light = cv2.blur(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (15, 15))
    margin = min(30, height // 4, width // 4)
    column, row = width / 2, height / 2
    for _ in range(60):
        column, row = generator.uniform(margin, width - margin), generator.uniform(margin, height - margin)
        if light[int(row), int(column)] >= LIT:
            break
    return column, row


def _bump(shape: tuple[int, ...], centre: tuple[float, float], sigma_px: float) -> NDArray[np.float32]:
    """(H, W) float32 Gaussian of height 1 round `centre` = (column, row)."""
    columns, rows = np.arange(shape[1]) - centre[0], np.arange(shape[0]) - centre[1]
    across, down = (np.exp(-np.square(offsets / sigma_px) / 2) for offsets in (columns, rows))
    return np.outer(down, across).astype(np.float32)


def _rounded(values: NDArray[Any]) -> Image:
    return np.asarray(np.clip(np.rint(values), 0, 255), np.uint8)


def _as_image(values: NDArray[Any]) -> Image:
    return np.asarray(values, np.uint8)


Faults: TypeAlias = tuple[tuple[str, str, Plant], ...]
"""(kind, size, how it is planted) of each."""

FAULTS: Faults = (
    *(
        (kind, f"sigma {sigma} px, depth {depth}", partial(lesion, sigma_px=sigma, depth=depth))
        for kind in ("inserted lesion", "erased lesion")
        for sigma, depth in ((4, 0.3), (6, 0.3), (8, 0.3), (12, 0.3), (6, 0.5))
    ),
    ("inserted white lesion", "sigma 6 px, depth 0.3", partial(lesion, sigma_px=6, depth=-0.3)),
    *(
        ("elastic warp", f"alpha {alpha:.0f} ({name})", partial(warp_by, alpha=alpha))
        for name, alpha in WARP_ALPHAS.items()
    ),
    *(("moved edges", f"{shift} px", partial(moved, shift_px=shift)) for shift in (3, 5, 8)),
    *(("removed structure", f"radius {radius} px", partial(inpainted, radius_px=radius)) for radius in (10, 14)),
    ("pasted structure", "radius 16 px", partial(pasted, radius_px=16.0)),
    *(
        (
            kind,
            f"radius {radius} px, {strength} of log(R/G)",
            partial(reddened, radius_px=radius, strength=sign * strength),
        )
        for kind, sign in (("redder place", 1), ("paler place", -1))
        for radius, strength in ((12, 0.6), (20, 0.25), (20, 0.4), (20, 0.6), (40, 0.25), (40, 0.6))
    ),
)
"""(kind, size at 480 px, how it is planted); `erased` ones lie in the input instead of the output."""
