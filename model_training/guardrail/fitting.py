"""What both detectors of the guardrail share: fitting to examples, the loss, the file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from model_training.guardrail.harmless import HARMLESS
from model_training.runs.progress import Start
from service.quality.pyramid import Image

BATCH, RATE, DECAY = 32, 4e-3, 1e-3

OFFSET = 3.0
"""Taken off the logits: harmless changes then have values near 1, with the threshold somewhere about a half."""

Network = TypeVar("Network", bound=nn.Module)
Arrays = tuple[NDArray[Any], ...]


def fit_network(
    make: Callable[[], Network],
    loss: Callable[..., Tensor],
    examples: Arrays,
    *,
    epochs: int,
    seed: int,
    start: Start,
) -> Network:
    """A network fitted to `examples` in `epochs` passes; the same on the same machine for the same seed.

    Args:
        make: makes the network; its first weights are drawn from `seed`.
        loss: of the network and a batch of each array of `examples`, as float32.
        examples: arrays of N examples each.
        epochs: passes over them.
        seed: of first weights and order.
        start: shows the progress.
    """
    torch.manual_seed(seed)
    network, count = make(), len(examples[0])
    steps = max(1, count // BATCH) * epochs
    optimiser = torch.optim.AdamW(network.parameters(), RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps + 1)
    advance = start(steps)
    generator = np.random.default_rng(seed)
    for _ in range(epochs):
        for batch in np.array_split(generator.permutation(count), max(1, count // BATCH)):
            optimiser.zero_grad()
            wrong = loss(network, *(torch.from_numpy(part[batch]).float() for part in examples))
            wrong.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
            advance()
    return network


def worst_and_each(logits: Tensor, faulty: Tensor, inside: Tensor, outside: Tensor, *, weight: float) -> Tensor:
    """Cross-entropy of the highest logit against `faulty` (B,), plus `weight` times that of single positions.

    Of positions, (B, h, w), only those surely `inside` a fault or surely `outside` count.
    """
    worst = logits.flatten(1).amax(dim=1)
    each = F.binary_cross_entropy_with_logits(logits, inside.float(), reduction="none")
    of_each = (each * outside).sum() / outside.sum().clamp(min=1) + (each * inside).sum() / (inside.sum() + 1)
    return F.binary_cross_entropy_with_logits(worst, faulty) + weight * of_each


def changed(photo: Image, generator: np.random.Generator, count: int) -> Image:
    """`photo` after `count` different harmless changes."""
    for name in generator.choice(list(HARMLESS), count):
        photo = HARMLESS[str(name)](photo, generator)
    return photo


def write_network(network: nn.Module, path: Path) -> None:
    """Write the layers first, second and last of `network` as `service.quality` reads them.

    Filters of one pixel are written as matrices, those of the last layer as a vector.
    """
    weights = {name: tensor.detach().numpy().astype(np.float32) for name, tensor in network.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        np.savez_compressed(
            file,
            first=_filters(weights["first.weight"]),
            first_bias=weights["first.bias"],
            second=_filters(weights["second.weight"]),
            second_bias=weights["second.bias"],
            last=weights["last.weight"].reshape(-1),
            last_bias=weights["last.bias"][0],
            offset=np.float32(OFFSET),
        )


def _filters(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    return weight[:, :, 0, 0] if weight.shape[2:] == (1, 1) else weight
