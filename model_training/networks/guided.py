"""Colour told by luma: what the two colour differences would be if they followed luma as they do round about.

A JPEG file keeps colour at half the resolution and far more coarsely than luma: of the error of a file of quality 40,
about half is in the colour, and no filter of the colour alone brings it back. Where colour follows luma, as along the
edge of a vessel, luma shows where the edge is.

Flat stays flat and nothing moves: the change is nothing where luma is flat, and a line fitted over a symmetric window
is symmetric.

Source: K. He, J. Sun, X. Tang, "Guided Image Filtering" (2013); fitted at a quarter of the size as in K. He, J. Sun,
"Fast Guided Filter" (arXiv 1505.00996).
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from model_training.networks.fast import replicate_pad
from model_training.networks.filters import doubled

LEAST_VARIANCE = 5e-4
"""Variance of luma in [-1, 1] below which colour is taken not to follow it: three grey levels."""


def colour_lines(halves: Tensor) -> tuple[Tensor, Tensor]:
    """How the colour differences follow luma, `gain * luma + offset`, in windows of 20 pixels.

    Args:
        halves: luma and the two colour differences at half size, (B, 3, h, w); h and w even.

    Returns:
        Gain and offset at half size, each (B, 2, h, w).
    """
    luma = halves[:, :1]
    told = functional.avg_pool2d(halves, 2)
    products = functional.avg_pool2d(halves * luma, 2)
    mean = _mean_round(told)
    product = _mean_round(products)
    mean_luma, mean_colour = mean[:, :1], mean[:, 1:]
    variance = product[:, :1] - mean_luma * mean_luma
    gain = (product[:, 1:] - mean_luma * mean_colour) / (functional.relu(variance) + LEAST_VARIANCE)
    gain, offset = doubled(_mean_round(gain)), doubled(_mean_round(mean_colour - gain * mean_luma))
    return gain, offset


def _mean_round(x: Tensor) -> Tensor:
    """The mean of 3x3, the border replicated."""
    return functional.avg_pool2d(replicate_pad(x, 1), 3, stride=1)
