"""The export contract as a module: bytes in, bytes out, any size; everything between is inside."""

from __future__ import annotations

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
        enhanced: Tensor = self.generator(self.given(image))
        return _pixels(enhanced[:, :, :height, :width])

    def given(self, image: Tensor) -> Tensor:
        """What the generator is given: (B, 3, h, w) in [-1, 1], padded."""
        return self._padded(image.permute(0, 3, 1, 2).float() / 127.5 - 1)

    def _padded(self, image: Tensor) -> Tensor:
        below, beside = (-image.shape[-2] % self.multiple, -image.shape[-1] % self.multiple)
        if self.multiple <= LEAST_SIDE:
            return F.pad(image, (0, beside, 0, below), mode="reflect")
        # One reflection is not enough where the multiple is larger than the image may be: bounce between the sides.
        return _bounced(_bounced(image, -2, below), -1, beside)


class StagedPixelContract(PixelContract):
    """A restorer from pixels to pixels, and what its detail stage alone makes of them.

    The detail stage's change comes as blocks and is put onto the photo's own rows of pixels: the channels need not be
    parted and joined again, which at a photo's own size costs more than many a convolution.

    Shape: (B, H, W, 3) uint8 RGB, H and W at least 64 -> two of (B, H, W, 3) uint8 RGB.
    """

    def __init__(self, generator: Restorer) -> None:
        super().__init__(generator)
        self.restorer = generator
        self.register_buffer("to_rows", _rows_of_blocks(255 / 2 * generator.detail.to_rgb[0]))

    to_rows: Tensor

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]  # one output more
        """Enhance pixels, and mend their detail."""
        enhanced, mended, _change = self.stages(image)
        return enhanced, mended

    def stages(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As `forward`, and what the detail stage adds to the padded photo: (B, H, W, 3) float32 in grey levels."""
        height, width = image.shape[1], image.shape[2]
        given = self.given(image)
        change = self._pixels_of(self.restorer.detail.change(given))
        mended = (image.float() + change[:, :height, :width]).clamp(0, 255)
        enhanced = self.restorer.mend_colour((given + change.permute(0, 3, 1, 2) / 127.5).clamp(-1, 1))
        return _pixels(enhanced[:, :, :height, :width]), torch.round(mended).to(torch.uint8), change

    def _pixels_of(self, blocks: Tensor) -> Tensor:
        """Blocks (B, 12, h, w) of a change of luma and colour differences, as that of pixels: (B, 2 h, 2 w, 3)."""
        height, width = blocks.shape[-2:]
        rows = [
            torch.matmul(kernel, blocks.flatten(2)).transpose(1, 2).reshape(-1, height, 1, 6 * width)
            for kernel in self.to_rows.unbind()
        ]
        return torch.cat(rows, 2).reshape(-1, 2 * height, 2 * width, 3)


class TracedStages(nn.Module):
    """What is traced of a contract in two stages: its outputs, and between them the detail stage's change."""

    def __init__(self, contract: StagedPixelContract) -> None:
        super().__init__()
        self.contract = contract

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As `StagedPixelContract.stages`."""
        return self.contract.stages(image)


def pixel_contract(generator: nn.Module) -> PixelContract:
    """The contract for `generator`, which is fixed for export; training is over then."""
    if isinstance(generator, Restorer):
        generator.fix()
        return StagedPixelContract(generator).eval()
    return PixelContract(generator).eval()


def _pixels(image: Tensor) -> Tensor:
    pixels = torch.round((image.clamp(-1, 1) + 1) * 127.5)
    return pixels.permute(0, 2, 3, 1).to(torch.uint8)


def _rows_of_blocks(to_rgb: Tensor) -> Tensor:
    """From the channels of 2x2 blocks (12: plane, row, column) to RGB of each row's two pixels: (2, 1, 6, 12)."""
    two = torch.eye(2)
    return torch.einsum("cp,ik,jl->ijcpkl", to_rgb, two, two).reshape(2, 1, 6, 12)


def _bounced(image: Tensor, dim: int, extra: int) -> Tensor:
    length = image.shape[dim]
    last = length - 1
    place = torch.arange(length + extra, device=image.device) % (2 * last)
    return image.index_select(dim, last - (place - last).abs())
