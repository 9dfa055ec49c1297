"""A degradation code: a few numbers read off a degraded photo, so that F can know which badness to put back.

Many degraded photos have one clean one, so F cannot rebuild x from G(x) unless G leaves the badness in. Told in a few
numbers how x looked, it can. Source: the idea of Augmented CycleGAN (Almahairi et al. 2018), with a code that is
measured instead of inferred.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model_training.networks import multiple_of

CODE_LENGTH = 9
_BANDS = 3
# log of the mean detail in [-1, 1]; below this, an image is flat.
_LEAST_DETAIL = 1e-3


def degradation_code(image: Tensor) -> Tensor:
    """Mean and deviation of each channel, and the log of the mean detail at 1, 2 and 4 pixels.

    Shape: (B, 3, H, W) in [-1, 1] -> (B, 9) float32; no gradient flows through it.
    """
    finer = image.detach().float()
    channels = finer.flatten(2)
    details: list[Tensor] = []
    for _ in range(_BANDS):
        blurred = _blurred(finer)
        details.append((finer - blurred).abs().mean(dim=(1, 2, 3)).clamp_min(_LEAST_DETAIL).log())
        finer = F.avg_pool2d(blurred, 2)
    return torch.cat((channels.mean(dim=2), channels.std(dim=2), torch.stack(details, dim=1)), dim=1)


_INNER = "inner."


def is_coded(weights: Mapping[str, Tensor]) -> bool:
    """Whether weights are a `CodedGenerator`'s."""
    return any(key.startswith(_INNER) for key in weights)


def without_code(weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """The inner generator's part of a `CodedGenerator`'s weights; any other generator's weights as they are."""
    if not is_coded(weights):
        return weights
    return {key.removeprefix(_INNER): value for key, value in weights.items() if key.startswith(_INNER)}


class CodedGenerator(nn.Module):
    """A generator that is told a degradation code: a colour matrix and a sharpness, decided by the code, come first.

    At the start it is the inner generator exactly, whatever the code: a warm-started F stays what it was.

    Shape: (B, 3, H, W) in [-1, 1] and (B, 9) -> (B, 3, H, W) in [-1, 1].
    """

    def __init__(self, inner: nn.Module, hidden: int = 32) -> None:
        super().__init__()
        self.inner = inner
        self.multiple = multiple_of(inner)
        self.read = nn.Sequential(nn.Linear(CODE_LENGTH, hidden), nn.ReLU(), nn.Linear(hidden, 12 + _BANDS))
        last = cast("nn.Linear", self.read[-1])
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(self, image: Tensor, code: Tensor) -> Tensor:
        """Degrades a batch the way the code says. Shapes: (B, 3, H, W), (B, 9) -> (B, 3, H, W)."""
        mixing = self.read(code).to(image.dtype)
        softened = image
        for band in range(_BANDS):
            softened = softened + mixing[:, 12 + band].view(-1, 1, 1, 1) * (_blurred(softened) - softened)
        matrix, offset = mixing[:, :9].view(-1, 3, 3), mixing[:, 9:12].view(-1, 3, 1, 1)
        recoloured = softened + torch.einsum("bij,bjhw->bihw", matrix, softened) + offset
        return cast("Tensor", self.inner(recoloured))


def _blurred(image: Tensor) -> Tensor:
    return F.avg_pool2d(F.pad(image, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
