"""The restoration loss: how far an enhanced photo is from its clean original, in every way that matters here."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from model_training.config.pretrain import RestorationWeights
from model_training.losses.lassim import WINDOW_PX, finest, residual, residual_ssim

LEVELS = 4
"""Laplacian residuals that are compared: levels 0 to 3; the last is LaSSIM's own."""


CHARBONNIER = 0.01
"""Errors under about one grey level (of 2 / 255) count little: a hard corner at 0 would hold G at the identity."""


LEAST_ERROR = 1e-3
"""Mean squared error in [-1, 1] (about 36 dB) below which another decibel earns nothing."""


GRAIN_LEVELS, TILE_PX = 2, 16
LEAST_STRENGTH = 0.5 / 255
"""Half a grey level: detail below it is not seen."""


REDNESS_MARGIN = 3.0


def lab(x: Tensor) -> Tensor:
    """(B, 3, H, W) sRGB in [-1, 1] to CIE L*a*b* (D65), same shape."""
    stored = ((x + 1) * 0.5).clamp(0, 1)
    linear = torch.where(stored > 0.04045, ((stored.clamp_min(0.04) + 0.055) / 1.055) ** 2.4, stored / 12.92)
    r, g, b = linear.unbind(1)
    xyz = torch.stack(
        [
            (0.412453 * r + 0.357580 * g + 0.180423 * b) / 0.950456,
            0.212671 * r + 0.715160 * g + 0.072169 * b,
            (0.019334 * r + 0.119193 * g + 0.950227 * b) / 1.088754,
        ],
        1,
    )
    curve = torch.where(xyz > 0.008856, xyz.clamp_min(0.008) ** (1 / 3), 7.787 * xyz + 16 / 116)
    fx, fy, fz = curve.unbind(1)
    return torch.stack([116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)], 1)


def restoration_loss(
    output: Tensor, clean: Tensor, weights: RestorationWeights, bad: Tensor | None = None
) -> dict[str, Tensor]:
    """The weighted terms, by name, for (B, 3, H, W) in [-1, 1]; the loss is their sum. `bad` is what G was given."""
    # The bands are small differences of large values, which bfloat16 would lose.
    with torch.autocast(output.device.type, enabled=False):
        return _terms(output.float(), clean.float(), weights, None if bad is None else bad.float())


def _terms(output: Tensor, clean: Tensor, weights: RestorationWeights, bad: Tensor | None) -> dict[str, Tensor]:
    first, second = (output + 1) / 2, (clean + 1) / 2
    pairs = [(residual(first, level=level), residual(second, level=level)) for level in range(LEVELS)]
    gaps = [(ours - theirs).abs().mean() for ours, theirs in pairs]
    colour = lab(functional.avg_pool2d(output, 2)) - lab(functional.avg_pool2d(clean, 2))
    error = _decades(output, clean)
    terms = {
        "pixel": torch.sqrt((output - clean) ** 2 + CHARBONNIER**2).mean(),
        "bands": torch.stack(gaps).sum(),
        "lassim": 1 - residual_ssim(_widened(pairs[-1][0]), _widened(pairs[-1][1])).mean(),
        "lab": torch.sqrt((colour**2).sum(1) + 0.25).mean() / 100,
        "decibels": error.mean(),
        "redness": functional.relu(colour[:, 1] - REDNESS_MARGIN).mean() / 100,
    }
    if bad is not None and weights.harm:
        terms["harm"] = functional.relu(error - _decades(bad, clean)).mean()
    if weights.grain:
        detail = [(finest(first), finest(second)), *pairs[:GRAIN_LEVELS]]
        terms["grain"] = torch.stack([_apart(ours, theirs) for ours, theirs in detail]).mean()
    return {name: getattr(weights, name) * term for name, term in terms.items()}


def _widened(band: Tensor) -> Tensor:
    """(B, 1, h, w) with its border mirrored by half a window: SSIM then reads its pixels as often as any."""
    return functional.pad(band, (WINDOW_PX // 2,) * 4, mode="reflect")


def _apart(ours: Tensor, theirs: Tensor) -> Tensor:
    """Mean absolute log ratio of the strength of two bands (B, 1, H, W), tile by tile."""
    side = min(TILE_PX, *ours.shape[-2:])
    first, second = (torch.log(functional.avg_pool2d(band.abs(), side) + LEAST_STRENGTH) for band in (ours, theirs))
    return (first - second).abs().mean()


def _decades(image: Tensor, clean: Tensor) -> Tensor:
    return torch.log10(((image - clean) ** 2).mean((1, 2, 3)) + LEAST_ERROR)


def total_loss(output: Tensor, clean: Tensor, weights: RestorationWeights, bad: Tensor | None = None) -> Tensor:
    """The sum of all terms, a scalar."""
    return torch.stack(list(restoration_loss(output, clean, weights, bad).values())).sum()
