"""What one training step has computed, and what an objective makes of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Exchange:
    """Both mappings of one batch, there and back. Every image: (B, 3, H, W) RGB in [-1, 1].

    Attributes:
        x: real photos of low quality.
        y: real photos of high quality, of other scenes.
        fake_y: G(x).
        fake_x: F(y).
        rebuilt_x: F(G(x)).
        rebuilt_y: G(F(y)).
        enhance: G.
        degrade: F.
    """

    x: Tensor
    y: Tensor
    fake_y: Tensor
    fake_x: Tensor
    rebuilt_x: Tensor
    rebuilt_y: Tensor
    enhance: Callable[[Tensor], Tensor]
    degrade: Callable[[Tensor], Tensor]


class Objective(nn.Module, ABC):
    """What differs between the four methods: the generators' terms beside the adversarial ones."""

    @abstractmethod
    def terms(self, exchange: Exchange) -> dict[str, Tensor]:
        """Named scalar losses, weights included."""
