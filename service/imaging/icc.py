"""ICC profiles: what turns a photo's numbers into sRGB. A profile that is broken or does not fit is ignored."""

from __future__ import annotations

from functools import lru_cache
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

MAX_PROFILE_BYTES = 4 * 2**20
"""Larger profiles are ignored; the largest in common use (CMYK press profiles) stay below 3 MB."""

_SPACES = {"RGB ": "RGB", "CMYK": "CMYK", "GRAY": "L"}
_UNFIT = (ImageCms.PyCMSError, OSError, ValueError, TypeError)


@lru_cache(maxsize=8)  # hostile profiles of 4 MB each must not add up
def to_srgb(profile: bytes | None, mode: str) -> ImageCms.ImageCmsTransform | None:
    """The transform from `profile` to sRGB for pixels of `mode` ("RGB", "L", "CMYK"); None where none is needed.

    None is the result too for a profile that is broken, too large, or made for another kind of pixels, and for one
    that moves no colour by more than one grey level (sRGB itself, under any name).
    """
    if not profile or len(profile) > MAX_PROFILE_BYTES:
        return None
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        if _SPACES.get(source.profile.xcolor_space) != mode:
            return None
        transform = ImageCms.buildTransform(
            source,
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
        return None if mode != "CMYK" and _changes_nothing(transform, mode) else transform
    except _UNFIT:
        return None


def _changes_nothing(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    steps = np.arange(0, 256, 15, dtype=np.uint8)
    lattice: NDArray[np.uint8]
    if mode == "L":
        lattice = np.repeat(steps[None, :, None], 3, axis=2)
        probe = Image.fromarray(lattice[..., 0])
    else:
        lattice = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(1, -1, 3)
        probe = Image.fromarray(lattice)
    turned = np.asarray(transform.apply(probe))
    return int(np.abs(turned.astype(np.int16) - lattice).max()) <= 1


@lru_cache(maxsize=1)
def lab_to_srgb() -> ImageCms.ImageCmsTransform:
    """The transform from CIE L*a*b* under D50, as Pillow reads it from a TIFF, to sRGB."""
    return ImageCms.buildTransform(
        ImageCms.createProfile("LAB"),
        ImageCms.createProfile("sRGB"),
        "LAB",
        "RGB",
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
    )
