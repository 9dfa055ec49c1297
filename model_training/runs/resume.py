"""Going on with a run: which checkpoint it goes on from, and whether it is the same run.

A run may be resumed only with the configuration, photos, order and features that it began with; how long it trains and
how often it saves may change.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from model_training.config.schema import TrainingConfig
from model_training.data.photos import PhotoSet, file_sha256
from model_training.runs.checkpoint import Checkpoint, Vault, best_path, read_checkpoint
from service.errors import CheckpointError

_FREE_KEYS = {"journal", "watch"}
_FREE_OPTIMISER_KEYS = {"constant", "decay"}
"""May differ between a run and its resumption: how long, how often, and when to give up."""

INHERITED = ("warm_start", "seen")
"""What a checkpoint says of where its run began; a resumption says the same."""


def find_resumption(vault: Vault, resume: bool, console: Console) -> Checkpoint | None:
    """The checkpoint to go on from; None for a fresh start.

    Raises:
        CheckpointError: there are checkpoints and no wish to go on, or none is whole, or there is only a best one.
    """
    if not vault.paths() and best_path(vault.folder).is_file():
        raise CheckpointError(
            f"{vault.folder} already holds the best.pt of a run that saved nothing to go on from: remove it, or name "
            "another --out."
        )
    if not resume:
        if vault.paths():
            raise CheckpointError(
                f"{vault.folder} already holds checkpoints: add --resume to go on, or name another --out."
            )
        return None
    checkpoint, damaged = vault.latest()
    for sentence in damaged:
        console.print(f"{sentence} The one before it is used.", style="yellow", markup=False)
    if checkpoint is None and damaged:
        raise CheckpointError(f"No checkpoint in {vault.folder} is whole: {damaged[0]}")
    return checkpoint


def require_same_start(checkpoint: Checkpoint, start: Path | None) -> None:
    """Refuses to go on as if a run had begun from `start` when it began from something else.

    `start` is what the command names: nothing, or a file that may be gone by now, asks for nothing.

    Raises:
        CheckpointError: it is a checkpoint that the run did not begin from, or is damaged.
    """
    if start is None or not start.exists():
        return
    digest = file_sha256(start) if start.suffix == ".onnx" else read_checkpoint(start).digest
    if digest not in checkpoint.state.get("warm_start", ""):
        raise CheckpointError(f"{checkpoint.path} did not begin from {start}; do not name it to resume.")


def require_same_run(checkpoint: Checkpoint, origin: Mapping[str, Any]) -> None:
    """Refuses to go on with another configuration, other data, or other features than before.

    A checkpoint of a version that did not note the photos' order is taken in any.

    Raises:
        CheckpointError: they differ; the first difference is named.
    """
    before, now = (TrainingConfig.from_recipe(side["config"]) for side in (checkpoint.state, origin))
    difference = _first_difference(_comparable(before), _comparable(now))
    if difference:
        raise CheckpointError(f"{checkpoint.path} was trained with another {difference}; change it back to resume.")
    before_data, data = checkpoint.state["data"], origin["data"]
    for side in sorted(before_data.keys() | data.keys()):
        if before_data.get(side, {}).get("digest") != data.get(side, {}).get("digest"):
            raise CheckpointError(f"{checkpoint.path} was trained on other {_photos(side)} than are given now.")
    ordered, order = checkpoint.state.get("order", {}), origin["order"]
    for side in sorted(ordered.keys() & order.keys()):
        if ordered[side] != order[side]:
            raise CheckpointError(f"{checkpoint.path} was trained on these {_photos(side)} in another order.")
    known = checkpoint.state.get("features", "")
    if known and origin["features"] and known != origin["features"]:
        raise CheckpointError(f"{checkpoint.path} was trained with other VGG weights than are given now.")


def _photos(side: str) -> str:
    return {"x": "low-quality photos", "y": "high-quality photos", "everyday": "everyday photos"}.get(side, "photos")


def order_digests(sides: Mapping[str, PhotoSet]) -> dict[str, str]:
    """By side, SHA-256 of its files' names in their order, from the folder that holds them all: photos are drawn by
    position, so that a run cannot go on with them in another order."""
    return {side: _order_digest([Path(name).resolve() for name in photos.names]) for side, photos in sides.items()}


def _order_digest(paths: list[Path]) -> str:
    folder = os.path.commonpath([path.parent for path in paths])
    names = [path.relative_to(folder).as_posix() for path in paths]
    return hashlib.sha256("\n".join(names).encode(errors="surrogateescape")).hexdigest()


def features_digest(config: TrainingConfig) -> str:
    """SHA-256 of the VGG weights' file; empty where none is named."""
    weights = config.features.weights
    return hashlib.sha256(weights.read_bytes()).hexdigest() if weights and weights.is_file() else ""


def _comparable(config: TrainingConfig) -> dict[str, Any]:
    settings = {key: value for key, value in config.model_dump(exclude={"features"}).items() if key not in _FREE_KEYS}
    settings["optimiser"] = {
        key: value for key, value in settings["optimiser"].items() if key not in _FREE_OPTIMISER_KEYS
    }
    return settings


def _first_difference(before: Any, now: Any, key: str = "") -> str | None:
    if isinstance(before, dict) and isinstance(now, dict):
        for name in before.keys() | now.keys():
            found = _first_difference(before.get(name), now.get(name), f"{key}.{name}".lstrip("."))
            if found:
                return found
        return None
    return None if before == now else key


def run_origin(
    config: TrainingConfig,
    data: Mapping[str, Mapping[str, Any]],
    sides: Mapping[str, PhotoSet],
    *,
    features: str = "",
    warm_start: str = "",
    seen: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """What every checkpoint of a run states about where it comes from.

    Args:
        config: the run's.
        data: `describe`d photos, by side.
        sides: the photos themselves, by side; their order is part of the run.
        features: `features_digest` where VGG features are used.
        warm_start: where the first weights come from.
        seen: photos that those weights have learned from, as `photos_seen`.
    """
    return {
        "config": config.recipe(),
        "features": features,
        "data": dict(data),
        "order": order_digests(sides),
        "warm_start": warm_start,
        "seen": dict(seen or {}),
    }
