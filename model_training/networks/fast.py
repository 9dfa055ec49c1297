"""The fast generator: a small network that decides, and a full-resolution formula that acts.

A convolutional trunk at a quarter of the resolution (and below) predicts smooth maps of coefficients;
they are upsampled bilinearly and applied to the full-resolution input by a fixed formula:

1. filter: the input plus gains times its own fine bands (a gain below zero denoises, above zero sharpens).
   The bands come from even, zero-sum kernels, so no structure can move and a flat area stays flat;
2. colour: a local 3x4 affine transform (haze, exposure, cast) and a local tone curve that leaves black
   and white where they are.

No pixel is painted by the network itself: there is no pixel-shuffle grid, no dark frame from zero padding
(all padding replicates the border), and zero coefficients are the identity exactly.
Source: the local affine model of HDRNet (Gharbi et al. 2017) without the grid, and the curve of Zero-DCE
(Guo et al. 2020) in the range [-1, 1].
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

# The weights of LaSSIM's luminance, so that what the filter keeps is what the score reads.
from service.quality.pyramid import LUMINANCE

SCALES = 3
"""Bands at 1, 2 and 4 pixels (a trous): what lies above the band that LaSSIM's level 3 reads."""

AFFINE = 12
CURVE = 3
BANDS = 2 * SCALES
ORIENTED = 2 * (SCALES - 1)
COEFFICIENTS = AFFINE + CURVE + BANDS + ORIENTED

LARGEST = 2.0
"""Bound of every coefficient: enough to lift a veil of two thirds, too little to invent."""


def replicate_pad(x: Tensor, width: int) -> Tensor:
    """x (B, C, H, W) with its border pixels repeated `width` times on each side."""
    return functional.pad(x, (width, width, width, width), mode="replicate")


def _start_at_zero(layer: nn.Conv2d | nn.Linear) -> None:
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.zero_()


class ResidualBlock(nn.Module):
    """x + pointwise(relu(pointwise(depthwise 5x5(x)))): (B, C, h, w) to the same shape."""

    def __init__(self, channels: int, expansion: int = 2) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 5, groups=channels)
        self.expand = nn.Conv2d(channels, channels * expansion, 1)
        self.project = nn.Conv2d(channels * expansion, channels, 1)
        with torch.no_grad():
            self.project.weight.mul_(0.3)

    def forward(self, x: Tensor) -> Tensor:
        """Adds the block's change to x."""
        y: Tensor = self.expand(self.depthwise(replicate_pad(x, 2)))
        change: Tensor = self.project(functional.relu(y))
        return x + change


class GlobalModulation(nn.Module):
    """Scales and shifts every channel by what the whole image shows: (B, C, h, w) to the same shape."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(2 * channels, channels)
        self.out = nn.Linear(channels, 2 * channels)
        _start_at_zero(self.out)

    def forward(self, x: Tensor) -> Tensor:
        """Modulates x by its own means and maxima."""
        pooled = torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1)
        numbers: Tensor = self.out(functional.relu(self.hidden(pooled)))
        scale, shift = numbers.unsqueeze(-1).unsqueeze(-1).chunk(2, 1)
        return x * (1 + scale) + shift


def _stage(channels: int, blocks: int) -> nn.Sequential:
    return nn.Sequential(*[ResidualBlock(channels) for _ in range(blocks)])


class Trunk(nn.Module):
    """Predicts the coefficient maps: (B, 3, H, W) in [-1, 1] to (B, COEFFICIENTS, H/4, W/4).

    A three-stage U at 1/4, 1/8 and 1/16 of the resolution; the modulation at the bottom sees the whole image.
    """

    def __init__(self, widths: tuple[int, int, int], blocks: tuple[int, int, int]) -> None:
        super().__init__()
        quarter, eighth, sixteenth = widths
        self.stem = nn.Conv2d(3, quarter, 4, stride=4)
        self.mix = nn.Conv2d(quarter, quarter, 1)
        self.down1 = nn.Conv2d(quarter, eighth, 2, stride=2)
        self.down2 = nn.Conv2d(eighth, sixteenth, 2, stride=2)
        self.enter1 = _stage(quarter, blocks[0])
        self.enter2 = _stage(eighth, blocks[1])
        self.bottom1 = _stage(sixteenth, blocks[2])
        self.modulation = GlobalModulation(sixteenth)
        self.bottom2 = _stage(sixteenth, blocks[2])
        self.up2 = nn.Conv2d(sixteenth, eighth, 1)
        self.leave2 = _stage(eighth, blocks[1])
        self.up1 = nn.Conv2d(eighth, quarter, 1)
        self.leave1 = _stage(quarter, blocks[0])
        self.head = nn.Conv2d(quarter, COEFFICIENTS, 1)
        _start_at_zero(self.head)

    def forward(self, x: Tensor) -> Tensor:
        """Predicts the coefficients."""
        at4 = self.enter1(self.mix(functional.relu(self.stem(x))))
        at8 = self.enter2(self.down1(at4))
        at16 = self.bottom2(self.modulation(self.bottom1(self.down2(at8))))
        at8 = self.leave2(at8 + _double(self.up2(at16)))
        at4 = self.leave1(at4 + _double(self.up1(at8)))
        coefficients: Tensor = self.head(functional.relu(at4))
        return coefficients


def _double(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def _neighbours(x: Tensor, step: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Sums of opposite neighbours at distance `step`: horizontal, vertical, and the two diagonals.

    Only sums of opposite pixels are formed, so every filter made of them is even and moves nothing.
    """
    height, width = x.shape[-2], x.shape[-1]
    p = replicate_pad(x, step)
    top, mid, low = p[..., :height, :], p[..., step : step + height, :], p[..., 2 * step :, :]
    across = mid[..., :width] + mid[..., 2 * step :]
    along = top[..., step : step + width] + low[..., step : step + width]
    falling = top[..., :width] + low[..., 2 * step :]
    rising = top[..., 2 * step :] + low[..., :width]
    return across, along, falling, rising


def fine_bands(x: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """The input's own fine detail at 1, 2 and 4 pixels.

    Returns:
        the isotropic bands, SCALES tensors (B, 3, H, W): x minus its binomial 3x3 blur, and so on a trous;
        the oriented ones of the luminance, ORIENTED tensors (B, 1, H, W): second derivatives, upright and
        diagonal.
    """
    weights = x.new_tensor(LUMINANCE).view(1, 3, 1, 1)
    bands: list[Tensor] = []
    oriented: list[Tensor] = []
    for scale in range(SCALES):
        across, along, falling, rising = _neighbours(x, 2**scale)
        blurred = 0.25 * x + 0.125 * (across + along) + 0.0625 * (falling + rising)
        bands.append(x - blurred)
        if scale < SCALES - 1:
            oriented.append(((across - along) * (0.25 * weights)).sum(1, keepdim=True))
            oriented.append(((falling - rising) * (0.25 * weights)).sum(1, keepdim=True))
        x = blurred
    return bands, oriented


def apply_coefficients(x: Tensor, coefficients: Tensor) -> Tensor:
    """This module's formula: (B, 3, H, W) and (B, COEFFICIENTS, H, W) to (B, 3, H, W), not clipped."""
    affine, curve, gains, turns = torch.split(coefficients, [AFFINE, CURVE, BANDS, ORIENTED], 1)
    weights = x.new_tensor(LUMINANCE).view(1, 3, 1, 1)
    bands, oriented = fine_bands(x)
    filtered = x
    for scale, band in enumerate(bands):
        light = (band * weights).sum(1, keepdim=True)
        filtered = filtered + gains[:, 2 * scale : 2 * scale + 1] * band
        filtered = filtered + gains[:, 2 * scale + 1 : 2 * scale + 2] * light
    for index, band in enumerate(oriented):
        filtered = filtered + turns[:, index : index + 1] * band
    red, green, blue = filtered[:, 0:1], filtered[:, 1:2], filtered[:, 2:3]
    mixed = affine[:, 0:3] * red + affine[:, 3:6] * green + affine[:, 6:9] * blue + affine[:, 9:12]
    return filtered + mixed + curve * (1 - filtered * filtered)


class FastGenerator(nn.Module):
    """Enhances (B, 3, H, W) float32 in [-1, 1] to the same shape and range; H, W multiples of 16, at least 64.

    Options: `widths` and `blocks`, one number a stage (1/4, 1/8, 1/16 of the resolution).
    """

    multiple: ClassVar[int] = 16

    def __init__(self, widths: tuple[int, int, int] = (32, 64, 96), blocks: tuple[int, int, int] = (1, 2, 2)) -> None:
        super().__init__()
        w4, w8, w16 = widths
        b4, b8, b16 = blocks
        self.trunk = Trunk((w4, w8, w16), (b4, b8, b16))

    def forward(self, x: Tensor) -> Tensor:
        """Enhances x; while training the clipping passes gradients, so that a clipped pixel can come back."""
        maps = LARGEST * torch.tanh(self.trunk(x).float() / LARGEST)
        full = functional.interpolate(maps, scale_factor=4, mode="bilinear", align_corners=False)
        y = apply_coefficients(x, full)
        clipped = y.clamp(-1, 1)
        if self.training:
            return y + (clipped - y).detach()
        return clipped
