"""The heat map: where structure changed, drawn over the photo so that only change has colour."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

UNCHANGED = 0.97
"""Local LaSSIM from which a region counts as unchanged and stays free of colour."""

FULL = 0.3
"""Local LaSSIM at and below which colour is strongest."""

GROUND = 0.65
"""How bright the grey photo under the colours is: dark enough that the scale's light end stands out on highlights."""


def render_heatmap(
    local: npt.NDArray[np.floating], size: tuple[int, int], base: npt.NDArray[np.uint8], *, border: int = 0
) -> npt.NDArray[np.uint8]:
    """The photo in grey with changed regions in colour: dark violet for a little change to yellow for a lost structure.

    The scale is viridis' sibling inferno, whose lightness rises evenly, so that order reads in grey print and with any
    colour vision; opacity rises with it, and unchanged regions stay bare.

    Args:
        local: (h, w) local LaSSIM, higher is more alike, 1 is unchanged; NaN counts as unchanged.
        size: width and height of the result in pixels.
        border: cells by which `local` falls short of the photo on each side (3 for a map of 7x7 windows); they take
            their neighbours' values.
        base: (H', W', 3) uint8 RGB, the photo to draw on; resized to `size` if need be.

    Returns:
        (height, width, 3) uint8 RGB.
    """
    width, height = size
    local = np.pad(local, border, mode="edge")
    change = np.clip((UNCHANGED - np.nan_to_num(local, nan=1.0)) / (UNCHANGED - FULL), 0.0, 1.0).astype(np.float32)
    change = np.clip(cv2.resize(change, (width, height), interpolation=cv2.INTER_CUBIC), 0.0, 1.0)
    levels = np.rint(change * 255).astype(np.uint8)
    colour = cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO)[..., ::-1].astype(np.float32)
    if base.shape[:2] != (height, width):
        base = np.asarray(cv2.resize(base, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    ground = cv2.cvtColor(base, cv2.COLOR_RGB2GRAY).astype(np.float32)[..., None] * GROUND
    opacity = np.sqrt(change)[..., None] * 0.9
    overlay: npt.NDArray[np.uint8] = np.rint(ground * (1 - opacity) + colour * opacity).astype(np.uint8)
    return overlay
