"""`lamegan-train fit`: from two folders and a configuration to a run's checkpoints."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from model_training.config.schema import TrainingConfig
from model_training.data.photos import PhotoSet
from model_training.runs.checkpoint import handed_on, read_checkpoint
from model_training.runs.provenance import SourceNote, describe, photos_seen, read_notes
from model_training.runs.resume import features_digest, run_origin
from model_training.training.adversarial import AdversarialTraining
from model_training.training.distributed import Ranks
from model_training.training.loop import Outcome
from model_training.training.photo_sets import load_side
from model_training.training.session import Plan, Session
from service.errors import ConfigurationError
from service.vocabulary import Device


@dataclass(frozen=True, slots=True)
class FitRequest:
    """What ``fit`` is asked for; see its options."""

    config: TrainingConfig
    lq: Path
    hq: Path
    out: Path
    resume: bool = False
    warm_start: Path | None = None
    everyday: Path | None = None
    device: Device = "auto"
    minutes: float | None = None
    validate: Path | None = None
    sources: Path | None = None


def fit(request: FitRequest, console: Console) -> Outcome:
    """Train (or continue to train) into `request.out`; return why it ended.

    Raises:
        LameganError: the data, configuration, device, checkpoint or disk does not allow it, in one sentence.
    """
    config, session = request.config, Session(request, console)
    if request.everyday is not None and not (config.restoration.weight and config.restoration.mixture):
        raise ConfigurationError(
            "Everyday photos join the pairs of a restoration.mixture, and the configuration has none."
        )
    lq, hq = (load_side(side, config, console) for side in (request.lq, request.hq))
    everyday = load_side(request.everyday, config, console) if request.everyday is not None else None

    def make(ranks: Ranks, device: torch.device) -> AdversarialTraining:
        return AdversarialTraining(config, lq, hq, device=device, ranks=ranks, everyday=everyday)

    return session.train(
        Plan(
            origin=_origin(request, lq, hq, everyday),
            make=make,
            begin=partial(_begin, request.warm_start) if request.warm_start is not None else None,
            start=request.warm_start,
            validate=request.validate,
            photos=(lq, hq, everyday),
        )
    )


def _origin(request: FitRequest, lq: PhotoSet, hq: PhotoSet, everyday: PhotoSet | None) -> dict[str, Any]:
    """What every checkpoint says about where it comes from."""
    notes, sides = read_notes(request.sources), {"x": lq, "y": hq}
    data = {"x": describe(lq, notes.get("lq", SourceNote())), "y": describe(hq, notes.get("hq", SourceNote()))}
    if everyday is not None:
        data["everyday"] = describe(everyday, notes.get("everyday", SourceNote()))
        sides["everyday"] = everyday
    return run_origin(request.config, data, sides, features=features_digest(request.config))


def _begin(start: Path, training: AdversarialTraining) -> dict[str, Any]:
    """Give `training` the networks of the checkpoint `start`; return what its origin says of them."""
    warm = read_checkpoint(start)
    taken = training.warm_start(handed_on(warm.state))
    kind = warm.state.get("kind", "unknown")
    return {
        "warm_start": f"{' and '.join(taken)} from {kind} training, checkpoint {warm.digest}",
        "seen": photos_seen(warm.state),
    }
