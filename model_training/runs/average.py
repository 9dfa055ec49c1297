"""The weighted mean of two generators' weights: what fine-tuning gained, with less of what it forgot.

A fine-tuned network and the one it began from lie in one valley; between them the gain on the data tuned for stays,
while photos of other kinds are treated more nearly as before.
Source: Wortsman et al., "Robust fine-tuning of zero-shot models" (WiSE-FT), arXiv 2109.01903.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from model_training.runs.checkpoint import exported_weights, read_checkpoint, write_checkpoint
from model_training.runs.provenance import each_once, photos_seen
from service.errors import CheckpointError

ORIGIN = ("kind", "config", "data", "features", "step")


def write_mean(begun: Path, tuned: Path, out: Path, *, share: float = 0.5) -> str:
    """Writes the mean of G in `begun` and `tuned`, `share` of it from `tuned`, as a checkpoint; returns its digest.

    Everything else the new checkpoint holds and says (F, kind, configuration, data, steps) is `tuned`'s; F is `begun`'s
    where `tuned` has none.

    Raises:
        CheckpointError: one cannot be read, the two are different networks, or the share is outside [0, 1].
    """
    if not 0 <= share <= 1:
        raise CheckpointError(f"A share lies between 0 and 1, not {share}.")
    first, second = read_checkpoint(begun), read_checkpoint(tuned)
    ours, theirs = exported_weights(first.state), exported_weights(second.state)
    if {name: value.shape for name, value in ours.items()} != {name: value.shape for name, value in theirs.items()}:
        raise CheckpointError(f"{begun} and {tuned} hold different networks.")
    mean = {name: (1 - share) * value + share * theirs[name] for name, value in ours.items()}
    origin: dict[str, Any] = {key: second.state[key] for key in ORIGIN}
    said = (
        f"the mean of {1 - share:g} of checkpoint {first.digest} and {share:g} of checkpoint {second.digest}, "
        f"which began with {second.state.get('warm_start') or 'random weights'}"
    )
    seen = each_once([*photos_seen(second.state).values(), *photos_seen(first.state).values()])
    degrader = second.state["networks"].get("F") or first.state["networks"].get("F")
    networks = {"G": mean, "F": degrader} if degrader else {"G": mean}
    return write_checkpoint(out, {**origin, "networks": networks, "warm_start": said, "seen": seen})
