"""What a pre-training run teaches: the whole generator, or one stage of a `Restorer` while the other stands still."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from model_training.config.pretrain import StageName, WarmStart
from model_training.losses.restoration import restoration_loss
from model_training.losses.stages import colour_terms, detail_terms
from model_training.networks.colour import SLOWER as SLOWER_COLOUR
from model_training.networks.detail import SLOWER as SLOWER_DETAIL
from model_training.networks.restorer import Restorer
from service.errors import ConfigurationError

MEASURED = 24
MEASURED_VIEWS = ((112, 112), (272, 480), (128, 128), (352, 352))
"""(H, W) of views."""

SLOWER = {f"colour.{name}": share for name, share in SLOWER_COLOUR.items()} | {
    f"detail.{name}": share for name, share in SLOWER_DETAIL.items()
}
"""Shares of the learning rate, by the beginning of a weight's name."""


def rate_share(name: str) -> float:
    """The share of the learning rate at which a restorer's weight of this name learns."""
    for beginning, share in SLOWER.items():
        if name.startswith(beginning):
            return share
    return 1.0


class PairSource(Protocol):
    """Where batches of (degraded, clean) come from, (B, 3, H, W) float32 in [-1, 1]."""

    def batch(self, step: int, size: int) -> tuple[Tensor, Tensor]:
        """Batch number `step` of about `size` pairs."""
        ...

    def batch_of(self, height: int, width: int, size: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """`size` pairs of (height, width)."""
        ...


class Stage:
    """One stage of `network`, as `settings` name it.

    Raises:
        ConfigurationError: the generator has no stages.
    """

    def __init__(self, settings: WarmStart, network: nn.Module) -> None:
        self.name: StageName = settings.stage
        self._weights = settings.weights
        if self.name != "whole" and not isinstance(network, Restorer):
            raise ConfigurationError(f"Only the generator `restorer` has a stage {self.name!r}; this one learns whole.")

    def require_grad(self, network: nn.Module) -> None:
        """Let only this stage's weights learn."""
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(self.name == "whole" or name.startswith(f"{self.name}."))

    def measure(self, network: nn.Module, source: PairSource, device: torch.device) -> None:
        """Let the stage see what is usual, on `MEASURED` batches that training does not use."""
        if not isinstance(network, Restorer) or self.name == "whole":
            return
        rng = np.random.default_rng(0x57A7)
        views = (source.batch_of(*MEASURED_VIEWS[i % len(MEASURED_VIEWS)], 8, rng)[0] for i in range(MEASURED))
        given = [view.to(device) for view in views]
        if self.name == "colour":
            network.colour.statistics.measure(given)
        else:
            network.detail.whole_filter.measure(network.detail.planes(view)[:, :1] for view in given)

    def made(self, network: nn.Module, image: Tensor) -> Tensor:
        """What the stage makes of `image`, (B, 3, H, W)."""
        if isinstance(network, Restorer) and self.name == "detail":
            return network.mend_detail(image)
        if isinstance(network, Restorer) and self.name == "colour":
            return network.mend_colour(_as_served(network, image) if network.training else image)
        made: Tensor = network(image)
        return made

    def terms(self, output: Tensor, clean: Tensor, bad: Tensor) -> dict[str, Tensor]:
        """The weighted terms of its loss."""
        if self.name == "detail":
            return detail_terms(output, clean, bad)
        if self.name == "colour":
            return colour_terms(output, clean, bad)
        return restoration_loss(output, clean, self._weights, bad)


def _as_served(network: Restorer, image: Tensor) -> Tensor:
    """Three in five photos of the batch as the detail stage leaves them, which is what the colour stage is served.

    The rest stay as they are, since one detail stage is not like the next.
    """
    count = round(0.6 * len(image))
    with torch.no_grad():
        mended = network.mend_detail(image[:count])
    return torch.cat([mended, image[count:]])
