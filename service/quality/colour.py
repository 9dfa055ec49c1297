"""Colour shift between two images: CIEDE2000, and how much of the area turned clearly redder or paler.

Differences are taken between means over small squares, not pixels: what is judged is the colour of a region,
and noise or JPEG's chroma blocks are not a change of colour.

Source: Sharma, Wu, Dalal, "The CIEDE2000 Color-Difference Formula", Color Research and Application 30 (2005);
sRGB to CIELAB under D65 with skimage's numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from service.quality.pyramid import Image
from service.quality.redness import clearly_redder, paler, redder, redness_grid, redness_order_between

Float32 = npt.NDArray[np.float32]
Plane = npt.NDArray[Any]
"""(H, W) floats: OpenCV and NumPy mix float32 and float64 on the way, the results are float32."""

LONGER_SIDE_PX = 160
"""Colour is compared at this size: 3x3 means of the canonical 480x272."""

_LINEAR_TO_RELATIVE_XYZ = np.array(
    [[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]]
) / np.array([[0.95047], [1.0], [1.08883]])
"""Linear sRGB to X/Xn, Y/Yn, Z/Zn under D65, two-degree observer, the numbers skimage uses."""

_BENT_TO_LAB = np.array([[0, 116, 0, -16], [500, -500, 0, 0], [0, 200, -200, 0]], np.float64)


@dataclass(frozen=True, slots=True)
class ColourShift:
    """How far the colours of an image lie from another's.

    Attributes:
        delta_e_mean: mean CIEDE2000.
        delta_e_p95: 95th percentile of CIEDE2000.
        redder_share: share of the area, in [0, 1], that turned clearly redder than the change of the whole picture
            explains: bold red regions, not a picture whose colours all came back from behind a haze.
        paler_share: share of the area, in [0, 1], that was red and turned clearly paler than a change of light over the
            picture explains.
        redness_order: rank correlation, in [-1, 1], of the redness of regions before and after; 1 is order kept.
    """

    delta_e_mean: float
    delta_e_p95: float
    redder_share: float
    paler_share: float
    redness_order: float


def colour_shift(output: Image, input: Image) -> ColourShift:
    """The colour shift from `input` to `output`, both (H, W, 3) RGB of one size, uint8 or float in [0, 1]."""
    return colour_shift_between(local_colour(output), local_colour(input))


@dataclass(frozen=True, slots=True)
class LocalColour:
    """What `colour_shift` compares: means over small squares.

    Attributes:
        lab: (h, w, 3) float32 CIELAB.
        red: (h, w) float32, the red channel in [0, 1].
        grid: (h, w, 3) float64 grey levels of the squares whose redness is ranked.
    """

    lab: Float32
    red: Float32
    grid: Plane


def local_colour(image: Image) -> LocalColour:
    """The local colour of `image`, (H, W, 3) RGB, uint8 or float in [0, 1]."""
    places = _places(image)
    return LocalColour(lab(places), places[..., 0], redness_grid(image))


def local_lab(image: Image) -> Float32:
    """CIELAB of the means over small squares of `image`, (h, w, 3) float32."""
    return lab(_places(image))


def colour_shift_between(after: LocalColour, before: LocalColour) -> ColourShift:
    """`colour_shift` of two images whose local colour was measured."""
    difference = ciede2000(after.lab, before.lab)
    return ColourShift(
        delta_e_mean=float(difference.mean(dtype=np.float64)),
        delta_e_p95=float(np.quantile(difference, 0.95)),
        redder_share=float(redder(after.lab, before.lab).mean()),
        paler_share=float(paler(after.lab, before.lab, after.red, before.red).mean()),
        redness_order=redness_order_between(after.grid, before.grid),
    )


def redder_than(output: Image, truth: Image) -> float:
    """Share of the area, in [0, 1], where `output` is clearly redder than `truth`, whatever the rest does.

    For outputs whose right colours are known; both (H, W, 3) RGB of one size, uint8 or float in [0, 1].
    """
    return float(clearly_redder(local_lab(output), local_lab(truth)).mean())


def _places(image: Image) -> Float32:
    """(h, w, 3) float32 in [0, 1], area means with the longer side at most `LONGER_SIDE_PX`."""
    height, width = image.shape[:2]
    factor = LONGER_SIDE_PX / max(height, width)
    if factor < 1.0:
        size = (max(1, round(width * factor)), max(1, round(height * factor)))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    scale = 1 / 255 if image.dtype == np.uint8 else 1.0
    return np.asarray(image, np.float32) * np.float32(scale)


def lab(image: npt.NDArray[Any]) -> Float32:
    """CIELAB (L* 0..100, a*, b*) under D65 of (H, W, 3) float32 sRGB in [0, 1], as float32.

    Written out because OpenCV's own float conversion interpolates a table and is up to 0.4 off.
    """
    linear = np.where(image > 0.04045, cv2.pow((image + 0.055) / 1.055, 2.4), image / 12.92)
    relative = cv2.transform(linear, _LINEAR_TO_RELATIVE_XYZ)
    bent = np.where(relative > 0.008856, cv2.pow(relative, 1 / 3), 7.787 * relative + 16 / 116)
    return np.asarray(cv2.transform(np.asarray(bent, np.float32), _BENT_TO_LAB))


def ciede2000(first: Float32, second: Float32) -> Float32:
    """CIEDE2000 difference of two (H, W, 3) float32 CIELAB images, as (H, W) float32; kL = kC = kH = 1."""
    lightness_1, a_1, b_1 = _planes(first)
    lightness_2, a_2, b_2 = _planes(second)
    chroma = (_length(a_1, b_1) + _length(a_2, b_2)) / 2
    stretch = 1.5 - 0.5 * np.sqrt(_saturation(chroma))
    chroma_1, hue_1 = _chroma_and_hue(a_1 * stretch, b_1)
    chroma_2, hue_2 = _chroma_and_hue(a_2 * stretch, b_2)
    hue_step, hue = _hue_difference_and_mean(chroma_1, hue_1, chroma_2, hue_2)
    mean_chroma = (chroma_1 + chroma_2) / 2
    away = np.square((lightness_1 + lightness_2) / 2 - 50)
    part_l = (lightness_1 - lightness_2) / (1 + 0.015 * away / np.sqrt(20 + away))
    part_c = (chroma_1 - chroma_2) / (1 + 0.045 * mean_chroma)
    part_h = hue_step / (1 + 0.015 * mean_chroma * _hue_weight(hue))
    turn = np.exp(-np.square((np.rad2deg(hue) - 275) / 25))
    rotation = -2 * np.sqrt(_saturation(mean_chroma)) * np.sin(np.deg2rad(60 * turn))
    squared = part_l * part_l + part_c * part_c + part_h * part_h + rotation * part_c * part_h
    return np.asarray(np.sqrt(np.maximum(squared, 0)), np.float32)


def _planes(image: Plane) -> tuple[Plane, Plane, Plane]:
    return image[..., 0], image[..., 1], image[..., 2]


def _chroma_and_hue(a: Plane, b: Plane) -> tuple[Plane, Plane]:
    """Chroma, and hue in [0, 2 pi)."""
    hue = np.arctan2(b, a)
    return _length(a, b), np.where(hue < 0, hue + np.float32(2 * np.pi), hue)


def _length(a: Plane, b: Plane) -> Plane:
    """`np.hypot` for numbers that cannot overflow, at a quarter of its cost."""
    return np.asarray(np.sqrt(a * a + b * b))


def _saturation(chroma: Plane) -> Plane:
    """C^7 / (C^7 + 25^7)."""
    seventh = np.square(chroma) * chroma
    seventh = np.square(seventh) * chroma
    return np.asarray(seventh / (seventh + np.float32(25.0**7)))


def _hue_difference_and_mean(chroma_1: Plane, hue_1: Plane, chroma_2: Plane, hue_2: Plane) -> tuple[Plane, Plane]:
    """Delta H' = 2 sqrt(C1 C2) sin(dh / 2), and the mean hue the short way round, in [0, 2 pi)."""
    step = hue_1 - hue_2
    far = np.abs(step) > np.pi
    mean = (hue_1 + hue_2) / 2
    mean = np.where(far, np.where(mean < np.pi, mean + np.pi, mean - np.pi), mean).astype(np.float32)
    colourless = chroma_1 * chroma_2 == 0
    mean = np.where(colourless, hue_1 + hue_2, mean).astype(np.float32)
    half = np.where(far, step - np.copysign(np.float32(2 * np.pi), step), step) / 2
    return np.asarray(2 * np.sqrt(chroma_1 * chroma_2) * np.sin(half), np.float32), mean


def _hue_weight(hue: Plane) -> Plane:
    """T of the formula, `hue` in radians: the cosines of its multiples by the addition theorems, from one pair."""
    cos_1, sin_1 = np.cos(hue), np.sin(hue)
    cos_2, sin_2 = 2 * cos_1 * cos_1 - 1, 2 * sin_1 * cos_1
    cos_3, sin_3 = cos_2 * cos_1 - sin_2 * sin_1, sin_2 * cos_1 + cos_2 * sin_1
    cos_4, sin_4 = 2 * cos_2 * cos_2 - 1, 2 * sin_2 * cos_2
    weight = 1 + 0.24 * cos_2
    for share, degrees, cosine, sine in (
        (-0.17, 30, cos_1, sin_1),
        (0.32, -6, cos_3, sin_3),
        (-0.20, 63, cos_4, sin_4),
    ):
        turn = np.deg2rad(degrees)
        weight += np.float32(share * np.cos(turn)) * cosine + np.float32(share * np.sin(turn)) * sine
    return np.asarray(weight, np.float32)
