"""The fast generator: a small network that decides, and a full-resolution formula that acts.

A convolutional trunk at a quarter of the resolution (and below) predicts smooth maps of coefficients;
they are upsampled bilinearly and applied to the full-resolution input by a fixed formula:

1. filter: the input plus gains times its own fine bands (a gain below zero denoises, above zero sharpens).
   The bands come from even, zero-sum kernels, so no structure can move and it leaves a flat area flat;
2. colour: a local 3x4 affine transform (haze, exposure, cast) and a local tone curve that leaves black
   and white where they are.

No pixel is painted by the network itself: there is no pixel-shuffle grid, no dark frame from zero padding
(all padding replicates the border), and zero coefficients are the identity exactly.
Source: the local affine model of HDRNet (Gharbi et al. 2017) without the grid, and the curve of Zero-DCE
(Guo et al. 2020) in the range [-1, 1].
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import add
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

# The weights of LaSSIM's luminance, so that what the filter keeps is what the score reads.
from service.quality.pyramid import LUMINANCE

SCALES = 3
"""Bands at 1, 2 and 4 pixels (a trous): what lies above the band that LaSSIM's level 3 reads."""

BANDS = 2 * SCALES
ORIENTED = 2 * (SCALES - 1)
PARTS = (3, 3, 3, 3, 3, *[1] * (BANDS + ORIENTED))
"""What the coefficient maps are, in order: what red, green and blue give to each colour, the offset, the curve, and a
gain for each band: of the colours, of the luminance, at each scale; then the oriented ones."""

COEFFICIENTS = sum(PARTS)

LARGEST = 2.0
"""Bound of every coefficient: enough to lift a veil of two thirds, too little to invent."""

LEAST_GAINS = (-0.9, -1.0, -1.0)
"""At most this much of the luminance's band is taken away at each scale: a photo without its finest grain looks like
wax, and to NIQE it is less natural than a noisy one (docs/model-card.md). Of the colours all may go: it is noise.
The finest scale's is that of a noisy photo; the less grain there is, the less may be taken (`least_finest`)."""

STRENGTHS = (0.5, 2.0, 0.3)
"""What the luminance's gain at each scale is multiplied by. Nearness to the clean photo hardly tells these gains apart,
so training sharpens blotches at 4 pixels and leaves detail at 2 soft; NIQE on training photos chose the three."""

GRAIN, TILE = 1.2 / 127.5, 16
"""Strength of grain, in tiles, at which half of the finest scale's bound is allowed; clean photos have about that."""

STEM = 48
"""Filters that look at each patch of 4x4 pixels: as many as it has numbers."""

LEAST_VARIANCE = 1e-4
"""Keeps the deviation of a flat channel, and its gradient, finite."""


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
    """Scales and shifts every channel by what the whole image shows: (B, C, h, w) to the same shape.

    The shift may bulge towards the border, in proportion to the squared distance from the middle, as a vignette does;
    a convolution that replicates its border cannot know where the border is.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(4 * channels, 2 * channels)
        self.out = nn.Linear(2 * channels, 3 * channels)
        _start_at_zero(self.out)

    def forward(self, x: Tensor) -> Tensor:
        """Modulates x by its own means, deviations, maxima, and how it differs towards the border."""
        away = squared_distance(x)
        mean = x.mean((2, 3), keepdim=True)
        change = x - mean
        deviation = torch.sqrt((change * change).mean((2, 3)) + LEAST_VARIANCE)
        pooled = torch.cat([mean.flatten(1), deviation, x.amax((2, 3)), (change * away).mean((2, 3))], 1)
        numbers: Tensor = self.out(functional.relu(self.hidden(pooled)))
        scale, shift, bulge = numbers.unsqueeze(-1).unsqueeze(-1).chunk(3, 1)
        return x * (1 + scale) + shift + bulge * away


def squared_distance(x: Tensor) -> Tensor:
    """Squared distance from the middle of x (B, C, h, w), 0 on average: (B, 1, h, w), about -0.67 to 1.33."""
    ones = torch.ones_like(x[:, :1])

    def across(dim: int) -> Tensor:
        return (2 * ones.cumsum(dim) - 1) / ones.sum(dim, keepdim=True) - 1

    squares = across(2) ** 2 + across(3) ** 2
    return squares - squares.mean((2, 3), keepdim=True)


def _stage(channels: int, blocks: int) -> nn.Sequential:
    return nn.Sequential(*[ResidualBlock(channels) for _ in range(blocks)])


class Trunk(nn.Module):
    """Predicts the coefficient maps: (B, 3, H, W) in [-1, 1] to (B, COEFFICIENTS, H/4, W/4).

    A three-stage U at 1/4, 1/8 and 1/16 of the resolution; the modulation at the bottom sees the whole image.
    """

    def __init__(self, widths: tuple[int, int, int], blocks: tuple[int, int, int]) -> None:
        super().__init__()
        quarter, eighth, sixteenth = widths
        self.stem = nn.Conv2d(3, STEM, 4, stride=4)
        self.mix = nn.Conv2d(STEM, quarter, 1)
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
        # No bias: where no feature speaks the coefficients are 0, and a photo left alone comes back bit by bit.
        self.head = nn.Conv2d(quarter, COEFFICIENTS, 1, bias=False)
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


def _neighbours(x: Tensor, step: int, dim: int) -> Tensor:
    """The sum of x's two neighbours at distance `step` along `dim` (2: rows, 3: columns), the border replicated."""
    length = x.shape[dim]
    p = functional.pad(x, (step, step, 0, 0) if dim == 3 else (0, 0, step, step), mode="replicate")
    return p.narrow(dim, 0, length) + p.narrow(dim, 2 * step, length)


def fine_bands(x: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """The input's own fine detail at 1, 2 and 4 pixels.

    Only sums of opposite pixels are formed, so every filter made of them is even and moves nothing.

    Returns:
        the isotropic bands, SCALES tensors (B, 4, H, W), red, green, blue and luminance: x minus its binomial 3x3
        blur, and so on a trous;
        the oriented ones of the luminance, ORIENTED tensors (B, 1, H, W): second derivatives, upright and
        diagonal.
    """
    x = torch.cat([x, _luminance(x)], 1)
    bands: list[Tensor] = []
    oriented: list[Tensor] = []
    for scale in range(SCALES):
        step = 2**scale
        beside = _neighbours(x, step, 3)
        rows = 0.5 * x + 0.25 * beside
        blurred = 0.5 * rows + 0.25 * _neighbours(rows, step, 2)
        bands.append(x - blurred)
        if scale < SCALES - 1:
            oriented.extend(_oriented(x[:, 3:], step, beside[:, 3:]))
        x = blurred
    return bands, oriented


def _luminance(x: Tensor) -> Tensor:
    red, green, blue = LUMINANCE
    return red * x[:, 0:1] + green * x[:, 1:2] + blue * x[:, 2:3]


def _oriented(light: Tensor, step: int, beside: Tensor) -> tuple[Tensor, Tensor]:
    """The upright and the diagonal second derivative of `light` (B, 1, H, W), over 4 pixels' weight."""
    height, width = light.shape[-2], light.shape[-1]
    p = replicate_pad(light, step)
    top, low = p[..., :height, :], p[..., 2 * step :, :]
    over = top[..., step : step + width] + low[..., step : step + width]
    falling = top[..., :width] + low[..., 2 * step :]
    rising = top[..., 2 * step :] + low[..., :width]
    return 0.25 * (beside - over), 0.25 * (falling - rising)


def least_finest(diagonal: Tensor) -> Tensor:
    """How much of the finest luminance may be taken away where its diagonal derivative is `diagonal` (B, 1, H, W).

    The geometric mean of the derivative's strength in tiles is small in a blurred photo whatever its edges, and large
    in a noisy one. The bound rises with it as Wiener's does: (B, 1, 1, 1), from 0 without grain to `LEAST_GAINS[0]`.
    """
    tiles = functional.avg_pool2d(diagonal.abs(), TILE)
    power = torch.exp(4 * torch.log(tiles / GRAIN + 0.04).mean((2, 3), keepdim=True))
    return LEAST_GAINS[0] * power / (power + 1)


def full_size(coefficients: Tensor) -> list[Tensor]:
    """The coefficient maps (B, COEFFICIENTS, h, w) at four times the size: one tensor for each of `PARTS`."""
    # Parted before they grow: a slice of a full-size tensor costs its copy, and in training a zeroed gradient.
    return [
        functional.interpolate(part, scale_factor=4, mode="bilinear", align_corners=False)
        for part in torch.split(coefficients, list(PARTS), 1)
    ]


def apply_coefficients(x: Tensor, maps: Sequence[Tensor], detail: tuple[list[Tensor], list[Tensor]]) -> Tensor:
    """This module's formula: (B, 3, H, W) and the maps of `PARTS`, each (B, n, H, W), to (B, 3, H, W), not clipped.

    `detail` is that of x, from `fine_bands`.
    """
    of_red, of_green, of_blue, offset, curve, *gains = maps
    bands, oriented = detail
    filtered = x
    for gain, band in zip(gains[0:BANDS:2], bands, strict=True):
        filtered = filtered + gain * band[:, :3]
    lights = [gain * band[:, 3:] for gain, band in zip(gains[1:BANDS:2], bands, strict=True)]
    lights += [gain * band for gain, band in zip(gains[BANDS:], oriented, strict=True)]
    filtered = filtered + reduce(add, lights)
    red, green, blue = filtered[:, 0:1], filtered[:, 1:2], filtered[:, 2:3]
    mixed = of_red * red + of_green * green + of_blue * blue + offset
    return filtered + mixed + curve * (1 - filtered * filtered)


def _with_grain(coefficients: Tensor, finest: Tensor) -> Tensor:
    """The coefficients (B, COEFFICIENTS, h, w), the luminance's gains times `STRENGTHS`, and what is taken from the
    luminance bounded by `LEAST_GAINS`.

    `finest` (B, 1, 1, 1) is the bound at the finest scale, from `least_finest`.

    A gain of the colours acts on their luminance too, so that one gives way: the sum of both is what is bounded.
    """
    before, gains, turns = torch.split(coefficients, [COEFFICIENTS - BANDS - ORIENTED, BANDS, ORIENTED], 1)
    bounds: tuple[Tensor | float, ...] = (finest, *LEAST_GAINS[1:])
    bounded: list[Tensor] = []
    for least, strength, pair in zip(bounds, STRENGTHS, torch.split(gains, 2, 1), strict=True):
        colours, light = torch.split(pair, 1, 1)
        kept = _at_least(colours, -1.0)
        bounded += [kept, _at_least(colours + strength * light, least) - kept]
    return torch.cat([before, *bounded, turns], 1)


def _at_least(x: Tensor, least: Tensor | float) -> Tensor:
    """x, or `least` where it is below; what is below keeps the gradient that leads back, and so can come back."""
    if not x.requires_grad:
        return x.clamp_min(least)
    bounded: Tensor = _AtLeast.apply(x, least)  # type: ignore[no-untyped-call]
    return bounded


class _AtLeast(torch.autograd.Function):
    """Clamping from below, of whose gradient only the part is lost that leads further down."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, least: Tensor | float) -> Tensor:
        ctx.save_for_backward(x < least)
        return x.clamp_min(least)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (below,) = ctx.saved_tensors
        return torch.where(below, gradient.clamp_max(0), gradient), None


class FastGenerator(nn.Module):
    """Enhances (B, 3, H, W) float32 in [-1, 1] to the same shape and range; H, W multiples of 16, at least 64.

    Options: `widths` and `blocks`, one number a stage (1/4, 1/8, 1/16 of the resolution).
    """

    multiple: ClassVar[int] = 16

    def __init__(self, widths: tuple[int, int, int] = (32, 64, 128), blocks: tuple[int, int, int] = (1, 2, 4)) -> None:
        super().__init__()
        w4, w8, w16 = widths
        b4, b8, b16 = blocks
        self.trunk = Trunk((w4, w8, w16), (b4, b8, b16))

    def forward(self, x: Tensor) -> Tensor:
        """Enhances x; while training the clipping passes gradients, so that a clipped pixel can come back."""
        maps = LARGEST * torch.tanh(self.trunk(x).float() / LARGEST)
        detail = fine_bands(x)
        finest = least_finest(detail[1][1])
        y = apply_coefficients(x, full_size(_with_grain(maps, finest)), detail)
        clipped = y.clamp(-1, 1)
        if self.training:
            return y + (clipped - y).detach()
        return clipped
