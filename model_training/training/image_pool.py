"""The history of made images that a discriminator is shown."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class ImagePool:
    """Keeps up to ``size`` made images; a full pool hands out an old one half of the time and keeps the new.

    Source: Shrivastava et al. 2017, as used by CycleGAN (50 images).
    """

    def __init__(self, size: int, seed: int) -> None:
        self._size = size
        self._generator = torch.Generator().manual_seed(seed)
        self._images: list[Tensor] = []

    def exchange(self, images: Tensor) -> Tensor:
        """As many images as came in, each the new one or an older one. Shape: (B, 3, H, W), in and out."""
        return torch.stack([self._swap(image) for image in images.detach()]) if self._size else images.detach()

    def _swap(self, image: Tensor) -> Tensor:
        if len(self._images) < self._size:
            self._images.append(image.clone())
            return image
        if torch.rand((), generator=self._generator) < 0.5:
            return image
        place = int(torch.randint(self._size, (), generator=self._generator))
        old, self._images[place] = self._images[place], image.clone()
        return old

    def state_dict(self) -> dict[str, Any]:
        """The images, on the CPU, and what decides the next exchange."""
        return {"generator": self._generator.get_state(), "images": [image.cpu() for image in self._images]}

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        """Goes on where ``state`` was saved."""
        self._generator.set_state(state["generator"])
        self._images = [image.to(device) for image in state["images"]]
