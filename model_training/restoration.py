"""The restoration loss: how far an enhanced photo is from its clean original, in every way that matters here."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

LUMINANCE = (0.2125, 0.7154, 0.0721)
BINOMIAL = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)
SSIM_WINDOW = 7


@dataclass(frozen=True, slots=True)
class RestorationWeights:
    """Weight of each term; all are averages over the batch.

    Attributes:
        pixel: Charbonnier in RGB, range [-1, 1].
        bands: L1 of the luminance's Laplacian bands, levels 0 to 3, range [0, 1].
        lassim: 1 - LaSSIM at level 3.
        lab: CIE76 colour difference at half the resolution, in units of 100.
        redness: what a* exceeds the clean one's by, beyond REDNESS_MARGIN, in units of 100.
    """

    pixel: float = 1.0
    bands: float = 2.0
    lassim: float = 0.3
    lab: float = 1.0
    redness: float = 1.0


REDNESS_MARGIN = 3.0


def luminance(x: Tensor) -> Tensor:
    """(B, 3, H, W) in [-1, 1] to (B, 1, H, W) in [0, 1], with LaSSIM's weights."""
    weights = x.new_tensor(LUMINANCE).view(1, 3, 1, 1)
    return ((x + 1) * 0.5 * weights).sum(1, keepdim=True)


def _smooth(x: Tensor, kernel: Tensor) -> Tensor:
    """Separable binomial blur of (B, 1, H, W) with reflected borders; gains as `kernel` sums."""
    x = functional.conv2d(functional.pad(x, (2, 2, 0, 0), mode="reflect"), kernel.view(1, 1, 1, 5))
    return functional.conv2d(functional.pad(x, (0, 0, 2, 2), mode="reflect"), kernel.view(1, 1, 5, 1))


def laplacian_bands(y: Tensor, levels: int) -> list[Tensor]:
    """Laplacian residuals of levels 0 to `levels` of (B, 1, H, W), the pyramid of pyrDown and pyrUp (border apart)."""
    kernel = y.new_tensor(BINOMIAL)
    bands = []
    for _ in range(levels + 1):
        down = _smooth(y, kernel)[..., ::2, ::2]
        stretched = torch.zeros_like(y)
        stretched[..., ::2, ::2] = down
        bands.append(y - _smooth(stretched, kernel * 2))
        y = down
    return bands


def residual_ssim(a: Tensor, b: Tensor) -> Tensor:
    """(B,) SSIM of two residuals (B, 1, h, w) as LaSSIM defines it: 7x7 box, sample covariance, their joint range."""
    both = torch.cat([a, b], 1).flatten(1)
    span = (both.amax(1) - both.amin(1)).clamp_min(1e-3).view(-1, 1, 1, 1).detach()
    c1, c2 = (0.01 * span) ** 2, (0.03 * span) ** 2
    count = SSIM_WINDOW**2
    mean_a, mean_b, aa, bb, ab = (functional.avg_pool2d(t, SSIM_WINDOW, 1) for t in (a, b, a * a, b * b, a * b))
    unbiased = count / (count - 1)
    var_a, var_b = unbiased * (aa - mean_a**2), unbiased * (bb - mean_b**2)
    covariance = unbiased * (ab - mean_a * mean_b)
    score = ((2 * mean_a * mean_b + c1) * (2 * covariance + c2)) / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))
    return score.mean((1, 2, 3))


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


def restoration_loss(output: Tensor, clean: Tensor, weights: RestorationWeights) -> tuple[Tensor, dict[str, float]]:
    """The weighted sum of all terms for (B, 3, H, W) in [-1, 1], and each unweighted term for the log."""
    terms = {"pixel": torch.sqrt((output - clean) ** 2 + 1e-5).mean()}
    bands_out = laplacian_bands(luminance(output), 3)
    bands_clean = laplacian_bands(luminance(clean), 3)
    gaps = [(o - c).abs().mean() for o, c in zip(bands_out, bands_clean, strict=True)]
    terms["bands"] = torch.stack(gaps).sum()
    terms["lassim"] = 1 - residual_ssim(bands_out[3], bands_clean[3]).mean()
    lab_out, lab_clean = lab(functional.avg_pool2d(output, 2)), lab(functional.avg_pool2d(clean, 2))
    gap = lab_out - lab_clean
    terms["lab"] = torch.sqrt((gap**2).sum(1) + 0.25).mean() / 100
    terms["redness"] = functional.relu(gap[:, 1] - REDNESS_MARGIN).mean() / 100
    total = torch.stack([getattr(weights, name) * term for name, term in terms.items()]).sum()
    return total, {name: float(term.detach()) for name, term in terms.items()}
