"""The discriminator: CycleGAN's 70x70 PatchGAN."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from model_training.networks.initialise import initialise_normal

# Filters double at each layer up to eight times the first layer's.
_WIDEST = 8


def least_crop(layers: int) -> int:
    """The least side that so many layers can judge, in pixels: each halves it, and instance norm needs 2 by 2 values
    after the last, which takes one more."""
    return 3 << layers


class PatchGan(nn.Module):
    """Says of each 70x70 patch whether it looks real (1) or made (0), without a final sigmoid.

    With 3 layers of 64 filters: 2,764,737 parameters.

    Shape: (B, 3, H, W) float32 in [-1, 1] -> (B, 1, about H/8, about W/8).
    Source: Isola et al. 2017 and Zhu et al. 2017, 7.2 (C64-C128-C256-C512).
    """

    def __init__(self, width: int = 64, layers: int = 3) -> None:
        super().__init__()
        stack: list[nn.Module] = [nn.Conv2d(3, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2, inplace=True)]
        channels = width
        for layer in range(1, layers + 1):
            wider = width * min(2**layer, _WIDEST)
            stride = 2 if layer < layers else 1
            stack += [
                nn.Conv2d(channels, wider, 4, stride=stride, padding=1),
                nn.InstanceNorm2d(wider),
                nn.LeakyReLU(0.2, inplace=True),
            ]
            channels = wider
        self.layers = nn.Sequential(*stack, nn.Conv2d(channels, 1, 4, padding=1))
        initialise_normal(self)

    def forward(self, image: Tensor) -> Tensor:
        """Shape: (B, 3, H, W) in [-1, 1] -> (B, 1, h, w), one score a patch."""
        return cast("Tensor", self.layers(image))
