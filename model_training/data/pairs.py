"""Generated pairs: a clean photo and what ``degrade`` makes of it, the same for the same seed."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from model_training.config.pretrain import Mixture
from model_training.config.schema import TrainingConfig
from model_training.data.batches import PhotoStore, Sampler, to_unit
from model_training.data.degradation import RECIPES, degrade
from model_training.data.mixture import MixedPairs
from model_training.data.photos import PhotoSet, as_images
from model_training.training.distributed import Ranks

_SEEDS = 2**31


class PairSource(Protocol):
    """Draws pairs, the next ones each time; its whole state can be saved and put back."""

    def draw(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """The next pairs, degraded and clean. Shapes: two (B, 3, crop, crop) in [-1, 1] on ``device``."""

    def state_dict(self) -> dict[str, Any]:
        """What decides the next pairs."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on where ``state`` was saved."""


class PhotoPairs:
    """Draws crops of the clean photos and degrades them, on the CPU, some left clean."""

    def __init__(self, config: TrainingConfig, store: PhotoStore, ranks: Ranks) -> None:
        self._restoration, self._store, self._ranks = config.restoration, store, ranks
        self._sampler = Sampler(
            len(store.pixels), (config.data.height, config.data.width), config.data, config.seed + 2
        )

    def draw(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """The next pairs, degraded and clean. Shapes: two (B, 3, crop, crop) in [-1, 1] on ``device``."""
        count, ranks = self._restoration.pairs * self._ranks.world, self._ranks
        cut = self._sampler.draw(count).part(ranks.rank, ranks.world)
        seeds, chances = (self._sampler.seeds(count)[ranks.rank :: ranks.world] for _ in range(2))
        good = self._store.cut(cut).cpu()
        bad = torch.stack(
            [self._degraded(photo, seed, chance) for photo, seed, chance in zip(good, seeds, chances, strict=True)]
        )
        return to_unit(bad.to(device)), to_unit(good.to(device))

    def _degraded(self, photo: Tensor, seed: int, chance: int) -> Tensor:
        if chance < self._restoration.clean * _SEEDS:
            return photo
        recipe = RECIPES[self._restoration.recipe]
        pixels = photo.permute(1, 2, 0).contiguous().numpy()
        bad = degrade(pixels, seed, recipe=recipe, strength=self._restoration.strength)
        return torch.from_numpy(bad).permute(2, 0, 1)

    def state_dict(self) -> dict[str, Any]:
        """What decides the next pairs."""
        return self._sampler.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on where ``state`` was saved."""
        self._sampler.load_state_dict(state)


class MixturePairs:
    """Draws pairs as the warm start does: photos, phantoms and everyday pictures, extremes and clean ones."""

    def __init__(
        self,
        config: TrainingConfig,
        mixture: Mixture,
        good: PhotoSet,
        ranks: Ranks,
        everyday: PhotoSet | None = None,
    ) -> None:
        self._pairs = MixedPairs(as_images(good), mixture, config.seed, as_images(everyday))
        self._first = (config.seed, ranks.rank)
        self._count, self._side, self._drawn = config.restoration.pairs, config.data.crop, 0

    def draw(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """The next pairs, degraded and clean. Shapes: two (B, 3, crop, crop) in [-1, 1] on ``device``."""
        rng = np.random.default_rng([*self._first, self._drawn, 0xF17])
        self._drawn += 1
        bad, good = self._pairs.batch_of(self._side, self._side, self._count, rng)
        return bad.to(device), good.to(device)

    def state_dict(self) -> dict[str, Any]:
        """How many times pairs were drawn: all that decides the next ones."""
        return {"drawn": self._drawn}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on where ``state`` was saved."""
        self._drawn = state["drawn"]


def pair_source(
    config: TrainingConfig, store: PhotoStore, good: PhotoSet, ranks: Ranks, everyday: PhotoSet | None = None
) -> PairSource:
    """What the configuration's `restoration` section asks for, drawn from the clean photos (``store`` has them too)."""
    if config.restoration.mixture is None:
        return PhotoPairs(config, store, ranks)
    return MixturePairs(config, config.restoration.mixture, good, ranks, everyday)
