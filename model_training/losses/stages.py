"""The losses of the restorer's two stages: terms by name; the loss is their sum. Images are (B, 3, H, W) in [-1, 1]."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from model_training.losses.restoration import lab

SMOOTH_DETAIL, SMOOTH_COLOUR = 1e-5, 1e-4
"""Squared error below which an L1 term is round (Charbonnier)."""

NEAR_DETAIL, NEAR_COLOUR = 1.5e-5, 2e-4
"""Mean squared error, of 1 and of 4, below which another decibel earns little: 48 and 43 dB."""

COLOUR_MARGIN = 3.0
"""a* may stray this far from the clean one's, either way, before it counts as redder or paler."""


def _charbonnier(error: Tensor, smooth: float) -> Tensor:
    return torch.sqrt(error * error + smooth).mean()


def _decades(error: Tensor, whole: float, near: float) -> Tensor:
    """log10 of each picture's mean squared error as a share of `whole`, which is at least about `near`: (B,)."""
    return torch.log10((error * error).mean((1, 2, 3)) / whole + near)


def detail_terms(output: Tensor, clean: Tensor, bad: Tensor) -> dict[str, Tensor]:
    """Nearness to the clean picture in decibels, so that mild faults count as heavy ones do, and L1; harm to `bad`."""
    error = output - clean
    decades, before = (_decades(image - clean, 4, NEAR_DETAIL) for image in (output, bad))
    return {
        "decibels": 0.05 * decades.mean(),
        "pixel": 0.3 * _charbonnier(error, SMOOTH_DETAIL),
        "harm": 0.1 * functional.relu(decades - before).mean(),
    }


def colour_terms(output: Tensor, clean: Tensor, bad: Tensor) -> dict[str, Tensor]:
    """Nearness to the clean photo in pixels, decibels and Lab; harm done to `bad`; redder, paler."""
    error = output - clean
    decades, before = (_decades(image - clean, 1, NEAR_COLOUR) for image in (output, bad))
    shift = lab(functional.avg_pool2d(output, 2)) - lab(functional.avg_pool2d(clean, 2))
    return {
        "pixel": _charbonnier(error, SMOOTH_COLOUR),
        "decibels": 0.3 * decades.mean(),
        "harm": 0.5 * functional.relu(decades - before).mean(),
        "lab": 1.5 * torch.sqrt((shift * shift).sum(1) + 0.25).mean() / 100,
        "redder": functional.relu(shift[:, 1] - COLOUR_MARGIN).mean() / 100,
        "paler": functional.relu(-shift[:, 1] - COLOUR_MARGIN).mean() / 100,
    }
