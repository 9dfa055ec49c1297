"""The faults of the measure: one at a time, of known strength, and one mixture.

Written apart from `model_training.data.degradation`: a model that learnt that module's faults by heart must not pass
here for it. Convention: (H, W, 3) float32 RGB in [0, 1], display values; lengths are pixels of the photo given.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Literal, TypeAlias

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image as PillowImage

from service.errors import InvalidParameter
from service.quality.pyramid import Image

Floats: TypeAlias = NDArray[np.float32]
Apply: TypeAlias = Callable[[Floats, Generator], Floats]
Kind: TypeAlias = Literal["clean", "signal", "scene"]

AIRLIGHT = 0.7
"""Grey value of the veil that haze is."""

UNEVENNESS, FIELD_SHAPE = 0.6, (3, 4)
"""How far an uneven veil is thicker or thinner than its mean, as a share of it, and the grid it is drawn on."""

SUBSAMPLES = 8
"""Samples a pixel and axis from which the kernels of defocus and motion are made."""

JPEG_QUALITY = 40

MIXTURE_VEIL, MIXTURE_SIGMA_PX, MIXTURE_NOISE = 0.35, 1.2, 0.02


@dataclass(frozen=True, slots=True)
class Fault:
    """One way a photo can be bad.

    Attributes:
        name: as tables have it.
        kind: "signal" can be told from any picture, "scene" only by who knows what such a scene looks like.
        apply: the fault itself; random ones draw from the generator given.
        grainy: it leaves noise or blocks, which non-local means could take away.
        required: the acceptance criteria ask for it.
    """

    name: str
    kind: Kind
    apply: Apply
    grainy: bool = False
    required: bool = True


def damaged(clean: Image, fault: Fault, seed: int, key: str = "") -> Image:
    """`clean` with `fault`, both (H, W, 3) uint8 RGB: the same for the same seed, fault and `key` (say, the file)."""
    rng = np.random.default_rng([seed, zlib.crc32(f"{fault.name}|{key}".encode())])
    return _to_bytes(fault.apply(np.asarray(clean, np.float32) / np.float32(255), rng))


def gaussian_blur(image: Floats, sigma_px: float) -> Floats:
    """Blur by a Gaussian of deviation `sigma_px`, borders mirrored."""
    radius = int(np.ceil(4 * sigma_px))
    kernel = cv2.getGaussianKernel(2 * radius + 1, sigma_px, cv2.CV_32F)
    return _floats(cv2.sepFilter2D(image, -1, kernel, kernel, borderType=cv2.BORDER_REFLECT_101))


def defocus(image: Floats, radius_px: float) -> Floats:
    """Blur by a disc of `radius_px`, borders mirrored."""
    y, x = _fine_grid(int(np.ceil(radius_px)))
    return _filtered(image, _binned(np.hypot(y, x) <= radius_px))


def motion_blur(image: Floats, length_px: float, angle: float) -> Floats:
    """Blur along a straight line of `length_px` at `angle` (radians), one pixel wide, borders mirrored."""
    y, x = _fine_grid(int(np.ceil(length_px / 2)) + 1)
    along = x * np.cos(angle) + y * np.sin(angle)
    across = y * np.cos(angle) - x * np.sin(angle)
    return _filtered(image, _binned((np.abs(along) <= length_px / 2) & (np.abs(across) <= 0.5)))


def noise(image: Floats, deviation: float, rng: Generator) -> Floats:
    """Add independent Gaussian noise to every value."""
    return _floats(image + rng.normal(0, deviation, image.shape))


def jpeg(image: Floats, quality: int) -> Floats:
    """Save and read as a JPEG with halved colour resolution (4:2:0), as most phones write it."""
    file = BytesIO()
    PillowImage.fromarray(_to_bytes(image)).save(file, "JPEG", quality=quality, subsampling="4:2:0")
    return np.asarray(PillowImage.open(file).convert("RGB"), np.float32) / np.float32(255)


def haze(image: Floats, veil: float | Floats) -> Floats:
    """Lay a grey veil over the picture: a share `veil` of what is seen is the veil's own light."""
    return _floats(image * (1 - veil) + AIRLIGHT * veil)


def uneven_haze(image: Floats, veil: float, rng: Generator) -> Floats:
    """Lay a veil over the picture that is thicker here than there, on average `veil`."""
    coarse = rng.uniform(-1, 1, FIELD_SHAPE).astype(np.float32)
    field = cv2.resize(coarse, image.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    apart = _floats(field - field.mean())
    widest = max(float(np.abs(apart).max()), 1e-6)
    return haze(image, _floats(veil * (1 + UNEVENNESS / widest * apart))[..., None])


def darken(image: Floats, light: float) -> Floats:
    """Take the photo with `light` times the light, which scales linear values, not those of the file."""
    linear = _floats(np.where(image > 0.04045, ((image + 0.055) / 1.055) ** 2.4, image / 12.92)) * np.float32(light)
    return _floats(np.where(linear > 0.0031308, 1.055 * linear ** (1 / 2.4) - 0.055, 12.92 * linear))


def _mixture(image: Floats, rng: Generator) -> Floats:
    return noise(gaussian_blur(haze(image, MIXTURE_VEIL), MIXTURE_SIGMA_PX), MIXTURE_NOISE, rng)


CLEAN = Fault("clean", "clean", lambda image, rng: image)

FAULTS: tuple[Fault, ...] = (
    CLEAN,
    Fault("blur 1.0", "signal", lambda image, rng: gaussian_blur(image, 1.0)),
    Fault("blur 1.6", "signal", lambda image, rng: gaussian_blur(image, 1.6)),
    Fault("disk 2.4", "signal", lambda image, rng: defocus(image, 2.4)),
    Fault("motion 7", "signal", lambda image, rng: motion_blur(image, 7, rng.uniform(0, np.pi))),
    Fault("noise .02", "signal", lambda image, rng: noise(image, 0.02, rng), grainy=True),
    Fault("noise .04", "signal", lambda image, rng: noise(image, 0.04, rng), grainy=True),
    Fault("JPEG 40", "signal", lambda image, rng: jpeg(image, JPEG_QUALITY), grainy=True),
    Fault("haze .25", "scene", lambda image, rng: haze(image, 0.25)),
    Fault("haze .45", "scene", lambda image, rng: haze(image, 0.45)),
    Fault("light x .55", "scene", lambda image, rng: darken(image, 0.55)),
    Fault("haze + blur + noise", "scene", _mixture, grainy=True),
    Fault("uneven haze .25", "scene", lambda image, rng: uneven_haze(image, 0.25, rng), required=False),
    Fault("uneven haze .45", "scene", lambda image, rng: uneven_haze(image, 0.45, rng), required=False),
)
"""Every fault, in the order of the tables. An uneven veil is asked of nobody yet; it is measured beside the even one,
which a stretch of contrast undoes exactly where a photo reaches from black to white."""


def faults_named(names: tuple[str, ...]) -> tuple[Fault, ...]:
    """The faults of these names in the tables' order, all of them where none is named.

    Raises:
        InvalidParameter: there is no fault of a name.
    """
    known = {fault.name for fault in FAULTS}
    if unknown := [name for name in names if name not in known]:
        raise InvalidParameter(f"There is no fault {unknown[0]!r}: name some of {', '.join(sorted(known))}.")
    return tuple(fault for fault in FAULTS if not names or fault.name in names)


def _fine_grid(radius_px: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """(y, x) of the sub-samples of a kernel of `radius_px`, in pixels from its centre."""
    side = (2 * radius_px + 1) * SUBSAMPLES
    places = (np.arange(side) + 0.5) / SUBSAMPLES - radius_px - 0.5
    return np.meshgrid(places, places, indexing="ij")[0], np.meshgrid(places, places, indexing="ij")[1]


def _binned(inside: NDArray[np.bool_]) -> Floats:
    """The kernel of a shape drawn on the fine grid, with sum 1."""
    side = inside.shape[0] // SUBSAMPLES
    kernel = inside.reshape(side, SUBSAMPLES, side, SUBSAMPLES).mean((1, 3))
    return _floats(kernel / kernel.sum())


def _filtered(image: Floats, kernel: Floats) -> Floats:
    return _floats(cv2.filter2D(image, -1, kernel, borderType=cv2.BORDER_REFLECT_101))


def _floats(values: NDArray[Any]) -> Floats:
    return np.asarray(values, np.float32)


def _to_bytes(values: Floats) -> Image:
    return np.asarray(np.clip(np.rint(values * 255), 0, 255), np.uint8)
