"""StillGAN: cycle consistency, even illumination, and local structure.

Source: Ma et al., "Structure and Illumination Constrained GAN for Medical Image Enhancement", IEEE TMI 2021.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from model_training.config.schema import StillganWeights
from model_training.losses.cyclegan import cycle_terms, identity_terms
from model_training.losses.exchange import Exchange, Objective

# SSIM's third constant for values in [0, 1], and the Gaussian window's standard deviation in pixels.
_C3 = 0.03**2 / 2
_SIGMA_PX = 1.5
# The authors add N(0, 0.01) noise, the same to both images, so that flat regions do not divide nothing by nothing.
# We add its variance to the moments instead, which is its effect on average and draws nothing.
_NOISE_VARIANCE = 0.01**2


class StillGan(Objective):
    """Cycle consistency, identity, illumination of G(x), and structure both ways."""

    def __init__(self, weights: StillganWeights) -> None:
        super().__init__()
        self._weights = weights

    def terms(self, exchange: Exchange) -> dict[str, Tensor]:
        """Named scalar losses, weights included."""
        weights = self._weights
        terms = cycle_terms(exchange, weights.cycle) | identity_terms(exchange, weights.cycle * weights.identity)
        if weights.illumination:
            uneven = torch.stack([unevenness(exchange.fake_y, patch) for patch in weights.patches]).mean()
            terms["illumination_y"] = weights.cycle * weights.illumination * uneven
        if weights.structure:
            scale = weights.cycle * weights.structure
            terms["structure_x"] = scale * (1 - local_structure(exchange.fake_y, exchange.x, weights.window))
            terms["structure_y"] = scale * (1 - local_structure(exchange.fake_x, exchange.y, weights.window))
        return terms


def unevenness(image: Tensor, patch: int) -> Tensor:
    """Mean distance of the local brightness, over patches, from the whole image's.

    Shape: (B, 3, H, W) in [-1, 1] -> a scalar; 0 for an evenly lit image.
    Source: StillGAN's illumination regularisation.
    """
    unit = (image.float() + 1) / 2
    local = F.avg_pool2d(unit, patch) - unit.mean(dim=(2, 3), keepdim=True)
    smooth = F.interpolate(local, size=image.shape[-2:], mode="bicubic", align_corners=False)
    return smooth.abs().mean()


def local_structure(mapped: Tensor, image: Tensor, window: int) -> Tensor:
    """Mean of SSIM's structure term in a Gaussian window; 1 for equal images.

    Shape: two (B, 3, H, W) in [-1, 1] -> a scalar.
    Source: StillGAN's structure loss, with its noise replaced by the noise's variance.
    """
    # Variances are small differences of large moments: bfloat16 would lose them.
    with torch.autocast(mapped.device.type, enabled=False):
        return _structure((mapped.float() + 1) / 2, (image.detach().float() + 1) / 2, window)


def _structure(first: Tensor, second: Tensor, window: int) -> Tensor:
    kernel = _gaussian(window, first)

    def mean(values: Tensor) -> Tensor:
        return F.conv2d(values, kernel, padding=window // 2, groups=3)

    mean_1, mean_2 = mean(first), mean(second)
    variance_1 = (mean(first * first) - mean_1 * mean_1).clamp_min(0) + _NOISE_VARIANCE
    variance_2 = (mean(second * second) - mean_2 * mean_2).clamp_min(0) + _NOISE_VARIANCE
    covariance = mean(first * second) - mean_1 * mean_2 + _NOISE_VARIANCE
    return ((covariance + _C3) / (variance_1.sqrt() * variance_2.sqrt() + _C3)).mean()


def _gaussian(window: int, like: Tensor) -> Tensor:
    offsets = torch.arange(window, device=like.device, dtype=like.dtype) - window // 2
    row = torch.exp(-offsets.square() / (2 * _SIGMA_PX**2))
    row = row / row.sum()
    return torch.outer(row, row).expand(3, 1, window, window)
