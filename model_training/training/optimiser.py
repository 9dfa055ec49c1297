"""Adam, its schedule, and the moving average of weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from model_training.config.schema import OptimiserConfig
from model_training.training.distributed import Ranks


class Optimisation:
    """Adam over some parameters, with gradients averaged over the ranks; fused on a GPU."""

    def __init__(self, parameters: Sequence[nn.Parameter], config: OptimiserConfig, ranks: Ranks) -> None:
        self._parameters, self._ranks = list(parameters), ranks
        fused = bool(self._parameters) and self._parameters[0].device.type == "cuda"
        self._adam = torch.optim.Adam(self._parameters, lr=config.rate, betas=(config.beta1, config.beta2), fused=fused)

    def descend(self, terms: Mapping[str, Tensor], rate: float) -> None:
        """One step down the sum of ``terms`` at a learning rate of ``rate``."""
        for group in self._adam.param_groups:
            group["lr"] = rate
        self._adam.zero_grad(set_to_none=True)
        torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
        self._ranks.average_gradients(self._parameters)
        self._adam.step()

    def state_dict(self) -> dict[str, Any]:
        """Adam's moments and step counts."""
        return self._adam.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on where ``state`` was saved."""
        self._adam.load_state_dict(state)


def learning_rate(config: OptimiserConfig, step: int, steps_per_epoch: int) -> float:
    """The rate of a step: constant, then falling linearly to 0.

    Source: CycleGAN's authors' schedule, 1 - max(0, t + 1 - constant) / (decay + 1) in epochs (or steps) t.
    """
    tick = step // steps_per_epoch if config.unit == "epochs" else step
    return config.rate * (1 - max(0, tick + 1 - config.constant) / (config.decay + 1))


def total_steps(config: OptimiserConfig, steps_per_epoch: int) -> int:
    """How many steps the schedule has."""
    ticks = config.constant + config.decay
    return ticks * steps_per_epoch if config.unit == "epochs" else ticks


@torch.no_grad()
def blend(average: nn.Module, network: nn.Module, decay: float, step: int) -> None:
    """Moves ``average`` towards ``network``; over the first steps faster, so that it forgets the start.

    Source: the warm-up (1 + t) / (10 + t) of TensorFlow's ExponentialMovingAverage.
    """
    share = 1 - min(decay, (1 + step) / (10 + step))
    torch._foreach_lerp_(list(average.parameters()), list(network.parameters()), share)
    for ours, theirs in zip(average.buffers(), network.buffers(), strict=True):
        ours.copy_(theirs)
