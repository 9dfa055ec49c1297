"""In which precision networks are run."""

from __future__ import annotations

import torch

from model_training.config.schema import TrainingConfig


def autocast(config: TrainingConfig, device: torch.device) -> torch.autocast:
    """What networks are run under: bfloat16 where the configuration wants it, nothing where it does not."""
    wanted = config.precision == "bfloat16" or (config.precision == "auto" and device.type == "cuda")
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=wanted)
