"""LaSSIM and its Laplacian pyramid in torch: batched and differentiable, the same numbers as the metric's.

The one definition is ``service.quality``; a contract test holds this module to it. Images here are batches
(B, 3, H, W) RGB in [0, 1], float32 or float64.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Pyramid = Literal["opencv", "kornia"]

_LUMINANCE: dict[Pyramid, tuple[float, float, float]] = {
    "opencv": (0.2125, 0.7154, 0.0721),  # the metric's (scikit-image's rgb2gray)
    "kornia": (0.2989, 0.587, 0.114),  # torchvision's Grayscale, as the authors train
}
_BINOMIAL = (1.0, 4.0, 6.0, 4.0, 1.0)
WINDOW_PX = 7
_K1, _K2 = 0.01, 0.03
# A range below this is rounding, not structure.
_FLAT = {torch.float64: 1e-12, torch.float32: 1e-6}


def lassim(output: Tensor, reference: Tensor, *, level: int = 3) -> Tensor:
    """LaSSIM of each pair of a batch at its native scale.

    Shape: two (B, 3, H, W) in [0, 1] -> (B,), at most 1, same dtype.
    Raises:
        ValueError: the shapes differ, or the residual at ``level`` is smaller than the 7x7 window.
    Source: Cap, Fukuda, Iyatomi, arXiv 2304.01864, eq. 1; the numbers contract is ``service.quality.lassim``.
    """
    if output.shape != reference.shape:
        raise ValueError(f"LaSSIM compares images of one shape, not {output.shape} with {reference.shape}")
    return residual_ssim(residual(output, level=level), residual(reference, level=level))


def residual(image: Tensor, *, level: int = 3, pyramid: Pyramid = "opencv") -> Tensor:
    """The Laplacian residual of the luminance: ``G_l - pyrUp(G_{l+1})``.

    ``pyramid`` "kornia" gives the authors' training pyramid, which is another one than their metric's.

    Shape: (B, 3, H, W) -> (B, 1, h, w), h and w halved (rounded up; kornia: down) ``level`` times.
    """
    down, up = (_down, _up) if pyramid == "opencv" else (_kornia_down, _kornia_up)
    gaussian = _luminance(image, pyramid)
    for _ in range(level):
        gaussian = down(gaussian)
    return gaussian - up(down(gaussian), (gaussian.shape[-2], gaussian.shape[-1]))


def _luminance(image: Tensor, pyramid: Pyramid) -> Tensor:
    weights = image.new_tensor(_LUMINANCE[pyramid]).view(1, 3, 1, 1)
    return (image * weights).sum(dim=1, keepdim=True)


def finest(image: Tensor) -> Tensor:
    """The luminance less its binomial 3x3 blur, (B, 3, H, W) -> (B, 1, H, W): what varies from pixel to pixel."""
    luminance = _luminance(image, "opencv")
    row = image.new_tensor((0.25, 0.5, 0.25))
    padded = F.pad(luminance, (1, 1, 1, 1), mode="replicate")
    return luminance - F.conv2d(padded, torch.outer(row, row).view(1, 1, 3, 3))


def residual_ssim(first: Tensor, second: Tensor) -> Tensor:
    """SSIM of two residuals, the data range taken over both of a pair together.

    Shape: two (B, 1, h, w) -> (B,). A pair of range 0 (both flat and equal) scores 1.
    No gradient goes by way of the range: one blot that widened it would raise the score everywhere else, and a
    generator that trains on this learned to paint such blots.
    """
    if min(first.shape[-2:]) < WINDOW_PX:
        raise ValueError(f"a residual of {tuple(first.shape[-2:])} is smaller than the {WINDOW_PX}x{WINDOW_PX} window")
    both = torch.cat((first, second), dim=1).flatten(1)
    span = (both.amax(dim=1) - both.amin(dim=1)).detach()
    flat = span <= _FLAT[first.dtype]
    span = torch.where(flat, torch.ones_like(span), span).view(-1, 1, 1, 1)
    return torch.where(flat, torch.ones_like(flat, dtype=first.dtype), _ssim(first, second, span))


def _ssim(first: Tensor, second: Tensor, span: Tensor) -> Tensor:
    def mean(values: Tensor) -> Tensor:
        return F.avg_pool2d(values, WINDOW_PX, stride=1)

    pixels = WINDOW_PX**2
    sample = pixels / (pixels - 1)
    mean_1, mean_2 = mean(first), mean(second)
    variance_1 = sample * (mean(first * first) - mean_1 * mean_1)
    variance_2 = sample * (mean(second * second) - mean_2 * mean_2)
    covariance = sample * (mean(first * second) - mean_1 * mean_2)
    c1, c2 = (_K1 * span) ** 2, (_K2 * span) ** 2
    luminance = (2 * mean_1 * mean_2 + c1) / (mean_1**2 + mean_2**2 + c1)
    contrast = (2 * covariance + c2) / (variance_1 + variance_2 + c2)
    return (luminance * contrast).mean(dim=(1, 2, 3))


def _kernel(image: Tensor) -> Tensor:
    row = image.new_tensor(_BINOMIAL) / sum(_BINOMIAL)
    return torch.outer(row, row).view(1, 1, 5, 5)


def _reflected(image: Tensor) -> Tensor:
    # Reflect-101 by 2, which torch refuses for sides under 3 pixels; such levels have no 7x7 window anyway.
    return F.pad(image, (2, 2, 2, 2), mode="reflect")


def _down(image: Tensor) -> Tensor:
    """OpenCV's ``pyrDown``. Shape: (B, 1, H, W) -> (B, 1, (H + 1) // 2, (W + 1) // 2)."""
    return F.conv2d(_reflected(image), _kernel(image), stride=2)


def _up(image: Tensor, size: tuple[int, int]) -> Tensor:
    """OpenCV's ``pyrUp`` to ``size``. Shape: (B, 1, h, w) -> (B, 1, *size)."""
    return _up_along(_up_along(image, -2, size[0]), -1, size[1])


def _up_along(image: Tensor, dim: int, length: int) -> Tensor:
    # OpenCV's border is not symmetric: reflect-101 before the first sample, replicate after the last.
    n = image.shape[dim]
    before = image.narrow(dim, min(1, n - 1), 1)
    padded = torch.cat((before, image, image.narrow(dim, n - 1, 1)), dim=dim)
    left, centre, right = (padded.narrow(dim, start, n) for start in range(3))
    even, odd = (left + 6 * centre + right) / 8, (centre + right) / 2
    interleaved = torch.stack((even, odd), dim=-1 if dim == -1 else dim)
    return interleaved.flatten(*((-2, -1) if dim == -1 else (-3, -2))).narrow(dim, 0, length)


def _kornia_down(image: Tensor) -> Tensor:
    """kornia's ``pyrdown``: blur, then bilinear to the half (rounded down)."""
    blurred = F.conv2d(_reflected(image), _kernel(image))
    half = (image.shape[-2] // 2, image.shape[-1] // 2)
    return F.interpolate(blurred, size=half, mode="bilinear", align_corners=False)


def _kornia_up(image: Tensor, size: tuple[int, int]) -> Tensor:
    """kornia's ``pyrup``: bilinear to the double, then blur; to ``size`` where a side was odd."""
    grown = F.interpolate(image, size=size, mode="bilinear", align_corners=False)
    return F.conv2d(_reflected(grown), _kernel(grown))
