"""The generator that a checkpoint or a run stands for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from model_training.config.schema import TrainingConfig
from model_training.networks import build, gives_numbers
from model_training.runs.checkpoint import (
    Checkpoint,
    Vault,
    all_finite,
    best_path,
    exported_weights,
    load_weights,
    read_checkpoint,
)
from service.errors import CheckpointError


def find_checkpoint(path: Path) -> Checkpoint:
    """The checkpoint in a file, or a run's best by validation, or else its newest whole one.

    Raises:
        CheckpointError: there is no whole checkpoint.
    """
    if not path.is_dir():
        return read_checkpoint(path)
    for folder in (path / "checkpoints", path):
        if best_path(folder).is_file():
            return read_checkpoint(best_path(folder))
        checkpoint, _damaged = Vault(folder, keep=1).latest()
        if checkpoint is not None:
            return checkpoint
    raise CheckpointError(f"There is no whole checkpoint in {path}.")


def load_generator(checkpoint: Checkpoint) -> nn.Module:
    """The generator that a checkpoint of any kind of training stands for: G's moving average where there is one.

    Raises:
        CheckpointError: it holds no generator, another network than its configuration's, or one that training ruined.
    """
    state: Mapping[str, Any] = checkpoint.state
    try:
        config = TrainingConfig.from_recipe(state["config"])
        weights = exported_weights(state)
    except KeyError as error:
        raise CheckpointError(f"{checkpoint.path} holds no generator: {error} is missing.") from error
    generator: nn.Module = build(config.generator_config)
    load_weights(generator, weights, f"G in {checkpoint.path}")
    generator.eval().requires_grad_(False)
    if not (all_finite(weights) and gives_numbers(generator)):
        raise CheckpointError(f"G in {checkpoint.path} is ruined: its weights or what they give are not finite.")
    return generator
