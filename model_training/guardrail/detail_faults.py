"""Faults that a generator could make at the scale of single pixels, planted in native resolution.

Convention: images are (H, W, 3) uint8 RGB and come back so; sizes are pixels of the image given; every random choice
comes from the generator handed in.
"""

from functools import partial
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from model_training.guardrail.faults import Plant, lit_place
from service.quality.pyramid import Image

REGION_PX = 40.0
"""Radius of the region that rings, is blotchy, or has a grid."""

_FINE = 4
"""Vessels are drawn so many times larger and reduced by area."""

BLOOD = (0.45, 1.0, 0.9)
"""How much of a vessel's depth each of R, G, B loses: blood takes green and blue."""


def vessel(
    image: Image, generator: np.random.Generator, *, width_px: float = 2.0, depth: float = 0.3, length_px: float = 40.0
) -> Image:
    """`image` with a curved dark red line on lit tissue, `depth` of its green lost in the middle."""
    cover = cv2.GaussianBlur(
        _curve(image.shape[:2], lit_place(image, generator), generator, width_px, length_px), (0, 0), 0.5
    )
    return _rounded(image * (1 - depth * cover[..., None] * np.array(BLOOD)))


def _curve(
    shape: tuple[int, ...],
    middle: tuple[float, float],
    generator: np.random.Generator,
    width_px: float,
    length_px: float,
) -> NDArray[np.float32]:
    """(H, W) float32 in [0, 1]: an arc through `middle` = (column, row)."""
    angle, bend = generator.uniform(0, 2 * np.pi), generator.uniform(-1.2, 1.2)
    along = np.linspace(-0.5, 0.5, 24)
    turn = angle + bend * along
    steps = np.stack([np.cos(turn), np.sin(turn)], axis=-1) * length_px / len(along)
    points = np.cumsum(steps, axis=0)
    points += np.array(middle) - points[len(points) // 2]
    low = np.floor(points.min(axis=0) - width_px - 2).astype(int).clip(0)
    high = np.minimum(np.ceil(points.max(axis=0) + width_px + 2).astype(int), np.array(shape[1::-1]))
    size = high - low
    drawn = np.zeros((size[1] * _FINE, size[0] * _FINE), np.uint8)
    at = np.rint((points - low + 0.5) * _FINE).astype(np.int32)
    cv2.polylines(drawn, [at[:, None]], False, 255, max(1, round(width_px * _FINE)), cv2.LINE_8)
    cover = np.zeros(shape[:2], np.float32)
    cover[low[1] : high[1], low[0] : high[0]] = (
        cv2.resize(drawn, (int(size[0]), int(size[1])), interpolation=cv2.INTER_AREA) / 255.0
    )
    return cover


def halo(image: Image, generator: np.random.Generator, *, amount: float = 4.0) -> Image:
    """`image` over-sharpened in a region: edges overshoot, and ring once more beside that."""
    pixels = image.astype(np.float32)
    fine = pixels - cv2.GaussianBlur(pixels, (0, 0), 1.0)
    return _within_region(image, pixels + amount * (fine - 0.5 * cv2.GaussianBlur(fine, (0, 0), 2.0)), generator)


def blotches(image: Image, generator: np.random.Generator, *, levels: float = 8.0, sigma_px: float = 1.5) -> Image:
    """`image` with smoothed grain of `levels` grey levels (root mean square) in a region, as denoisers leave it."""
    grain = cv2.GaussianBlur(generator.normal(0, 1, image.shape[:2]), (0, 0), sigma_px)
    return _within_region(image, image + (grain * (levels / grain.std()))[..., None], generator)


def amplified(image: Image, generator: np.random.Generator, *, gain: float = 4.0) -> Image:
    """`image` with its own grain, what a 3x3 median takes away, times `gain` in a region."""
    grain = image.astype(np.float32) - cv2.medianBlur(image, 3)
    return _within_region(image, image + (gain - 1) * grain, generator)


def checkerboard(image: Image, generator: np.random.Generator, *, levels: float = 6.0, period_px: int = 2) -> Image:
    """`image` with squares of `period_px` / 2 alternately raised and lowered by `levels` in a region."""
    half = period_px // 2
    rows, columns = np.ogrid[: image.shape[0], : image.shape[1]]
    sign = 1 - 2 * ((rows // half + columns // half) % 2)
    return _within_region(image, image + levels * sign[..., None], generator)


def _within_region(image: Image, changed: NDArray[Any], generator: np.random.Generator) -> Image:
    """`changed` in a soft-edged disc of lit tissue, `image` elsewhere."""
    column, row = lit_place(image, generator)
    rows, columns = np.ogrid[: image.shape[0], : image.shape[1]]
    away = np.hypot(rows - row, columns - column)
    cover = np.clip((REGION_PX - away) / (0.3 * REGION_PX) + 0.5, 0, 1)[..., None]
    return _rounded(image + cover * (changed - image))


def _rounded(values: NDArray[Any]) -> Image:
    return np.asarray(np.clip(np.rint(values), 0, 255), np.uint8)


DETAIL_FAULTS: tuple[tuple[str, str, Plant], ...] = (
    *(
        (kind, f"{width} px wide, depth {depth}", partial(vessel, width_px=width, depth=depth))
        for kind in ("inserted vessel", "erased vessel")
        for width, depth in ((1, 0.3), (1, 0.5), (2, 0.15), (2, 0.3), (3, 0.15), (3, 0.3))
    ),
    *(("halo at edges", f"amount {amount:g}", partial(halo, amount=amount)) for amount in (3.0, 6.0)),
    *(("blotches", f"{levels:g} grey levels", partial(blotches, levels=levels)) for levels in (5.0, 10.0)),
    *(("grain amplified", f"{gain:g} times", partial(amplified, gain=gain)) for gain in (4.0, 8.0)),
    *(
        (
            "checkerboard",
            f"period {period} px, {levels:g} grey levels",
            partial(checkerboard, levels=levels, period_px=period),
        )
        for period in (2, 4)
        for levels in (4.0, 8.0)
    ),
)
"""(kind, size in native pixels, how it is planted); `erased` ones lie in the input instead of the output."""
