"""Batches: which photos, where cut, which way round. All of it drawn from one seed, all of it resumable."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from model_training.config.schema import DataConfig


@dataclass(frozen=True, slots=True)
class Cut:
    """Where the crops of one side of a batch come from, all (B,) int64 on the CPU.

    Attributes:
        photo: index into the photo set.
        top, left: corner of the crop, in pixels.
        flip: 1 where the crop is mirrored left to right.
    """

    photo: Tensor
    top: Tensor
    left: Tensor
    flip: Tensor

    def part(self, rank: int, world: int) -> Cut:
        """The share of one of ``world`` ranks."""
        return Cut(*(values[rank::world] for values in (self.photo, self.top, self.left, self.flip)))


class Sampler:
    """Endless shuffled passes over one set of photos; its whole state can be saved and put back."""

    def __init__(self, photos: int, size: tuple[int, int], config: DataConfig, seed: int) -> None:
        self._photos, self._size, self._config = photos, size, config
        self._generator = torch.Generator().manual_seed(seed)
        self._order = torch.empty(0, dtype=torch.int64)

    def draw(self, count: int) -> Cut:
        """The next ``count`` crops."""
        while len(self._order) < count:
            shuffled = torch.randperm(self._photos, generator=self._generator)
            self._order = torch.cat((self._order, shuffled))
        photo, self._order = self._order[:count], self._order[count:].clone()
        top, left = (self._below(side - self._config.crop + 1, count) for side in self._size)
        flip = self._below(2, count) if self._config.flip else torch.zeros(count, dtype=torch.int64)
        return Cut(photo.clone(), top, left, flip)

    def seeds(self, count: int) -> list[int]:
        """The next ``count`` seeds, for whatever else is random about a batch."""
        return [int(seed) for seed in self._below(2**31, count)]

    def _below(self, bound: int, count: int) -> Tensor:
        return torch.randint(bound, (count,), generator=self._generator)

    def state_dict(self) -> dict[str, Any]:
        """Everything that decides what is drawn next."""
        return {"generator": self._generator.get_state(), "order": self._order}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on where ``state`` was saved."""
        self._generator.set_state(state["generator"])
        self._order = state["order"]


class PhotoStore:
    """Decoded photos as bytes, on the training device while they take at most half of its free memory.

    Shape: (N, 3, H, W) uint8 in, crops (B, 3, crop, crop) float32 in [-1, 1] on the device out.
    """

    def __init__(self, pixels: Tensor, config: DataConfig, device: torch.device) -> None:
        self._device, self._crop = device, config.crop
        resident = config.residency == "device" or (config.residency == "auto" and _fits(pixels, device))
        if device.type == "cuda" and not resident:
            pixels = pixels.pin_memory()
        self.pixels = pixels.to(device) if resident else pixels

    def crops(self, cut: Cut) -> Tensor:
        """The crops of ``cut``, as the networks want them. Shape: (B, 3, crop, crop) in [-1, 1]."""
        return to_unit(self.cut(cut).to(self._device, non_blocking=True))

    def cut(self, cut: Cut) -> Tensor:
        """The crops of ``cut`` as bytes, where the photos are. Shape: (B, 3, crop, crop) uint8."""
        home = self.pixels.device
        photo, top, left, flip = (
            values.to(home, non_blocking=True) for values in (cut.photo, cut.top, cut.left, cut.flip)
        )
        along = torch.arange(self._crop, device=home)
        rows = top[:, None] + along
        columns = left[:, None] + torch.where(flip[:, None] > 0, self._crop - 1 - along, along)
        channels = torch.arange(3, device=home)
        return self.pixels[
            photo[:, None, None, None],
            channels[None, :, None, None],
            rows[:, None, :, None],
            columns[:, None, None, :],
        ]


def to_unit(pixels: Tensor) -> Tensor:
    """uint8 0..255 to float32 [-1, 1], any shape."""
    return pixels.float().div_(127.5).sub_(1)


def to_bytes(image: Tensor) -> Tensor:
    """Float [-1, 1] to uint8 0..255: clipped, rounded, then cast. Any shape."""
    return image.detach().float().clamp(-1, 1).add(1).mul(127.5).round().to(torch.uint8)


def _fits(pixels: Tensor, device: torch.device) -> bool:
    if device.type != "cuda":
        return True
    free, _total = torch.cuda.mem_get_info(device)
    return pixels.numel() <= free // 2
