"""Even faults undone by their own formula: a veil or a lack of light that is the same everywhere.

The colour network tells such a fault well and undoes it roughly: its maps waver by a few grey levels from place to
place, and are off by a few as a whole. A photo often says both exactly: what was black or white before the fault now
lies at one value, many pixels at once (dark gaps, the black round an endoscope's picture, wet highlights). Where the
network asks for a change that is nearly even, and such clipped ends agree with it, the formula of the fault takes its
place: a x + b with one a for all colours (haze: Koschmieder 1924), or a gain of linear light (IEC 61966-2-1).

A fault that is not even leaves no common value, so it stays with the network; so does a photo that the network leaves
as it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

LEVEL = 1 / 127.5
"""One grey level of 255 in [-1, 1]."""

TOE = 0.11
"""Of sRGB in [-1, 1]: above the darkest values, a gain of linear light is a gain of the stored value plus this."""

POWER = 2.4
"""Exponent of sRGB."""

CLIPPED_WEIGHT = 30.0
"""Of a clipped end in the fit, as a share of all blocks that it is fitted to."""

Bounds = tuple[float, float]
"""Full belief up to the first, none from the second."""

LUMP: Bounds = (1.2 * LEVEL, 2.5 * LEVEL)
"""How far the extreme hundredth of the blocks may spread, to lie at one value."""

EVEN_BLACK: Bounds = (1.2 * LEVEL, 2.5 * LEVEL)
EVEN_WHITE: Bounds = (1.0 * LEVEL, 2.0 * LEVEL)
"""How far the extreme fiftieth may spread where the fault is even: the tightest colour tells. A twentieth that is black
speaks for itself; what is less might be one corner, so black and white are asked for both."""

BLACK_AGREES: Bounds = (14 * LEVEL, 24 * LEVEL)
WHITE_AGREES: Bounds = (20 * LEVEL, 30 * LEVEL)
"""How far from black or white the network may put a clipped end."""

WAVERING: Bounds = (6 * LEVEL, 9 * LEVEL)
"""Root mean square of what the network's change differs from an even one by."""

LEAST_LIFT: Bounds = (9 * LEVEL, 5 * LEVEL)
MOST_LIFT: Bounds = (6 * LEVEL, 12 * LEVEL)
"""Where black lies in a veiled photo at least, in a dim one at most, above black."""

LEAST_GAIN: Bounds = (1.08, 1.04)
"""What the network must ask for."""

STORED: Bounds = (1.25, 1.45)
"""How many times worse a gain of linear light fits than one of stored values, where the latter is meant."""


def belief(value: Tensor, bounds: Bounds) -> Tensor:
    """1 on the near side of `bounds`, 0 beyond them, straight between; the first may be the larger."""
    full, none = bounds
    return ((none - value) / (none - full)).clamp(0, 1)


@dataclass(frozen=True, slots=True)
class Ends:
    """One end of a photo's values, of the blocks' least or largest ones, each (B, 3) in [-1, 1].

    Attributes:
        value: what the outermost 5 in 1,000 blocks reach.
        hundredth, fiftieth, twentieth: how far what as many reach is from the outermost 2 in 1,000, 0 or more.
    """

    value: Tensor
    hundredth: Tensor
    fiftieth: Tensor
    twentieth: Tensor

    def where_even(self, otherwise: Ends) -> Ends:
        """These ends as far as their twentieth lies at one value, else `otherwise`."""
        even = belief(self.twentieth, EVEN_BLACK)
        return Ends(
            *(b + even * (a - b) for a, b in ((getattr(self, part), getattr(otherwise, part)) for part in PARTS))
        )

    def spread_by(self, more: Tensor) -> Ends:
        """These ends, not as near to one value by `more`, (B, 1)."""
        return Ends(self.value, self.hundredth + more, self.fiftieth + more, self.twentieth + more)


PARTS = ("value", "hundredth", "fiftieth", "twentieth")


@dataclass(frozen=True, slots=True)
class Line:
    """A change that is the same everywhere: slope x + offset, in [-1, 1], but at most toe (x + 1) - 1 where believed.

    Attributes:
        share: (B, 1), how far it is believed.
        slope, offset: (B, 3).
        toe, toe_share: (B, 1), and how far that is believed.
    """

    share: Tensor
    slope: Tensor
    offset: Tensor
    toe: Tensor
    toe_share: Tensor


def even_change(blocks: Tensor, mended: Tensor, black: Ends, white: Ends) -> Line:
    """The even change that the network means, if it means one.

    Args:
        blocks: means of the photo's 4x4 blocks, (B, 3, h, w) in [-1, 1].
        mended: what the network makes of them, the same shape, not clipped.
        black, white: the photo's ends.
    """
    x, y = blocks.flatten(2), mended.flatten(2)
    # A value at its limit tells nothing of slope or offset.
    weight = ((y > -0.96) & (y < 0.96) & (x < 0.97)).to(x.dtype)
    veil, light = _veil(x, y, weight, black, white), _light(x, y, weight, black, white)
    by_veil = veil.share > light.share
    return Line(*(torch.where(by_veil, getattr(veil, part), getattr(light, part)) for part in Line.__slots__))


def _veil(x: Tensor, y: Tensor, weight: Tensor, black: Ends, white: Ends) -> Line:
    """A veil taken away: one slope for all colours, since as much is seen through it of each, and an offset of each."""
    sums = tuple((weight * term).sum(2) for term in (torch.ones_like(x), x, y, x * x, x * y))
    slope, offset = _common_slope((sums[0] + 1, *sums[1:]))
    wavering = _difference(slope.unsqueeze(2) * x + offset.unsqueeze(2), y, weight)
    is_black = belief(black.hundredth, LUMP) * belief(slope * black.value + offset + 1, BLACK_AGREES)
    is_white = belief(white.hundredth, LUMP) * belief((1 - slope * white.value - offset).abs(), WHITE_AGREES)
    at_both = _most(is_black * belief(black.fiftieth, EVEN_BLACK)) * _most(
        is_white * belief(white.fiftieth, EVEN_WHITE)
    )
    share = (
        torch.maximum(at_both, _most(is_black * belief(black.twentieth, EVEN_BLACK)))
        * belief(-_least(black.value + 1, is_black), (-LEAST_LIFT[0], -LEAST_LIFT[1]))
        * belief(-slope, (-LEAST_GAIN[0], -LEAST_GAIN[1]))
        * belief(wavering, WAVERING)
    )
    clipped = CLIPPED_WEIGHT * weight.sum((1, 2)).unsqueeze(1) / 3
    for belongs, end, target in ((is_black, black, -1.0), (is_white, white, 1.0)):
        more = clipped * belongs
        at = (more, more * end.value, more * target, more * end.value**2, more * end.value * target)
        sums = tuple(old + new for old, new in zip(sums, at, strict=True))
    slope, offset = _common_slope((sums[0] + 1, *sums[1:]))
    none = torch.zeros_like(slope)
    return Line(share, slope.expand_as(offset), offset, none, none)


def _light(x: Tensor, y: Tensor, weight: Tensor, black: Ends, white: Ends) -> Line:
    """More light: a gain of linear light, or of stored values where that fits the network's change far better."""

    def gain(toe: float) -> Tensor:
        given = weight * (x + 1 + toe)
        return ((given * (y + 1 + toe)).sum((1, 2)) / (given * (x + 1 + toe)).sum((1, 2)).clamp(min=1e-3)).unsqueeze(1)

    def line(gain: Tensor, toe: float) -> Tensor:
        return gain.unsqueeze(2) * (x + 1 + toe) - 1 - toe

    linear, stored = gain(TOE), gain(0.0)
    of_linear, of_stored = (_difference(line(g, t), y, weight) for g, t in ((linear, TOE), (stored, 0.0)))
    is_white = belief(white.hundredth, LUMP) * belief((linear * (white.value + 1 + TOE) - 2 - TOE).abs(), WHITE_AGREES)
    share = (
        _most(is_white * belief(white.fiftieth, EVEN_WHITE))
        * belief((black.value + 1).amin(1, keepdim=True), MOST_LIFT)
        * belief(-linear, (-LEAST_GAIN[0], -LEAST_GAIN[1]))
        * belief(torch.minimum(of_linear, of_stored), WAVERING)
    )
    believed = is_white.sum(1, keepdim=True)

    def to_white(toe: float, otherwise: Tensor) -> Tensor:
        wanted = (is_white * (2 + toe) / (white.value + 1 + toe).clamp(min=0.1)).sum(1, keepdim=True)
        return torch.where(believed > 0, wanted / believed.clamp(min=1e-3), otherwise)

    linear, stored = to_white(TOE, linear), to_white(0.0, stored)
    is_linear = belief(of_linear / of_stored.clamp(min=1e-4), STORED)
    slope = stored + (linear - stored) * is_linear
    offset = slope - 1 + is_linear * TOE * (linear - 1)
    return Line(share, slope.expand(-1, 3), offset.expand(-1, 3), linear.clamp(min=1) ** POWER, share * is_linear)


def _common_slope(sums: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
    """The line through weighted points of three colours: the slope (B, 1) of all, the offset (B, 3) of each.

    `sums` are of weight, x, y, x x and x y, each (B, 3).
    """
    weight, x, y, xx, xy = sums
    slope = (xy - x * y / weight).sum(1, keepdim=True) / (xx - x * x / weight).sum(1, keepdim=True).clamp(min=1e-3)
    return slope, (y - slope * x) / weight


def _difference(line: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    """Root mean square of `line` less y, (B, 3, n), over all colours: (B, 1)."""
    squares = (weight * (line - y) ** 2).sum((1, 2)) / weight.sum((1, 2)).clamp(min=1)
    return torch.sqrt(squares).unsqueeze(1)


def _most(belief_of_colour: Tensor) -> Tensor:
    """Of three colours (B, 3): (B, 1)."""
    return belief_of_colour.amax(1, keepdim=True)


def _least(value: Tensor, belongs: Tensor) -> Tensor:
    """The least of those values (B, 3) that belong: (B, 1); 2 where none does."""
    return torch.where(belongs > 0.5, value, torch.full_like(value, 2.0)).amin(1, keepdim=True)
