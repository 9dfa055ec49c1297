"""One process or many: which device this one trains on, and how the ranks of ``torchrun`` stay one.

Gradients are averaged here, in one exchange a step, and not by DistributedDataParallel: one step calls G up to four
times before it goes backward once, and every rank starts from the same seed, so that nothing else is needed.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from service.errors import ConfigurationError
from service.vocabulary import Device


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process among those that train together."""

    rank: int = 0
    world: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is the one that writes files and talks."""
        return self.rank == 0

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Makes every rank's gradients their mean over the ranks."""
        if self.world == 1:
            return
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        dist.all_reduce(flat)
        flat /= self.world
        start = 0
        for gradient in gradients:
            gradient.copy_(flat[start : start + gradient.numel()].view_as(gradient))
            start += gradient.numel()

    def agree(self, losses: Mapping[str, Tensor], asked: bool, late: bool) -> tuple[dict[str, float], bool, bool]:
        """The losses' means over the ranks as floats, and whether any rank was asked to stop, and any is late."""
        values = torch.stack([loss.detach().float() for loss in losses.values()])
        values = torch.cat((values, values.new_tensor([float(asked), float(late)])))
        if self.world > 1:
            dist.all_reduce(values)
            values /= self.world
        *means, askings, lates = values.tolist()
        return dict(zip(losses, means, strict=True)), askings > 0, lates > 0

    def gather(self, value: Any) -> list[Any]:
        """Every rank's ``value``, in order of rank."""
        if self.world == 1:
            return [value]
        values: list[Any] = [None] * self.world
        dist.all_gather_object(values, value)
        return values

    def wait(self) -> None:
        """Returns when every rank has come here."""
        if self.world > 1:
            dist.barrier()


@contextmanager
def joined_ranks(device_name: Device) -> Iterator[tuple[Ranks, torch.device]]:
    """This process's rank, as ``torchrun`` set it, and its device; leaves the group at the end.

    Raises:
        ConfigurationError: a GPU is asked for and absent.
    """
    world = world_size()
    device = choose_device(device_name, local_rank=int(os.environ.get("LOCAL_RANK", "0")))
    if device.type == "cuda":
        torch.cuda.set_device(device)
        torch.set_float32_matmul_precision("high")  # TF32
    if world == 1:
        yield Ranks(), device
        return
    if device.type == "cuda":
        dist.init_process_group("nccl", device_id=device)
    else:
        dist.init_process_group("gloo")
    try:
        yield Ranks(dist.get_rank(), world), device
    finally:
        dist.destroy_process_group()


def world_size() -> int:
    """How many processes `torchrun` has train together; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def choose_device(name: Device, *, local_rank: int = 0) -> torch.device:
    """The device ``name`` means here: auto takes a GPU if there is one.

    Raises:
        ConfigurationError: a GPU is asked for and absent (or there are fewer than the ranks of this machine).
    """
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "cpu" or (name == "auto" and gpus == 0):
        return torch.device("cpu")
    if gpus == 0:
        raise ConfigurationError("A GPU was asked for (--device cuda), but torch finds none on this machine.")
    if local_rank >= gpus:
        raise ConfigurationError(f"Rank {local_rank} of this machine has no GPU: torch finds {gpus}.")
    return torch.device("cuda", local_rank)
