"""The paper's generator: CycleGAN's residual network."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from model_training.networks.initialise import initialise_normal


class ResnetGenerator(nn.Module):
    """CycleGAN's generator: two strided convolutions, residual blocks at a quarter of the size, and back.

    Instance norm without affine, reflection padding, tanh at the end. With 9 blocks of 64 filters it has
    11,378,179 parameters.

    Shape: (B, 3, H, W) float32 in [-1, 1] -> the same; H and W multiples of 4.
    Source: Zhu et al. 2017, 7.2 (c7s1-64, d128, d256, R256 x 9, u128, u64, c7s1-3).
    """

    multiple = 4

    def __init__(self, blocks: int = 9, width: int = 64) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.ReflectionPad2d(3), *_convolution(nn.Conv2d(3, width, 7))]
        for channels in (width, 2 * width):
            layers += _convolution(nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1))
        layers += [ResidualBlock(4 * width) for _ in range(blocks)]
        for channels in (4 * width, 2 * width):
            layers += _convolution(
                nn.ConvTranspose2d(channels, channels // 2, 3, stride=2, padding=1, output_padding=1)
            )
        layers += [nn.ReflectionPad2d(3), nn.Conv2d(width, 3, 7), nn.Tanh()]
        self.layers = nn.Sequential(*layers)
        initialise_normal(self)

    def forward(self, image: Tensor) -> Tensor:
        """Enhances (or degrades) a batch. Shape: (B, 3, H, W) in [-1, 1], in and out."""
        return cast("Tensor", self.layers(image))


class ResidualBlock(nn.Module):
    """Adds to its input two 3x3 convolutions of it. Shape: (B, C, H, W), in and out."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.ReflectionPad2d(1),
            *_convolution(nn.Conv2d(channels, channels, 3)),
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3),
            nn.InstanceNorm2d(channels),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Shape: (B, C, H, W), in and out."""
        return features + cast("Tensor", self.layers(features))


def _convolution(convolution: nn.Conv2d | nn.ConvTranspose2d) -> list[nn.Module]:
    return [convolution, nn.InstanceNorm2d(convolution.out_channels), nn.ReLU(inplace=True)]
