"""Single faults of throat photography: each makes a photo worse in one way, as strongly as it is told.

Source: the list of faults in the design; haze after the atmospheric scattering model x t + a (1 - t).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from service.pixels import FloatImage


@dataclass(frozen=True, slots=True)
class Scene:
    """What a fault may draw on: random numbers, the length unit in pixels, and how strong to be in [0, 1]."""

    rng: np.random.Generator
    unit_px: float
    strength: float

    def between(self, weak: float, strong: float) -> float:
        """A value between `weak` and `strong`, at the scene's strength with a little play."""
        play = float(np.clip(self.strength + self.rng.uniform(-0.25, 0.25), 0, 1))
        return weak + (strong - weak) * play


Fault = Callable[[FloatImage, Scene], FloatImage]


def _bounded(image: NDArray[Any]) -> FloatImage:
    """`image` clipped to [0, 1], float32."""
    return np.asarray(np.clip(image, 0, 1), np.float32)


def _float(image: NDArray[Any]) -> FloatImage:
    return np.asarray(image, np.float32)


def smooth_field(shape: tuple[int, int], rng: np.random.Generator, cells: int) -> FloatImage:
    """A random field of `shape` (H, W) in [0, 1], as smooth as `cells` bicubic cells a side allow."""
    height, width = shape
    grid = rng.random((cells + 1, cells + 1)).astype(np.float32)
    return _bounded(cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC))


def _ramp(shape: tuple[int, int], rng: np.random.Generator) -> FloatImage:
    """A straight ramp in [0, 1] across the image in a random direction."""
    height, width = shape
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    ramp = x / width * np.cos(angle) + y / height * np.sin(angle)
    return _float((ramp - ramp.min()) / max(float(np.ptp(ramp)), 1e-6))


def _spot(shape: tuple[int, int], rng: np.random.Generator) -> FloatImage:
    """A soft round spot in [0, 1] somewhere in or near the image."""
    height, width = shape
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    cx, cy = rng.uniform(-0.1, 1.1) * width, rng.uniform(-0.1, 1.1) * height
    radius = rng.uniform(0.3, 0.9) * max(height, width)
    return _float(np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * radius**2)))


def _any_field(shape: tuple[int, int], rng: np.random.Generator) -> FloatImage:
    draw = rng.integers(4)
    if draw == 0:
        return _ramp(shape, rng)
    if draw == 1:
        return _spot(shape, rng)
    return smooth_field(shape, rng, int(draw))


def haze(image: FloatImage, scene: Scene) -> FloatImage:
    """A milky veil, thicker here than there: x t + a (1 - t) with a smooth t and a tinted a."""
    rng = scene.rng
    deepest = scene.between(0.05, 0.7)
    uniform = rng.uniform(0.2, 1.0)
    veil = deepest * (uniform + (1 - uniform) * _any_field(image.shape[:2], rng))[..., None]
    light = rng.uniform(0.55, 0.98) + rng.uniform(-0.07, 0.07, 3)
    return np.asarray(image * (1 - veil) + np.clip(light, 0, 1) * veil, np.float32)


def defocus(image: FloatImage, scene: Scene) -> FloatImage:
    """Gaussian or disk blur up to about 2.5 px at the reference side."""
    sigma = scene.between(0.4, 2.5) * scene.unit_px
    if scene.rng.random() < 0.5:
        return _float(cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101))
    radius = 1.6 * sigma
    reach = int(np.ceil(radius))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    kernel = np.clip(radius + 0.5 - np.hypot(x, y), 0, 1)
    return _float(cv2.filter2D(image, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT_101))


def motion(image: FloatImage, scene: Scene) -> FloatImage:
    """Blur along a straight line up to about 9 px at the reference side."""
    length = scene.between(2, 9) * scene.unit_px
    angle = scene.rng.uniform(0, np.pi)
    size = 2 * int(np.ceil(length / 2)) + 3
    kernel = np.zeros((size, size), np.float32)
    for step in np.linspace(-length / 2, length / 2, 4 * size):
        column, row = size // 2 + step * np.cos(angle), size // 2 + step * np.sin(angle)
        left, top = int(column), int(row)
        across, along = column - left, row - top
        kernel[top : top + 2, left : left + 2] += np.outer((1 - along, along), (1 - across, across))
    return _float(cv2.filter2D(image, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT_101))


def exposure(image: FloatImage, scene: Scene) -> FloatImage:
    """Too dark or too bright: a gain of the linear light, or a gamma; clipped as a sensor clips."""
    darker = scene.rng.random() < 0.6
    if scene.rng.random() < 0.6:
        stops = scene.between(-0.2, -1.9) if darker else scene.between(0.15, 1.0)
        return _bounded(image * 2 ** (stops / 2.2))
    gamma = scene.between(1.1, 2.2) if darker else scene.between(0.95, 0.55)
    return _float(np.power(np.clip(image, 0, 1), np.float32(gamma)))


def uneven_light(image: FloatImage, scene: Scene) -> FloatImage:
    """Light that falls off across the image, or a brighter spot."""
    depth = scene.between(0.1, 0.65)
    field = _any_field(image.shape[:2], scene.rng)[..., None]
    gain = 1 - depth * field + (0.3 * depth if scene.rng.random() < 0.5 else 0)
    return _bounded(image * gain)


def vignette(image: FloatImage, scene: Scene) -> FloatImage:
    """Corners darker than the middle."""
    height, width = image.shape[:2]
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    radius2 = ((x / width - 0.5) ** 2 + (y / height - 0.5) ** 2) * 2
    return np.asarray(image * (1 - scene.between(0.1, 0.7) * radius2[..., None]), np.float32)


def cast(image: FloatImage, scene: Scene) -> FloatImage:
    """A tint (another lamp's colour) and paler colours."""
    spread = scene.between(0.02, 0.14)
    gains = 1 + scene.rng.uniform(-spread, spread, 3)
    grey = image.mean(2, keepdims=True)
    paler = scene.between(0.0, 0.45) * scene.rng.random()
    return _bounded((image + (grey - image) * paler) * gains)


def noise(image: FloatImage, scene: Scene) -> FloatImage:
    """Shot and read noise, sometimes in blotches as a phone leaves them."""
    rng = scene.rng
    read, shot = scene.between(0.003, 0.035), scene.between(0.003, 0.05)
    grain = rng.standard_normal(image.shape, np.float32)
    if rng.random() < 0.35:
        blotch = rng.uniform(0.5, 1.2) * scene.unit_px
        grain = _float(cv2.GaussianBlur(grain, (0, 0), blotch) * (1.5 * blotch + 0.5))
    if rng.random() < 0.3:
        grain = np.repeat(grain[..., :1], 3, 2)
    return _bounded(image + grain * np.sqrt(read**2 + shot**2 * image))


def through_jpeg(image: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """`image` (H, W, 3) uint8 RGB as a JPEG file of `quality` (1 to 100) gives it back."""
    done, file = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:  # the encoder refuses no 8-bit image; if it ever did, the photo stays as it was
        return image
    return np.ascontiguousarray(np.asarray(cv2.imdecode(file, cv2.IMREAD_COLOR), np.uint8)[..., ::-1])


def jpeg(image: FloatImage, scene: Scene) -> FloatImage:
    """A JPEG file of quality 95 down to 18."""
    quality = int(scene.between(95, 18))
    stored = np.clip(np.rint(image * 255), 0, 255).astype(np.uint8)
    return _float(through_jpeg(stored, quality) / np.float32(255))


def resampling(image: FloatImage, scene: Scene) -> FloatImage:
    """Taken at fewer pixels and enlarged."""
    height, width = image.shape[:2]
    factor = scene.between(1.15, 2.6)
    small = (max(8, int(width / factor)), max(8, int(height / factor)))
    reduced = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
    return _bounded(cv2.resize(reduced, (width, height), interpolation=cv2.INTER_CUBIC))


def specks(image: FloatImage, scene: Scene) -> FloatImage:
    """Drops of saliva on the lens or in the air: small pale discs, soft, with a bright rim or spark."""
    rng = scene.rng
    height, width = image.shape[:2]
    cover = np.zeros((height, width), np.float32)
    for _ in range(rng.integers(1, 3 + int(10 * scene.strength))):
        centre = (int(rng.integers(width)), int(rng.integers(height)))
        radius = max(1, round(rng.uniform(0.8, 4.5) * scene.unit_px))
        cv2.circle(cover, centre, radius, rng.uniform(0.25, 0.8), -1, cv2.LINE_AA)
    softness = max(0.5, rng.uniform(0.5, 1.5) * scene.unit_px)
    cover = _float(cv2.GaussianBlur(cover, (0, 0), softness))[..., None]
    return np.asarray(image * (1 - cover) + np.float32(rng.uniform(0.75, 1.0)) * cover, np.float32)


FILE_FAULTS = (noise, jpeg)
"""What a sensor and a file do, after light and lens."""
