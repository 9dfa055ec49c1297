"""The detail network: mends blur, noise, blocks and specks by mixing fixed small filters, pixel by pixel.

A U-shaped trunk at 1/2, 1/4 and 1/8 of the resolution looks at the photo and at how much detail each filter finds, and
predicts a weight for every filter at every position. The output is the input plus the weighted sum. The filters are
learned once and are the same for all photos, but for one of luma that is made for each photo from its spectrum
(`spectrum.py`); each is even (a turn by 180 degrees leaves it as it is) and sums to zero, so that nothing moves, a flat
area stays flat, and no structure can appear that the input does not hold. The colour differences may also follow luma
(`guided.py`).

What happens at full size is computed on 2x2 blocks of pixels as channels: the same arithmetic, less memory traffic.

Source: per-pixel mixing of a filter bank as in BLADE (Getreuer et al. 2017) and kernel prediction networks (Mildenhall
et al. 2018), with the constraints above.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from model_training.networks.fast import replicate_pad
from model_training.networks.filters import FilterBank, doubled
from model_training.networks.guided import colour_lines
from model_training.networks.spectrum import RADIUS, WholePhotoFilter

YCC = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
"""RGB to luma and two colour differences, as JPEG (JFIF 1.02) has them."""

LEAST_DETAIL = 2e-3
"""Added to the strength of a band, in [-1, 1], before its logarithm: a quarter of a grey level."""

SLOWER = {"whole_filter": 0.6, "mix_whole": 0.3}
"""Shares of the learning rate, by the beginning of a weight's name."""

FOLLOWING = 4
"""Weights of what the two colour differences take over from luma: at half size, and of luma's finest detail."""

WHOLE_PHOTO = 96
"""Hidden features of what is judged of the whole photo."""


class Convolution(nn.Module):
    """A 3x3 convolution whose border is replicated: (B, `inputs`, h, w) to (B, `outputs`, h, w)."""

    def __init__(self, inputs: int, outputs: int, gain: float = 1.0) -> None:
        super().__init__()
        self.kernel = nn.Conv2d(inputs, outputs, 3)
        _keep_scale(self.kernel, gain)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve."""
        result: Tensor = self.kernel(replicate_pad(x, 1))
        return result


class Block(nn.Module):
    """relu(x + convolution(x)), (B, C, h, w) to the same shape.

    The sum is part of the kernel, as one more in its middle: so ONNX Runtime need not go through x again.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convolution = Convolution(channels, channels, 0.7)
        self.register_buffer("itself", nn.init.dirac_(torch.empty(channels, channels, 3, 3)), persistent=False)

    itself: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """Add the block's change."""
        kernel = self.convolution.kernel
        return functional.relu(functional.conv2d(replicate_pad(x, 1), kernel.weight + self.itself, kernel.bias))


class Modulation(nn.Module):
    """Scale and shift each channel by what the whole photo shows: (B, C, h, w) and (B, `extra`) to (B, C, h, w)."""

    def __init__(self, channels: int, extra: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(2 * channels + extra, channels)
        self.out = nn.Linear(channels, 2 * channels)
        with torch.no_grad():
            self.out.weight.zero_()
            self.out.bias.zero_()

    def forward(self, x: Tensor, extra: Tensor) -> Tensor:
        """Modulate x by its own means and deviations and by `extra`."""
        mean = x.mean((2, 3), keepdim=True)
        deviation = torch.sqrt(((x - mean) ** 2).mean((2, 3)) + 1e-4)
        told = torch.cat([mean.flatten(1), deviation, extra], 1)
        scale, shift = self.out(functional.relu(self.hidden(told))).unsqueeze(-1).unsqueeze(-1).chunk(2, 1)
        modulated: Tensor = x * (1 + scale) + shift
        return modulated


class WholePhotoMix(nn.Module):
    """Weights of the mix that hold for the whole photo: (B, K, h, w) strengths to (B, `outputs`, 1, 1).

    A blur is the same everywhere, and what undoes it is one filter for the whole photo (`spectrum.py` finds it); these
    go with it.
    """

    def __init__(self, told: int, outputs: int) -> None:
        super().__init__()
        self.first = nn.Linear(2 * told, WHOLE_PHOTO)
        self.second = nn.Linear(WHOLE_PHOTO, WHOLE_PHOTO)
        self.out = nn.Linear(WHOLE_PHOTO, outputs)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, strength: Tensor) -> Tensor:
        """Judge the photo by the means and deviations of its strengths."""
        mean = strength.mean((2, 3), keepdim=True)
        deviation = torch.sqrt(((strength - mean) ** 2).mean((2, 3)) + 1e-4)
        told = torch.cat([mean.flatten(1), deviation], 1)
        weights: Tensor = self.out(functional.relu(self.second(functional.relu(self.first(told)))))
        return weights.unsqueeze(-1).unsqueeze(-1)


def _keep_scale(layer: nn.Conv2d, gain: float = 1.0) -> None:
    """First weights that keep the features' scale through a ReLU: torch's own let it fade, and training stalls."""
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    with torch.no_grad():
        layer.weight.mul_(gain)
        if layer.bias is not None:
            layer.bias.zero_()


def _pointwise(inputs: int, outputs: int, gain: float = 1.0) -> nn.Conv2d:
    layer = nn.Conv2d(inputs, outputs, 1)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="linear")
    with torch.no_grad():
        layer.weight.mul_(gain)
        nn.init.zeros_(layer.bias) if layer.bias is not None else None
    return layer


def _first_looks(layer: nn.Conv2d) -> None:
    """Three in four first filters look at differences only, six times as strongly; half of all at brightness alone.

    Grain and blur are small beside the picture itself: filters that add it up would take long to learn to see them.
    """
    with torch.no_grad():
        weight = layer.weight
        keen, grey = weight.shape[0] * 3 // 4, weight.shape[0] // 2
        weight[:keen] -= weight[:keen].mean((1, 2, 3), keepdim=True)
        weight[:keen] *= 6
        weight[:grey] = 1.7 * weight[:grey].mean(1, keepdim=True)


class DetailNetwork(nn.Module):
    """Mends detail of (B, 3, H, W) float32 in [-1, 1] to the same shape, not clipped; H, W multiples of 8.

    Options: `widths`, channels at 1/2, 1/4, 1/8; `blocks`, blocks there on the way down.
    """

    multiple: ClassVar[int] = 8

    def __init__(self, widths: tuple[int, int, int] = (16, 40, 64), blocks: tuple[int, int, int] = (1, 2, 3)) -> None:
        super().__init__()
        half, quarter, eighth = widths
        # What is mixed: of luma and of the two colour differences, at full, half and quarter resolution.
        self.luma_full = FilterBank(4, (0.6, 1.0, 1.6), (0.9, 1.6))
        self.colour_full = FilterBank(3, (0.7, 1.5), planes=2)
        self.luma_half = FilterBank(4, (0.7, 1.2, 2.0), (1.2, 2.0))
        self.colour_half = FilterBank(3, (0.8, 1.8), planes=2)
        self.luma_quarter = FilterBank(3, (0.8, 1.8))
        self.colour_quarter = FilterBank(3, (0.8, 1.8), planes=2)
        found = len(self.luma_full) + 2 * len(self.colour_full)
        told = found + len(self.luma_half)
        self.enter_half = nn.Conv2d(3, half, 6, stride=2)
        _keep_scale(self.enter_half)
        _first_looks(self.enter_half)
        self.down_half = _blocks(half, blocks[0])
        self.to_quarter = nn.Conv2d(half, quarter, 2, stride=2)
        self.strength = _pointwise(told, quarter)
        self.down_quarter = _blocks(quarter, blocks[1])
        self.to_eighth = nn.Conv2d(quarter, eighth, 2, stride=2)
        self.down_eighth = _blocks(eighth, blocks[2] - 1)
        self.modulation = Modulation(eighth, told)
        self.up_eighth = Block(eighth)
        self.from_eighth = _pointwise(eighth, quarter)
        self.up_quarter = Block(quarter)
        self.from_quarter = _pointwise(quarter, half)
        self.up_half = Block(half)
        of_half = 4 * found + len(self.luma_half) + 2 * len(self.colour_half)
        self.mix_half = _pointwise(half, of_half, 0.05)
        self.mix_quarter = _pointwise(quarter, len(self.luma_quarter) + 2 * len(self.colour_quarter), 0.05)
        self.mix_following = _pointwise(half, FOLLOWING, 0.05)
        self.finest = nn.Parameter(torch.eye(1, len(self.luma_full)))
        self.mix_whole = WholePhotoMix(told, sum(self._mixes))
        self.whole_filter = WholePhotoFilter()
        self.whole_share = nn.Conv2d(half, 1, 1)
        for parameter in self.whole_share.parameters():
            nn.init.zeros_(parameter)
        for layer in (self.to_quarter, self.to_eighth):
            _keep_scale(layer)
        to_ycc = torch.tensor(YCC)
        self.register_buffer("to_ycc", to_ycc[None], persistent=False)
        self.register_buffer("to_rgb", torch.linalg.inv(to_ycc).contiguous()[None], persistent=False)
        self.register_buffer("to_double", _double_as_blocks(3), persistent=False)

    to_ycc: Tensor
    to_rgb: Tensor
    to_double: Tensor

    @property
    def _mixes(self) -> list[int]:
        """How many weights hold for the whole photo, of each mix."""
        return [mix.out_channels for mix in (self.mix_half, self.mix_following, self.mix_quarter)]

    @property
    def _banks(self) -> tuple[tuple[FilterBank, int], ...]:
        """What is weighed, in the order of the weights, and the weights of each filter and plane."""
        at_half = ((self.luma_full, 4), (self.colour_full, 4), (self.luma_half, 1), (self.colour_half, 1))
        return (*at_half, (self.luma_quarter, 1), (self.colour_quarter, 1))

    def fix(self) -> None:
        """Work out once what does not depend on the photo, for export; training is over then."""
        for part in self.modules():
            if isinstance(part, FilterBank | WholePhotoFilter):
                part.fix()

    def forward(self, x: Tensor) -> Tensor:
        """Mend the detail of x."""
        change = self.change(x)
        rgb = torch.matmul(self.to_rgb, torch.unflatten(change, 1, (3, 4)).flatten(2)).reshape(change.shape)
        return x + functional.pixel_shuffle(rgb, 2)

    def planes(self, x: Tensor) -> Tensor:
        """Luma and the two colour differences of x: (B, 3, H, W) in [-1, 1] to the same shape and range."""
        return torch.matmul(self.to_ycc, x.flatten(2)).reshape(x.shape)

    def change(self, x: Tensor) -> Tensor:
        """What is added to x, in luma and colour differences and as 2x2 blocks: (B, 12, H/2, W/2).

        Channel 4 c + 2 i + j is that of plane c at row i and column j of a block.
        """
        ycc = self.planes(x)
        halves = functional.avg_pool2d(ycc, 2)
        quarters = functional.avg_pool2d(halves, 2)
        found = [self.luma_full.on_blocks(ycc[:, :1]), self.colour_full.on_blocks(ycc[:, 1:])]
        found += [self.luma_half(halves[:, :1]), self.colour_half(halves[:, 1:])]
        found += [self.luma_quarter(quarters[:, :1]), self.colour_quarter(quarters[:, 1:])]
        strength = self._strength(found)
        at_half, at_quarter = self._features(x, strength)
        of_half, of_following, of_quarter = torch.split(self.mix_whole(strength), self._mixes, 1)
        told, told_coarsely = _with_ones(at_half), _with_ones(at_quarter)
        full_luma, full_colour, luma, colour = _weighted(
            self._banks[:4], found[:4], _rows(self.mix_half, of_half), told
        )
        coarse = _weighted(self._banks[4:], found[4:], _rows(self.mix_quarter, of_quarter), told_coarsely)
        none = torch.zeros_like(of_following[:, :1])
        others = torch.cat([_rows(self.mix_following, of_following), _rows(self.whole_share, none)], 1)
        weights = torch.matmul(others, told).reshape(x.shape[0], -1, *at_half.shape[2:])
        following, share = torch.split(weights, [FOLLOWING, 1], 1)
        sharper, finest = self.whole_filter(ycc[:, :1], self._finest_filter()).chunk(2, 1)
        full_luma = full_luma + sharper * (1 + share)
        follows, follows_finely = self._following(halves, finest, following)
        half = torch.cat([luma, colour + follows], 1) + doubled(torch.cat(coarse, 1))
        full = torch.cat([full_luma, full_colour + follows_finely], 1)
        return full + functional.conv2d(replicate_pad(half, 1), self.to_double, groups=3)

    def _finest_filter(self) -> Tensor:
        """What finds luma's finest detail, a mix of the bank's filters: (13, 13)."""
        border = RADIUS - self.luma_full.radius
        mixed = (self.finest[0, :, None, None] * self.luma_full.filters()).sum(0)
        return functional.pad(mixed, (border, border, border, border))

    def _following(self, halves: Tensor, finest: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """What the colour differences take over from luma: at half size (B, 2, h, w), and as blocks (B, 8, h, w).

        Args:
            halves: the photo at half size, (B, 3, h, w).
            finest: luma's finest detail at full size, as blocks (B, 4, h, w).
            weights: (B, FOLLOWING, h, w).
        """
        gain, offset = colour_lines(halves)
        at_half, finely = weights.chunk(2, 1)
        luma, colour = halves[:, :1], halves[:, 1:]
        at_full = torch.cat([weight * finest for weight in (finely * gain).chunk(2, 1)], 1)
        return at_half * (gain * luma + offset - colour), at_full

    def _strength(self, found: Sequence[Tensor]) -> Tensor:
        """Logarithm of how much each filter finds, over 4x4 pixels: (B, 26, H/4, W/4)."""
        luma, colour, half = (bank.strength(part) for (bank, _), part in zip(self._banks[:3], found[:3], strict=True))
        blue, red = colour[:, ::2], colour[:, 1::2]
        return torch.log(torch.cat([luma, blue, red, half], 1) + LEAST_DETAIL) * 0.5 + 2

    def _features(self, x: Tensor, strength: Tensor) -> tuple[Tensor, Tensor]:
        """The trunk's features at 1/2 and at 1/4 of the resolution."""
        half = self.down_half(functional.relu(self.enter_half(replicate_pad(x, 2))))
        quarter = self.down_quarter(functional.relu(self.to_quarter(half) + self.strength(strength)))
        eighth = self.down_eighth(functional.relu(self.to_eighth(quarter)))
        eighth = self.up_eighth(self.modulation(eighth, strength.mean((2, 3))))
        quarter = self.up_quarter(quarter + doubled(self.from_eighth(eighth)))
        return self.up_half(half + doubled(self.from_quarter(quarter))), quarter


def _with_ones(features: Tensor) -> Tensor:
    """Features (B, C, h, w) and a one at each place: (B, C + 1, h w)."""
    return torch.cat([features, torch.ones_like(features[:, :1])], 1).flatten(2)


def _rows(layer: nn.Conv2d, whole: Tensor) -> Tensor:
    """What makes weights of `_with_ones`, which are then `layer(features) + whole`: (B, n, C + 1).

    What holds for the whole photo is a column more of one product of matrices: to add it later would be to go through
    all weights again.
    """
    alike = whole.flatten(2) if layer.bias is None else whole.flatten(2) + layer.bias[:, None]
    return torch.cat([layer.weight.flatten(1).expand(whole.shape[0], -1, -1), alike], 2)


def _weighted(
    banks: Sequence[tuple[FilterBank, int]], found: Sequence[Tensor], rows: Tensor, told: Tensor
) -> list[Tensor]:
    """The sum over the filters of each of `found` times its weights, which are the product of `rows` and `told`."""
    counts = [bank.channels(positions) for bank, positions in banks]
    sums = []
    for (bank, positions), part, of_part in zip(banks, found, torch.split(rows, counts, 1), strict=True):
        weights = torch.matmul(bank.filter_by_filter(of_part, positions), told).reshape(part.shape)
        sums.append(bank.over_filters(weights * part))
    return sums


def _double_as_blocks(channels: int) -> Tensor:
    """Kernels (4 `channels`, 1, 3, 3) that give `doubled` as 2x2 blocks, where the border is replicated."""
    before, after = torch.tensor([0.25, 0.75, 0.0]), torch.tensor([0.0, 0.75, 0.25])
    pairs = [(row, column) for row in (before, after) for column in (before, after)]
    return torch.stack([torch.outer(row, column) for row, column in pairs]).unsqueeze(1).repeat(channels, 1, 1, 1)


def _blocks(channels: int, count: int) -> nn.Sequential:
    return nn.Sequential(*[Block(channels) for _ in range(count)])
