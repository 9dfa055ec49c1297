"""Classical enhancement, for comparison: CLAHE, the dark channel prior, and the weighted guided filter.

Convention: (H, W, 3) uint8 RGB in and out, no randomness; lengths are in pixels of the image given.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from service.quality.pyramid import Image

Enhance: TypeAlias = Callable[[Image], Image]
Floats: TypeAlias = NDArray[np.float32]

CLAHE_CLIP, CLAHE_TILES = 2.0, 8
"""OpenCV's usual clip limit and tiles a side."""

DARK_PATCH_PX, DARK_KEPT, DARK_LEAST = 15, 0.95, 0.1
"""Patch, share of the haze removed, and least transmission. Source: He, Sun, Tang, CVPR 2009."""

DARK_REFINEMENT_PX, DARK_REFINEMENT_EPSILON = 40, 1e-3
"""Guided refinement of the transmission. Source: He, Sun, Tang, "Guided Image Filtering", TPAMI 35 (2013)."""

WGIF_RADIUS_PX, WGIF_EPSILON, WGIF_GAIN = 16, 0.01, 2.0
"""Window and regularisation of the weighted filter; details are doubled (Li et al. show four to five times on
landscapes, which on tissue is noise)."""


def identity(image: Image) -> Image:
    """The image itself: a method that does nothing has LaSSIM 1, and should look bad elsewhere."""
    return image


def clahe(image: Image) -> Image:
    """Contrast-limited adaptive histogram equalisation of the lightness L*.

    Source: Zuiderveld, Graphics Gems IV (1994).
    """
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)
    lab[..., 0] = cv2.createCLAHE(CLAHE_CLIP, (CLAHE_TILES, CLAHE_TILES)).apply(lab[..., 0])
    return np.asarray(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB), np.uint8)


def dark_channel_prior(image: Image) -> Image:
    """Haze removed under the assumption that every patch has a dark channel.

    Source: He, Sun, Tang, "Single Image Haze Removal Using Dark Channel Prior", CVPR 2009; transmission refined by
    the guided filter instead of soft matting, as the authors do later.
    """
    values = _float(image / 255)
    light = _airlight(values)
    transmission = 1 - DARK_KEPT * _dark_channel(_float(values / light))
    guide = _float(cv2.cvtColor(values, cv2.COLOR_RGB2GRAY))
    refined = guided_filter(transmission, guide, DARK_REFINEMENT_PX, DARK_REFINEMENT_EPSILON)
    clear = (values - light) / np.maximum(refined, DARK_LEAST)[..., None] + light
    return _rounded(clear * 255)


def weighted_guided_filter(image: Image) -> Image:
    """Details enhanced: what the edge-aware weighted guided filter smooths away is added once more.

    Source: Li, Zheng, Zhu, Yao, Wu, "Weighted Guided Image Filtering", IEEE TIP 24 (2015).
    """
    values = _float(image / 255)
    lightness = _float(cv2.cvtColor(values, cv2.COLOR_RGB2GRAY))
    variance = _mean(np.square(lightness), 1) - np.square(_mean(lightness, 1))
    steadier = np.maximum(variance, 0) + np.float32(1e-6)
    edge_weight = steadier * np.float32((1 / steadier).mean())
    smooth = guided_filter(lightness, lightness, WGIF_RADIUS_PX, WGIF_EPSILON / edge_weight)
    detail = (lightness - smooth)[..., None]
    return _rounded((values + (WGIF_GAIN - 1) * detail) * 255)


def guided_filter(plane: Floats, guide: Floats, radius_px: int, epsilon: float | Floats) -> Floats:
    """`plane` smoothed so that it keeps the edges of `guide`, both (H, W) float32; `epsilon` may vary by place.

    Source: He, Sun, Tang, "Guided Image Filtering", TPAMI 35 (2013).
    """
    mean_guide, mean_plane = _mean(guide, radius_px), _mean(plane, radius_px)
    covariance = _mean(guide * plane, radius_px) - mean_guide * mean_plane
    variance = _mean(guide * guide, radius_px) - mean_guide * mean_guide
    slope = covariance / (np.maximum(variance, 0) + epsilon)
    offset = mean_plane - slope * mean_guide
    return _float(_mean(_float(slope), radius_px) * guide + _mean(_float(offset), radius_px))


CLASSICAL: dict[str, Enhance] = {
    "clahe": clahe,
    "dark-channel": dark_channel_prior,
    "weighted-guided-filter": weighted_guided_filter,
}
"""The classical methods by the name they have on the command line and in tables."""


def _dark_channel(values: Floats) -> Floats:
    """Least value of any channel in the patch round each pixel."""
    return _float(cv2.erode(values.min(axis=2), np.ones((DARK_PATCH_PX, DARK_PATCH_PX), np.uint8)))


def _airlight(values: Floats) -> Floats:
    """(3,) colour of the haze: the brightest of the 0.1 % of pixels whose dark channel is highest."""
    dark = _dark_channel(values).ravel()
    count = max(1, dark.size // 1000)
    candidates = values.reshape(-1, 3)[np.argpartition(dark, -count)[-count:]]
    return _float(np.maximum(candidates[candidates.sum(axis=1).argmax()], 1e-3))


def _mean(plane: Floats, radius_px: int) -> Floats:
    side = 2 * radius_px + 1
    return _float(cv2.blur(plane, (side, side), borderType=cv2.BORDER_REFLECT))


def _float(values: NDArray[Any]) -> Floats:
    return np.asarray(values, np.float32)


def _rounded(values: NDArray[Any]) -> Image:
    return np.asarray(np.clip(np.rint(values), 0, 255), np.uint8)
