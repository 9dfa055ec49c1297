"""MIINet: cycle consistency, and VGG features of the pixels themselves.

Source: "MIINet: An Image Quality Improvement Framework for Supporting Medical Diagnosis", arXiv 2011.14132.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from model_training.config.schema import MiinetWeights
from model_training.losses.cyclegan import cycle_terms, identity_terms
from model_training.losses.exchange import Exchange, Objective
from model_training.networks.vgg import VggFeatures


class Miinet(Objective):
    """Cycle consistency, and L1 between the features of each image and of its mapping, both ways."""

    def __init__(self, weights: MiinetWeights, features: VggFeatures) -> None:
        super().__init__()
        self._weights = weights
        self.features = features

    def terms(self, exchange: Exchange) -> dict[str, Tensor]:
        """Named scalar losses, weights included."""
        weights = self._weights
        return (
            cycle_terms(exchange, weights.cycle)
            | identity_terms(exchange, weights.cycle * weights.identity)
            | {
                "perceptual_x": weights.perceptual * self._distance(exchange.x, exchange.fake_y),
                "perceptual_y": weights.perceptual * self._distance(exchange.y, exchange.fake_x),
            }
        )

    def _distance(self, image: Tensor, mapped: Tensor) -> Tensor:
        return F.l1_loss(self.features(mapped), self.features(image).detach())
