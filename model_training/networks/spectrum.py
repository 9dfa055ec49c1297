"""One sharpening filter for a whole photo, told by the photo's spectrum.

A shake or a lens out of focus blurs all of a photo alike, and takes some frequencies away more than others: a straight
shake of 7 pixels leaves dark lines across its spectrum, a seventh of the sampling rate apart. From how strong each
frequency is on average over the photo, a small network predicts the filter that undoes it. How strongly single filters
of the bank respond, which is what the rest of the detail stage is told, does not show the direction of a shake.

The filter is even and sums to zero, as all of the detail stage's: nothing moves, and flat stays flat.

Source: blur from the zeros of the spectrum as in M. Cannon, "Blind Deconvolution of Spatially Invariant Image Blurs
with Phase" (1976); average of modified periodograms after P. Welch (1967).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from model_training.networks.fast import replicate_pad

TILE_PX = 32
"""Side of the tiles whose spectra are averaged."""

FREQUENCIES = TILE_PX * (TILE_PX // 2 + 1)
"""Of a tile's spectrum; those left out are mirror images."""

LEAST_POWER = 1e-7
"""Added to a tile's power, of values in [-1, 1], before its logarithm: noise of a tenth of a grey level."""

RADIUS = 6
WEIGHTS = ((2 * RADIUS + 1) ** 2 - 1) // 2
"""Free weights of an even filter that sums to zero."""

TALL, WIDE = 4, 2
"""Blocks for which the filter is computed at once."""
SHIFTS = tuple((WIDE * below + row, column) for row in (0, 1) for column in (0, 1) for below in (0, 1))
"""(row, column) in such a block of what comes out for it: by place in its block of 2x2, the upper one first."""

HIDDEN, TOLD = 160, 96
LEAK = 0.1
"""Slope below 0."""

LEAST_SPREAD, MOST_UNUSUAL = 0.03, 4.0
"""Added to a frequency's deviation; the most deviations from its mean that are told."""

STRENGTH = 0.1
"""What a weight of 1 of the last layer means: filters that do nothing are near."""


class Spectrum(nn.Module):
    """How strong each frequency is: luma (B, 1, H, W) in [-1, 1] to the mean log power of its tiles, (B, FREQUENCIES).

    H and W are at least TILE_PX. Frequencies are ordered along x, then along y.
    """

    def __init__(self) -> None:
        super().__init__()
        place = torch.arange(TILE_PX)
        window = torch.hann_window(TILE_PX, periodic=True)
        window = window / window.norm()
        angles = 2 * math.pi / TILE_PX * torch.outer(place, place)
        cosine, sine = window * torch.cos(angles), window * torch.sin(angles)
        half = TILE_PX // 2 + 1
        across = torch.stack([cosine[:half], -sine[:half]], 1).flatten(0, 1)
        # (a + ib)(cos - i sin): its real part from a and b, then its imaginary part.
        real, imaginary = torch.stack([cosine, sine], 1), torch.stack([-sine, cosine], 1)
        down = torch.cat([real, imaginary]).repeat(half, 1, 1)
        self.register_buffer("across", across[:, None, None, :], persistent=False)
        self.register_buffer("down", down[:, :, :, None], persistent=False)

    across: Tensor
    down: Tensor

    def forward(self, luma: Tensor) -> Tensor:
        """Average the logarithm of the tiles' power."""
        columns = functional.conv2d(luma, self.across, stride=(1, TILE_PX))
        parts = functional.conv2d(columns, self.down, stride=(TILE_PX, 1), groups=TILE_PX // 2 + 1)
        squares = torch.unflatten(parts * parts, 1, (TILE_PX // 2 + 1, 2, TILE_PX))
        return torch.log(squares.sum(2) + LEAST_POWER).mean((3, 4)).flatten(1)


class _ConvolvePerBatch(torch.autograd.Function):
    """A convolution over blocks by kernels (n, 1, side, side) whose number follows the batch.

    Torch's exporter asks for kernels of known shape; ONNX itself does not.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, kernels: Tensor) -> Tensor:  # torch's signature
        """Convolve (B, 1, h, w) to (B, n, h', w')."""
        return functional.conv2d(x, kernels, stride=(TALL, WIDE))

    @staticmethod
    def symbolic(graph: Any, x: Any, kernels: Any) -> Any:
        """Write it as ONNX's own convolution."""
        shape = [2 * RADIUS + TALL, 2 * RADIUS + WIDE]
        return graph.op("Conv", x, kernels, kernel_shape_i=shape, strides_i=[TALL, WIDE])


class WholePhotoFilter(nn.Module):
    """Sharpen by one filter for the whole photo: luma (B, 1, H, W) to its change as 2x2 blocks.

    The result, (B, 8, H/2, W/2), has what the photo's own filter finds in its first four channels, and in the others
    what another filter finds that is given: to look for both at once costs little more. H is a multiple of 4.
    """

    def __init__(self) -> None:
        super().__init__()
        self.spectrum = Spectrum()
        self.first = nn.Linear(FREQUENCIES, HIDDEN)
        self.second = nn.Linear(HIDDEN, TOLD)
        self.out = nn.Linear(TOLD, WEIGHTS)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        self.register_buffer("centre", torch.full((FREQUENCIES,), -10.0))
        self.register_buffer("spread", torch.ones(FREQUENCIES))
        self._one_at_a_time = True

    centre: Tensor
    spread: Tensor
    """Mean and deviation of each frequency over the photos learnt from: what is told is how unusual a photo's is."""

    @torch.no_grad()
    def measure(self, batches: Iterable[Tensor]) -> None:
        """Set `centre` and `spread` from `batches` of luma, each (B, 1, H, W) in [-1, 1]."""
        found = torch.cat([self.spectrum(batch) for batch in batches])
        self.centre.copy_(found.mean(0))
        self.spread.copy_(found.std(0) + LEAST_SPREAD)

    def fix(self) -> None:
        """Make ready for export: an exported convolution cannot have a group for each photo of a batch."""
        self._one_at_a_time = False

    def filters(self, luma: Tensor) -> Tensor:
        """The filter of each photo, (B, 2 RADIUS + 1, 2 RADIUS + 1)."""
        unusual = ((self.spectrum(luma) - self.centre) / self.spread).clamp(-MOST_UNUSUAL, MOST_UNUSUAL)
        # Leaky, for the reason that `colour.PhotoStatistics` gives.
        hidden = functional.leaky_relu(self.first(unusual), LEAK)
        told = functional.leaky_relu(self.second(hidden), LEAK)
        half = STRENGTH * self.out(told)
        middle = -2 * half.sum(1, keepdim=True)
        side = 2 * RADIUS + 1
        return torch.unflatten(torch.cat([half, middle, half.flip(1)], 1), 1, (side, side))

    def forward(self, luma: Tensor, beside: Tensor) -> Tensor:
        """Find what the photo's filter finds, and `beside`, a filter (side, side) that is the same for all photos.

        Computed on blocks of 4x2: an eighth of the positions, each with little more to read.
        """
        count = luma.shape[0]
        filters = torch.stack([self.filters(luma), beside.expand(count, -1, -1)], 1)
        kernels = torch.stack([functional.pad(filters, (j, 1 - j, i, 3 - i)) for i, j in SHIFTS], 2)
        kernels = kernels.flatten(0, 2).unsqueeze(1)
        padded = replicate_pad(luma, RADIUS)
        outputs = 2 * len(SHIFTS)
        if self._one_at_a_time:
            together = functional.conv2d(padded.transpose(0, 1), kernels, stride=(TALL, WIDE), groups=count)
            found = torch.unflatten(together.squeeze(0), 0, (count, outputs))
        else:
            # Every photo's filter on every photo, of which its own is kept.
            every: Tensor = _ConvolvePerBatch.apply(padded, kernels)  # type: ignore[no-untyped-call]
            own = torch.arange(count, device=luma.device) * (count + 1)
            found = every.reshape(-1, outputs, *every.shape[2:]).index_select(0, own)
        rows = torch.unflatten(found, 1, (-1, 2)).transpose(2, 3)
        return rows.reshape(count, -1, luma.shape[2] // 2, luma.shape[3] // 2)
