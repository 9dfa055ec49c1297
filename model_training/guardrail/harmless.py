"""Changes that leave structure alone and must not raise an alarm: light, contrast, sharpness, noise, file.

Convention: (H, W, 3) uint8 RGB in and out; every random choice comes from the generator handed in.
"""

from collections.abc import Callable
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from model_training.data.photo_faults import through_jpeg
from service.quality.pyramid import Image

Change: TypeAlias = Callable[[Image, np.random.Generator], Image]


def _rounded(values: NDArray[np.floating]) -> Image:
    return np.asarray(np.clip(np.rint(values), 0, 255), np.uint8)


def _field(image: Image, generator: np.random.Generator) -> NDArray[np.float32]:
    """(H, W, 1) float32 in [0, 1], smooth over about a third of the image."""
    coarse = generator.uniform(0, 1, (3, 3)).astype(np.float32)
    smooth = cv2.resize(coarse, (image.shape[1], image.shape[0]), interpolation=cv2.INTER_CUBIC)
    return np.asarray(np.clip(smooth, 0, 1)[..., None], np.float32)


def blur(image: Image, generator: np.random.Generator) -> Image:
    """Gaussian blur of sigma 0.8 to 3 px."""
    return np.asarray(cv2.GaussianBlur(image, (0, 0), generator.uniform(0.8, 3.0)), np.uint8)


def exposure(image: Image, generator: np.random.Generator) -> Image:
    """Every value times 0.6 to 1.5, clipped."""
    return _rounded(image * generator.uniform(0.6, 1.5))


def gamma(image: Image, generator: np.random.Generator) -> Image:
    """A tone curve with exponent 0.6 to 1.6."""
    return _rounded(255 * (image / 255) ** generator.uniform(0.6, 1.6))


def contrast(image: Image, generator: np.random.Generator) -> Image:
    """Contrast about the mean times 0.6 to 1.5."""
    mean = image.mean()
    return _rounded((image - mean) * generator.uniform(0.6, 1.5) + mean)


def local_contrast(image: Image, generator: np.random.Generator) -> Image:
    """Contrast-limited adaptive histogram equalisation of the lightness, clip limit 1 to 2.5."""
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)
    lab[..., 0] = cv2.createCLAHE(generator.uniform(1.0, 2.5), (4, 4)).apply(lab[..., 0])
    return np.asarray(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB), np.uint8)


def denoise(image: Image, generator: np.random.Generator) -> Image:
    """A bilateral filter of 15 to 40 grey levels, or a 3x3 or 5x5 median."""
    kind = generator.integers(3)
    if kind == 0:
        return np.asarray(cv2.medianBlur(image, int(generator.choice([3, 5]))), np.uint8)
    return np.asarray(cv2.bilateralFilter(image, 7, generator.uniform(15, 40), 3), np.uint8)


def noise(image: Image, generator: np.random.Generator) -> Image:
    """Gaussian noise of 2 to 10 grey levels."""
    return _rounded(image + generator.normal(0, generator.uniform(2, 10), image.shape))


def sharpen(image: Image, generator: np.random.Generator) -> Image:
    """Unsharp mask of sigma 2 px, amount 0.5 to 1.5."""
    soft = cv2.GaussianBlur(image, (0, 0), 2.0).astype(np.float32)
    return _rounded(image + generator.uniform(0.5, 1.5) * (image - soft))


def haze(image: Image, generator: np.random.Generator) -> Image:
    """A milky veil of 10 to 60 %, thicker here than there."""
    veil = 0.1 + 0.5 * _field(image, generator)
    return _rounded(image * (1 - veil) + generator.uniform(160, 230) * veil)


def uneven_light(image: Image, generator: np.random.Generator) -> Image:
    """Light that varies smoothly between 0.6 and 1.3."""
    return _rounded(image * (0.6 + 0.7 * _field(image, generator)))


def colour_cast(image: Image, generator: np.random.Generator) -> Image:
    """Each colour channel times 0.85 to 1.15."""
    return _rounded(image * generator.uniform(0.85, 1.15, 3))


def recompression(image: Image, generator: np.random.Generator) -> Image:
    """A JPEG of quality 30 to 80."""
    return through_jpeg(image, int(generator.integers(30, 81)))


HARMLESS: dict[str, Change] = {
    change.__name__.replace("_", " "): change
    for change in (
        *(blur, exposure, gamma, contrast, local_contrast, denoise, noise, sharpen),
        *(haze, uneven_light, colour_cast, recompression),
    )
}
"""Every harmless change by name."""
