"""CycleGAN: the adversarial game with cycle consistency, which the other three build on.

Source: Zhu et al., "Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks", 2017.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from model_training.config.schema import CycleWeights
from model_training.losses.exchange import Exchange, Objective


def least_squares(scores: Tensor, target: float) -> Tensor:
    """Mean squared distance of a discriminator's scores from ``target`` (1 real, 0 made).

    Source: Mao et al. 2017; the LaMEGAN paper's eq. 4 and 5.
    """
    return (scores.float() - target).square().mean()


def cycle_terms(exchange: Exchange, weight: float) -> dict[str, Tensor]:
    """L1 between each image and what comes back of it. Source: the LaMEGAN paper's eq. 6."""
    return {
        "cycle_x": weight * F.l1_loss(exchange.rebuilt_x, exchange.x),
        "cycle_y": weight * F.l1_loss(exchange.rebuilt_y, exchange.y),
    }


def identity_terms(exchange: Exchange, weight: float) -> dict[str, Tensor]:
    """L1 between an image and its mapping into the side it is already on; nothing at weight 0.

    Source: Zhu et al. 2017, 5.2.
    """
    if weight == 0:
        return {}
    return {
        "identity_y": weight * F.l1_loss(exchange.enhance(exchange.y), exchange.y),
        "identity_x": weight * F.l1_loss(exchange.degrade(exchange.x), exchange.x),
    }


class CycleGan(Objective):
    """Cycle consistency and identity."""

    def __init__(self, weights: CycleWeights) -> None:
        super().__init__()
        self._weights = weights

    def terms(self, exchange: Exchange) -> dict[str, Tensor]:
        """Named scalar losses, weights included."""
        weights = self._weights
        return cycle_terms(exchange, weights.cycle) | identity_terms(exchange, weights.cycle * weights.identity)
