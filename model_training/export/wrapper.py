"""The export contract as a module: bytes in, bytes out, any size; everything between is inside."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model_training.networks import multiple_of
from model_training.networks.restorer import Restorer
from service.registry.card import LEAST_SIDE


class PixelContract(nn.Module):
    """A generator from pixels to pixels: scaling, padding, cropping, clipping and rounding included.

    The image is padded at the right and bottom by reflection to the generator's multiple and cropped back.

    Shape: (B, H, W, 3) uint8 RGB, H and W at least 64 -> (B, H, W, 3) uint8 RGB.
    """

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = generator
        self.multiple = multiple_of(generator)

    def forward(self, image: Tensor) -> Tensor:
        """Enhances pixels. Shape: (B, H, W, 3) uint8, in and out."""
        height, width = image.shape[1], image.shape[2]
        enhanced: Tensor = self.generator(self._given(image))
        return _pixels(enhanced[:, :, :height, :width])

    def _given(self, image: Tensor) -> Tensor:
        return self._padded(image.permute(0, 3, 1, 2).float() / 127.5 - 1)

    def _padded(self, image: Tensor) -> Tensor:
        below, beside = (-image.shape[-2] % self.multiple, -image.shape[-1] % self.multiple)
        if self.multiple <= LEAST_SIDE:
            return F.pad(image, (0, beside, 0, below), mode="reflect")
        # One reflection is not enough where the multiple is larger than the image may be: bounce between the sides.
        return _bounced(_bounced(image, -2, below), -1, beside)


class StagedPixelContract(PixelContract):
    """A restorer from pixels to pixels, and what its detail stage alone makes of them.

    Shape: (B, H, W, 3) uint8 RGB, H and W at least 64 -> two of (B, H, W, 3) uint8 RGB.
    """

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]  # one output more
        """Enhance pixels, and mend their detail."""
        height, width = image.shape[1], image.shape[2]
        restorer = cast("Restorer", self.generator)
        mended = restorer.mend_detail(self._given(image))
        enhanced = restorer.mend_colour(mended)
        return _pixels(enhanced[:, :, :height, :width]), _pixels(mended[:, :, :height, :width])


def pixel_contract(generator: nn.Module) -> PixelContract:
    """The contract for `generator`, which is fixed for export; training is over then."""
    if isinstance(generator, Restorer):
        generator.fix()
        return StagedPixelContract(generator).eval()
    return PixelContract(generator).eval()


def _pixels(image: Tensor) -> Tensor:
    pixels = torch.round((image.clamp(-1, 1) + 1) * 127.5)
    return pixels.permute(0, 2, 3, 1).to(torch.uint8)


def _bounced(image: Tensor, dim: int, extra: int) -> Tensor:
    length = image.shape[dim]
    last = length - 1
    place = torch.arange(length + extra, device=image.device) % (2 * last)
    return image.index_select(dim, last - (place - last).abs())
