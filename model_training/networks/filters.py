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
    """K even, zero-sum filters of side 2 `radius` + 1, learned.

    They begin as differences of Gaussians, from the pixel itself to the widest of `spreads`, and as second derivatives
    in four directions of Gaussians of each of `oriented`.
    """

    def __init__(self, radius: int, spreads: Sequence[float], oriented: Sequence[float] = ()) -> None:
        super().__init__()
        self.radius = radius
        self.first = nn.Parameter(_first_filters(radius, spreads, oriented))
        self._count = len(self.first)
        self._fixed: tuple[Tensor, Tensor] | None = None
        one, four = torch.eye(len(self)), torch.eye(4)
        self.register_buffer("to_filters", torch.kron(one, torch.ones(1, 4))[:, :, None, None], persistent=False)
        self.register_buffer(
            "to_pixels", torch.kron(torch.ones(1, len(self)), four)[:, :, None, None], persistent=False
        )

    to_filters: Tensor
    to_pixels: Tensor

    def __len__(self) -> int:
        return self._count

    def filters(self) -> Tensor:
        """The filters, (K, 2 radius + 1, 2 radius + 1)."""
        even = (self.first + self.first.flip(1, 2)) / 2
        return even - even.mean((1, 2), keepdim=True)

    def fix(self) -> None:
        """Work the kernels out once and for all: an exported graph then holds them as constants."""
        with torch.no_grad():
            self._fixed = self.filters().unsqueeze(1), self._block_kernels()

    def forward(self, plane: Tensor) -> Tensor:
        """Find what each filter finds in `plane`: (B, 1, h, w) to (B, K, h, w)."""
        kernels = self._fixed[0] if self._fixed else self.filters().unsqueeze(1)
        return _found(plane, kernels, self.radius, 1)

    def on_blocks(self, plane: Tensor) -> Tensor:
        """`forward`, computed and given as 2x2 blocks: (B, 1, h, w), h and w even, to (B, 4 K, h / 2, w / 2).

        Channel 4 k + 2 i + j is what filter k finds at row i and column j of a block.
        """
        kernels = self._fixed[1] if self._fixed else self._block_kernels()
        return _found(plane, kernels, 2 * self._reach, 2)

    def over_blocks(self, found: Tensor) -> Tensor:
        """The sum over a block's pixels of what `on_blocks` gives: (B, 4 K, h, w) to (B, K, h, w)."""
        return functional.conv2d(found, self.to_filters)

    def over_filters(self, found: Tensor) -> Tensor:
        """The sum over the filters of what `on_blocks` gives: (B, 4 K, h, w) to (B, 4, h, w)."""
        return functional.conv2d(found, self.to_pixels)

    @property
    def _reach(self) -> int:
        """Blocks that a filter reads on each side of its own."""
        return (self.radius + 1) // 2

    def _block_kernels(self) -> Tensor:
        """The filters centred on each of a block's four pixels: (4 K, 1, side, side), side 4 reach + 2."""
        filters, side = self.filters(), 4 * self._reach + 2
        parts = []
        for row, column in ((0, 0), (0, 1), (1, 0), (1, 1)):
            top, left = 2 * self._reach + row - self.radius, 2 * self._reach + column - self.radius
            below, beside = side - filters.shape[1] - top, side - filters.shape[2] - left
            parts.append(functional.pad(filters, (left, beside, top, below)))
        return torch.stack(parts, 1).flatten(0, 1).unsqueeze(1)


def _found(plane: Tensor, kernels: Tensor, border: int, stride: int) -> Tensor:
    """`kernels` (n, 1, side, side) on `plane` (B, 1, h, w), its border replicated: (B, n, h / stride, w / stride)."""
    return functional.conv2d(replicate_pad(plane, border), kernels, stride=stride)


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
