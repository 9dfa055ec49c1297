"""StillGAN's generator: a U-Net of residual blocks."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from model_training.networks.initialise import initialise_normal

# StillGAN's widths, as multiples of the first: they double three times and then stay.
_WIDEST = 8


class ResUNet(nn.Module):
    """A U-Net whose every step is a residual block; ``depth`` halvings down to one pixel at its crop size.

    Shape: (B, 3, H, W) float32 in [-1, 1] -> the same; H and W multiples of 2 ** depth.
    Source: Ma et al., "Structure and Illumination Constrained GAN for Medical Image Enhancement" (StillGAN), as its
    authors and the LaMEGAN authors implement it: depth 8, width 64.
    """

    def __init__(self, depth: int = 8, width: int = 64) -> None:
        super().__init__()
        self.multiple = 2**depth
        widths = [width * min(2**step, _WIDEST) for step in range(depth)]
        self.pool = nn.MaxPool2d(2)
        self.down = nn.ModuleList(_Residual(a, b) for a, b in zip([3, *widths], widths, strict=False))
        below = [*widths[1:], widths[-1]]
        self.grow = nn.ModuleList(_grow(b, a) for a, b in zip(widths, below, strict=True))
        self.join = nn.ModuleList(_Residual(2 * a, a) for a in widths)
        self.last = nn.Conv2d(width, 3, 1)
        initialise_normal(self)

    def forward(self, image: Tensor) -> Tensor:
        """Enhances (or degrades) a batch. Shape: (B, 3, H, W) in [-1, 1], in and out."""
        skips: list[Tensor] = []
        features = image
        for block in self.down:
            features = block(features)
            skips.append(features)
            features = self.pool(features)
        for skip, grow, join in zip(reversed(skips), reversed(self.grow), reversed(self.join), strict=True):
            features = join(torch.cat((skip, grow(features)), dim=1))
        return torch.tanh(self.last(features))


class _Residual(nn.Module):
    """Two 3x3 convolutions beside a 1x1 one, added. Shape: (B, A, H, W) -> (B, C, H, W)."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.long = nn.Sequential(
            nn.Conv2d(channels_in, channels_out, 3, padding=1),
            nn.InstanceNorm2d(channels_out),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(channels_out, channels_out, 3, padding=1),
            nn.InstanceNorm2d(channels_out),
        )
        self.short = nn.Sequential(nn.Conv2d(channels_in, channels_out, 1, bias=False), nn.InstanceNorm2d(channels_out))

    def forward(self, features: Tensor) -> Tensor:
        return nn.functional.leaky_relu(self.long(features) + self.short(features), 0.2)


def _grow(channels_in: int, channels_out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Upsample(scale_factor=2),
        nn.Conv2d(channels_in, channels_out, 3, padding=1),
        nn.InstanceNorm2d(channels_out),
        nn.LeakyReLU(0.2, inplace=True),
    )
