"""LaMEGAN: cycle consistency, and structure kept in the Laplacian pyramid.

Source: Cap, Fukuda, Iyatomi, "A Practical Framework for Unsupervised Structure Preservation Medical Image
Enhancement", arXiv 2304.01864, eq. 2 and 7.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model_training.config.schema import LameganWeights
from model_training.losses.cyclegan import cycle_terms, identity_terms
from model_training.losses.exchange import Exchange, Objective
from model_training.losses.lassim import Pyramid, residual
from model_training.networks.vgg import VggFeatures

# Keeps the saturation gain finite on a grey image; far below one grey level squared in [-1, 1].
_LEAST_CHROMA = 1e-6


class Lamegan(Objective):
    """Cycle consistency, the structure term both ways, and colour preservation as an option."""

    def __init__(self, weights: LameganWeights, features: VggFeatures) -> None:
        super().__init__()
        self._weights = weights
        self.structure = StructureDistance(features, level=weights.level, pyramid=weights.pyramid)

    def terms(self, exchange: Exchange) -> dict[str, Tensor]:
        """Named scalar losses, weights included."""
        weights = self._weights
        terms = cycle_terms(exchange, weights.cycle) | identity_terms(exchange, weights.cycle * weights.identity)
        if weights.structure:
            terms["structure_x"] = weights.structure * self.structure(exchange.fake_y, exchange.x)
            terms["structure_y"] = weights.structure * self.structure(exchange.fake_x, exchange.y)
        if weights.colour:
            terms["colour_x"] = weights.colour * colour_distance(exchange.fake_y, exchange.x, weights.colour_grid)
            terms["colour_y"] = weights.colour * colour_distance(exchange.fake_x, exchange.y, weights.colour_grid)
        return terms


class StructureDistance(nn.Module):
    """L1 between the VGG features of two images' Laplacian residuals; zero for equal images.

    The grey residual is repeated to three channels and taken as an image in [-1, 1], as the authors do.

    Shape: two (B, 3, H, W) in [-1, 1] -> a scalar. The first is the one that learns.
    Source: the paper's eq. 2.
    """

    def __init__(self, features: VggFeatures, *, level: int = 3, pyramid: Pyramid = "opencv") -> None:
        super().__init__()
        self.features = features
        self._level, self._pyramid = level, pyramid

    def forward(self, mapped: Tensor, image: Tensor) -> Tensor:
        """The distance of a mapped image from the image it was made of."""
        # The residual is a small difference of large values, which bfloat16 would lose.
        with torch.autocast(mapped.device.type, enabled=False):
            ours, theirs = (
                residual(side.float(), level=self._level, pyramid=self._pyramid).expand(-1, 3, -1, -1)
                for side in (mapped, image.detach())
            )
        return F.l1_loss(self.features(ours), self.features(theirs))


def colour_distance(mapped: Tensor, image: Tensor, grid: int = 8) -> Tensor:
    """How far the colours of regions moved apart from what one saturation gain for the whole image explains.

    Each image is averaged over ``grid`` x ``grid`` cells and reduced to two opponent colours, red-green and
    yellow-blue. Clearing haze saturates every region alike, which costs nothing; one region turning redder than
    the rest (the paper's "bold red areas") does.

    Shape: two (B, 3, H, W) in [-1, 1] -> a scalar. The first is the one that learns.
    Departure: ours; the paper announces a color-preservation term and does not define one.
    """
    ours, theirs = _opponent(mapped.float(), grid), _opponent(image.detach().float(), grid)
    gain = (ours * theirs).sum(dim=(1, 2, 3)) / theirs.square().sum(dim=(1, 2, 3)).clamp_min(_LEAST_CHROMA)
    return F.l1_loss(ours, gain.clamp_min(0).view(-1, 1, 1, 1) * theirs)


def _opponent(image: Tensor, grid: int) -> Tensor:
    red, green, blue = F.adaptive_avg_pool2d(image, grid).unbind(dim=1)
    return torch.stack((red - green, (red + green) / 2 - blue), dim=1)
