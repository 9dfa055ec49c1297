"""The colour network: mends light, haze and cast by a local affine change of colour and a tone curve.

A trunk at a quarter of the resolution and below predicts smooth maps of coefficients, which are grown to full size and
applied to each pixel's own colour. It paints nothing: zero coefficients are the identity, and where the photo is flat
the change is smooth. What decides about haze and exposure is often the darkest and the brightest that a photo holds (a
veil lifts black, underexposure dims the highlights), so quantiles of its colours are shown to the trunk's bottom and to
the coefficients directly. Where the change is nearly even, `even` makes it so.

Source: the local affine model of HDRNet (Gharbi et al. 2017) without the grid, and the curve of Zero-DCE (Guo et al.
2020) in the range [-1, 1].
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from model_training.networks.even import Ends, Line, even_change
from model_training.networks.fast import LARGEST, Trunk
from model_training.networks.filters import doubled

COEFFICIENTS = 15
"""What red, green and blue give to each colour (3 each), the offset (3), and the curve (3)."""

QUANTILES = (0, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 1)
"""Of each of ten planes: blocks' mean red, green, blue and luma; their largest and their smallest red, green, blue."""

BLOCK_PX = 4
PLANES = 10
HIDDEN, TOLD = 128, 96
LEAK = 0.1
"""Slope below 0."""
LEAST_SPREAD, MOST_UNUSUAL = 0.03, 4.0
"""Added to a quantile's deviation; the most deviations from its mean that are told."""

SLOWER = {"statistics.hidden": 0.15, "statistics.out": 0.15, "of_bottom.weight": 0.06, "of_all.weight": 0.06}
"""Shares of the learning rate, by the beginning of a weight's name."""


class PhotoStatistics(nn.Module):
    """What the whole photo's colours tell: its quantiles, (B, PLANES len(QUANTILES)) in [-1, 1], to (B, TOLD)."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(PLANES * len(QUANTILES), HIDDEN)
        self.out = nn.Linear(HIDDEN, TOLD)
        self.register_buffer("shares", torch.tensor(QUANTILES), persistent=False)
        self.register_buffer("centre", torch.zeros(PLANES * len(QUANTILES)))
        self.register_buffer("spread", torch.full((PLANES * len(QUANTILES),), 0.5))
        self._of_ranks: OfRanks = by_sorting

    shares: Tensor
    centre: Tensor
    spread: Tensor
    """Mean and deviation of each quantile over the photos learnt from: what is told is how unusual a photo's is."""

    @torch.no_grad()
    def measure(self, batches: Iterable[Tensor]) -> None:
        """Set `centre` and `spread` from `batches`, each (B, 3, H, W) in [-1, 1]."""
        found = torch.cat([quantiles(batch, self.shares) for batch in batches])
        self.centre.copy_(found.mean(0))
        self.spread.copy_(found.std(0) + LEAST_SPREAD)

    def fix(self) -> None:
        """Select the quantiles as an exported graph had better do; training is over then."""
        self._of_ranks = by_selection

    def seen(self, x: Tensor) -> Tensor:
        """The quantiles of x: (B, PLANES len(QUANTILES))."""
        return quantiles(x, self.shares, self._of_ranks)

    def forward(self, seen: Tensor) -> Tensor:
        """Weigh the quantiles."""
        # Leaky, and slow to learn: over quantiles, which rise and fall together, rectified layers at the full rate fell
        # silent within minutes and for good. Those of 1.1.0 had: it sees no quantile at all.
        unusual = ((seen - self.centre) / self.spread).clamp(-MOST_UNUSUAL, MOST_UNUSUAL)
        told: Tensor = functional.leaky_relu(self.out(functional.leaky_relu(self.hidden(unusual), LEAK)), LEAK)
        return told


OfRanks = Callable[[Tensor, Tensor], Tensor]
"""The values of rising ranks (k,), from 0, in each row: (B, n, m) to (B, n, k)."""

SORTED_RANKS = 7
"""Ranks at either end of `QUANTILES` that come out of one sorted selection: up to a tenth of all."""


def by_sorting(rows: Tensor, ranks: Tensor) -> Tensor:
    """See `OfRanks`."""
    return rows.sort(2).values.index_select(2, ranks)


def by_selection(rows: Tensor, ranks: Tensor) -> Tensor:
    """See `OfRanks`: the very values of `by_sorting`, for `QUANTILES`, in less than half the time in ONNX Runtime.

    It selects the least k of a row far sooner than it sorts them all; the largest of them is the value of rank k - 1,
    and lower ranks are among them.
    """
    from_top, half = rows.shape[2] - 1 - ranks, len(QUANTILES) // 2
    least, most = rows, rows
    below, above = [], []
    for rank in range(half, SORTED_RANKS - 1, -1):
        least = _selected(least, ranks[rank] + 1, largest=False)
        below.append(least.amax(2, keepdim=True))
    for rank in range(half + 1, len(QUANTILES) - SORTED_RANKS):
        most = _selected(most, from_top[rank] + 1, largest=True)
        above.append(most.amin(2, keepdim=True))
    low, high = ranks[:SORTED_RANKS], from_top[-SORTED_RANKS:]
    least = _selected(least, low[-1] + 1, largest=False, ordered=True).index_select(2, low)
    most = _selected(most, high[0] + 1, largest=True, ordered=True).index_select(2, high)
    return torch.cat([least, *reversed(below), *above, most], 2)


def _selected(rows: Tensor, count: Any, *, largest: bool, ordered: bool = False) -> Tensor:
    """The largest or the least `count` values of each row; a count that is a tensor stays one in a traced graph."""
    values: Tensor = rows.topk(count, 2, largest=largest, sorted=ordered).values
    return values


def quantiles(x: Tensor, shares: Tensor, of_ranks: OfRanks = by_sorting) -> Tensor:
    """The quantiles `shares` of the ten planes of x (B, 3, H, W): (B, 10 len(shares))."""
    mean = functional.avg_pool2d(x, BLOCK_PX)
    luma = 0.299 * mean[:, :1] + 0.587 * mean[:, 1:2] + 0.114 * mean[:, 2:]
    largest, smallest = functional.max_pool2d(x, BLOCK_PX), -functional.max_pool2d(-x, BLOCK_PX)
    planes = torch.cat([mean, luma, largest, smallest], 1).flatten(2)
    return of_ranks(planes, torch.round(shares * (planes.shape[2] - 1)).long()).flatten(1)


class ColourNetwork(nn.Module):
    """Mends the colours of (B, 3, H, W) float32 in [-1, 1] to the same shape, not clipped; H, W multiples of 16.

    Options: `widths` and `blocks`, one number a stage (1/4, 1/8, 1/16 of the resolution).
    """

    multiple: ClassVar[int] = 16

    def __init__(self, widths: tuple[int, int, int] = (32, 64, 128), blocks: tuple[int, int, int] = (1, 2, 4)) -> None:
        super().__init__()
        quarter, eighth, sixteenth = widths
        b4, b8, b16 = blocks
        self.trunk = Trunk((quarter, eighth, sixteenth), (b4, b8, b16))
        del self.trunk.head
        self.statistics = PhotoStatistics()
        self.of_bottom = nn.Linear(TOLD, 2 * sixteenth)
        self.of_all = nn.Linear(TOLD, COEFFICIENTS)
        # A head of rectified features alone gives nothing, and no gradient, where they are all 0: that of the first
        # fast generator fell silent on every clean, noisy or blurred photo. The plain head keeps all within reach.
        self.head = nn.Conv2d(quarter, COEFFICIENTS, 1, bias=False)
        self.plain_head = nn.Conv2d(quarter, COEFFICIENTS, 1)
        for layer in (self.of_bottom, self.of_all, self.head, self.plain_head):
            for parameter in layer.parameters():
                nn.init.zeros_(parameter)

    def coefficients(self, x: Tensor, seen: Tensor) -> Tensor:
        """Predict the maps, bounded: (B, 3, H, W) and its quantiles to (B, COEFFICIENTS, H/4, W/4)."""
        trunk, told = self.trunk, self.statistics(seen)
        scale, shift = self.of_bottom(told).unsqueeze(-1).unsqueeze(-1).chunk(2, 1)
        at4 = trunk.enter1(trunk.mix(functional.relu(trunk.stem(x))))
        at8 = trunk.enter2(trunk.down1(at4))
        at16 = trunk.modulation(trunk.bottom1(trunk.down2(at8)))
        at16 = trunk.bottom2(at16 * (1 + scale) + shift)
        at8 = trunk.leave2(at8 + doubled(trunk.up2(at16)))
        at4 = trunk.leave1(at4 + doubled(trunk.up1(at8)))
        maps = self.head(functional.relu(at4)) + self.plain_head(at4)
        bounded: Tensor = LARGEST * torch.tanh((maps + self.of_all(told).unsqueeze(-1).unsqueeze(-1)) / LARGEST)
        return bounded

    def forward(self, x: Tensor) -> Tensor:
        """Mend the colours of x; what is learnt from, in training, is the network's own change."""
        seen = self.statistics.seen(x)
        maps = self.coefficients(x, seen)
        if self.training:
            return _changed(x, _grown(maps))
        blocks = functional.avg_pool2d(x, BLOCK_PX)
        line = even_change(blocks, _changed(blocks, maps.chunk(5, 1)), *_ends(seen))
        mended = _changed(x, _grown(maps + _everywhere(line.share) * (_as_maps(line) - maps)))
        limit = _everywhere(line.toe) * (x + 1) + _everywhere(WHOLE_RANGE * (1 - line.toe_share) - 1)
        return torch.minimum(mended, limit)


WHOLE_RANGE = 10.0
"""Far above any value."""


def _grown(maps: Tensor) -> list[Tensor]:
    """The five parts of the maps at the size of the photo."""
    # Parted before they grow: a slice of a full-size tensor costs its copy.
    return [
        functional.interpolate(part, scale_factor=BLOCK_PX, mode="bilinear", align_corners=False)
        for part in maps.chunk(5, 1)
    ]


def _changed(x: Tensor, parts: Sequence[Tensor]) -> Tensor:
    """Apply maps of the same size as x."""
    of_red, of_green, of_blue, offset, curve = parts
    mixed = of_red * x[:, 0:1] + of_green * x[:, 1:2] + of_blue * x[:, 2:3] + offset
    return x + mixed + curve * (1 - x * x)


def _ends(seen: Tensor) -> tuple[Ends, Ends]:
    """The black and the white end of a photo, by its quantiles."""
    planes = seen.reshape(-1, PLANES, len(QUANTILES))
    means, largest, smallest = planes[:, :3], planes[:, 4:7], planes[:, 7:10]

    def end(of: Tensor, shares: tuple[float, ...]) -> Ends:
        outermost, value, *inner = (of[..., QUANTILES.index(share)] for share in shares)
        return Ends(value, *((at - outermost).abs() for at in inner))

    # A file's ringing spreads the extremes of black blocks by ten levels and leaves their means where they are; it
    # spreads those of white as far, and of white there is not enough for means.
    black, white = end(smallest, (0.002, 0.005, 0.01, 0.02, 0.05)), end(largest, (0.998, 0.995, 0.99, 0.98, 0.95))
    ringing = black.fiftieth.amin(1, keepdim=True)
    return end(means, (0.005, 0.02, 0.05, 0.05, 0.05)).where_even(black), white.spread_by(ringing)


def _as_maps(line: Line) -> Tensor:
    """The coefficients of an even change: (B, COEFFICIENTS, 1, 1)."""
    more = ((line.slope - 1).unsqueeze(1) * torch.eye(3, device=line.slope.device)).flatten(1)
    return _everywhere(torch.cat([more, line.offset, torch.zeros_like(line.offset)], 1))


def _everywhere(values: Tensor) -> Tensor:
    """(B, n) as (B, n, 1, 1)."""
    return values.unsqueeze(-1).unsqueeze(-1)
