"""Small filters, learned once and the same for every photo, applied to pixels or to 2x2 blocks of them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from model_training.networks.fast import replicate_pad

ANGLES = 4
"""Directions of the oriented filters, 45 degrees apart."""


class FilterBank(nn.Module):
    """K even, zero-sum filters of side 2 `radius` + 1, learned; each of P `planes` is filtered by all of them.

    They begin as differences of Gaussians, from the pixel itself to the widest of `spreads`, and as second derivatives
    in four directions of Gaussians of each of `oriented`. What is found of several planes comes filter by filter, and
    of each filter plane by plane.
    """

    def __init__(self, radius: int, spreads: Sequence[float], oriented: Sequence[float] = (), planes: int = 1) -> None:
        super().__init__()
        self.radius, self.planes = radius, planes
        self.first = nn.Parameter(_first_filters(radius, spreads, oriented))
        self._count = len(self.first)
        self._fixed: tuple[Tensor, Tensor] | None = None
        # Sums over channels are products with ones: of them ONNX Runtime makes short work, of ReduceSum it does not.
        self.register_buffer("of_block", torch.full((1, 4), 0.25), persistent=False)
        self.register_buffer("ones", torch.ones(1, 1, len(self)), persistent=False)

    of_block: Tensor
    ones: Tensor

    def __len__(self) -> int:
        return self._count

    def filters(self) -> Tensor:
        """The filters, (K, 2 radius + 1, 2 radius + 1)."""
        even = (self.first + self.first.flip(1, 2)) / 2
        return even - even.mean((1, 2), keepdim=True)

    def fix(self) -> None:
        """Work the kernels out once and for all: an exported graph then holds them as constants."""
        with torch.no_grad():
            self._fixed = self._kernels(self.filters().unsqueeze(1)), self._kernels(self._of_blocks())

    def forward(self, planes: Tensor) -> Tensor:
        """Find what each filter finds in `planes`: (B, P, h, w) to (B, K P, h, w)."""
        kernels = self._fixed[0] if self._fixed else self._kernels(self.filters().unsqueeze(1))
        return _found(planes, kernels, self.radius, 1)

    def on_blocks(self, planes: Tensor) -> Tensor:
        """`forward`, computed and given as 2x2 blocks: (B, P, h, w), h and w even, to (B, 4 K P, h / 2, w / 2).

        Channel 4 c + 2 i + j is channel c of `forward` at row i and column j of a block.
        """
        kernels = self._fixed[1] if self._fixed else self._kernels(self._of_blocks())
        return _found(planes, kernels, self.radius, 2)

    def strength(self, found: Tensor) -> Tensor:
        """The mean size over 2x2 positions of what was found: of (B, n K P, h, w) it is (B, K P, h / 2, w / 2).

        n is 1 for what `forward` gives, 4 for what `on_blocks` gives: then the mean is over 4x4 pixels.
        """
        sizes = found.abs()
        if found.shape[1] != self.channels(1):
            of_block = torch.matmul(self.of_block, torch.unflatten(sizes, 1, (-1, 4)).flatten(3))
            sizes = of_block.reshape(found.shape[0], -1, *found.shape[2:])
        return functional.avg_pool2d(sizes, 2)

    def over_filters(self, found: Tensor) -> Tensor:
        """The sum over the filters of what was found: (B, n K P, h, w) to (B, n P, h, w)."""
        sums = torch.matmul(self.ones, torch.unflatten(found, 1, (len(self), -1)).flatten(2))
        return sums.reshape(found.shape[0], -1, *found.shape[2:])

    def channels(self, positions: int) -> int:
        """Channels of what is found: `positions` is 1 in `forward`, 4 in `on_blocks`."""
        return positions * len(self) * self.planes

    def filter_by_filter(self, weights: Tensor, positions: int) -> Tensor:
        """`weights` (B, P K n, C), which come plane by plane, in the order of what is found: (B, K P n, C)."""
        if self.planes == 1:
            return weights
        return torch.unflatten(weights, 1, (self.planes, len(self), positions)).transpose(1, 2).flatten(1, 3)

    def _of_blocks(self) -> Tensor:
        """The filters centred on each of a block's four pixels: (K, 4, side, side), side 2 radius + 2."""
        filters = self.filters()
        shifts = ((row, column) for row in (0, 1) for column in (0, 1))
        return torch.stack([functional.pad(filters, (j, 1 - j, i, 1 - i)) for i, j in shifts], 1)

    def _kernels(self, filters: Tensor) -> Tensor:
        """Kernels (K P n, P, side, side) of `filters` (K, n, side, side) for each plane alone."""
        planes = torch.eye(self.planes, device=filters.device, dtype=filters.dtype)
        apart = filters[:, None, :, None] * planes[None, :, None, :, None, None]
        return apart.flatten(0, 2)


def _found(planes: Tensor, kernels: Tensor, border: int, stride: int) -> Tensor:
    """`kernels` (n, P, side, side) on (B, P, h, w), the border replicated: (B, n, h / stride, w / stride)."""
    return functional.conv2d(replicate_pad(planes, border), kernels, stride=stride)


def _first_filters(radius: int, spreads: Sequence[float], oriented: Sequence[float]) -> Tensor:
    along = torch.arange(-radius, radius + 1).float()
    y, x = torch.meshgrid(along, along, indexing="ij")

    def gaussian(spread: float) -> Tensor:
        bump = torch.exp(-(x * x + y * y) / (2 * spread**2))
        return bump / bump.sum()

    sharper = ((x == 0) & (y == 0)).float()
    filters = []
    for spread in spreads:
        filters.append(sharper - gaussian(spread))
        sharper = gaussian(spread)
    for spread in oriented:
        for step in range(ANGLES):
            across = x * math.cos(step * math.pi / ANGLES) + y * math.sin(step * math.pi / ANGLES)
            second = gaussian(spread) * (1 - (across / spread) ** 2)
            second = second - second.mean()
            filters.append(second / second.abs().sum())
    return torch.stack(filters)


def doubled(x: Tensor) -> Tensor:
    """x (B, C, h, w) at twice the size, bilinear."""
    return functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
