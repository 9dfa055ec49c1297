"""``lamegan-train fit``: from two folders and a configuration to a run's checkpoints."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from model_training.config.schema import TrainingConfig
from model_training.data.photos import PhotoSet, load_photos, named_skips
from model_training.runs.checkpoint import Checkpoint, Vault, best_path, handed_on, read_checkpoint
from model_training.runs.provenance import SourceNote, describe, photos_seen, read_notes
from model_training.training.adversarial import AdversarialTraining
from model_training.training.distributed import Ranks, joined_ranks
from model_training.training.loop import Outcome, Progress, Run, run_loop
from model_training.training.optimiser import total_steps
from model_training.training.run_log import Journal
from model_training.training.validation import Validation
from service.errors import CheckpointError, ConfigurationError
from service.vocabulary import Device

# What may differ between a run and its resumption: how long, how often, and when to give up.
_FREE_KEYS = {"journal", "watch"}
_FREE_OPTIMISER_KEYS = {"constant", "decay"}


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


INHERITED = ("warm_start", "seen")
"""What a checkpoint says of where its run began; a resumption says the same."""


def fit(request: FitRequest, console: Console) -> Outcome:
    """Trains (or goes on training) into ``request.out``; answers why it ended.

    Raises:
        LameganError: the data, configuration, device, checkpoint or disk does not allow it, in one sentence.
    """
    config = request.config
    vault = Vault(request.out / "checkpoints", config.journal.keep)
    resumed = find_resumption(vault, request.resume, console)
    if request.everyday is not None and not (config.restoration.weight and config.restoration.mixture):
        raise ConfigurationError(
            "Everyday photos join the pairs of a restoration.mixture, and the configuration has none."
        )
    lq, hq = (load_side(side, config, console) for side in (request.lq, request.hq))
    everyday = load_side(request.everyday, config, console) if request.everyday is not None else None
    origin = _origin(request, lq, hq, everyday)
    if resumed is not None:
        require_same_run(resumed, origin)
        require_same_start(resumed, request.warm_start)
    with joined_ranks(request.device) as (ranks, device):
        training = AdversarialTraining(config, lq, hq, device=device, ranks=ranks, everyday=everyday)
        progress = Progress()
        if resumed is not None:
            training.load_state_dict(resumed.state)
            progress = Progress(**resumed.state["progress"])
            origin |= {key: resumed.state[key] for key in INHERITED if key in resumed.state}
        elif request.warm_start is not None:
            warm = read_checkpoint(request.warm_start)
            origin |= {"warm_start": _warm(training, warm), "seen": photos_seen(warm.state)}
        steps = total_steps(config.optimiser, training.steps_per_epoch)
        validation = Validation(request.validate, config) if request.validate and ranks.leads else None
        name_shared(validation, [lq, hq, everyday], console)
        journal = Journal(
            request.out, config.journal, steps=steps, first_step=training.step, speaks=ranks.leads, console=console
        )
        write_config(request.out, config, ranks)
        with journal:
            run = Run(
                training, config, steps, vault, journal, ranks, device, origin, validation, request.minutes
            )  # fmt: skip
            return run_loop(run, progress)


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
    if read_checkpoint(start).digest not in checkpoint.state.get("warm_start", ""):
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


def load_side(source: Path, config: TrainingConfig, console: Console) -> PhotoSet:
    """One side's photos as the configuration wants them; says which files it skips.

    Raises:
        DataError: nothing usable is there.
    """
    data = config.data
    with Bar(
        "reading", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=console, transient=True
    ) as bar:
        task = bar.add_task("")
        photos = load_photos(
            source,
            (data.height, data.width),
            least=data.crop,
            fit=data.fit,
            seen=lambda done, all_: bar.update(task, completed=done, total=all_),
        )
    name_skipped(photos, console)
    return photos


def name_skipped(photos: PhotoSet, console: Console) -> None:
    """Says which files of a folder or list were not used, and why."""
    if photos.skipped:
        said = named_skips(photos.skipped, len(photos) + len(photos.skipped))
        console.print(said, style="yellow", markup=False)


def name_shared(validation: Validation | None, sides: Sequence[PhotoSet | None], console: Console) -> None:
    """Says how many of the photos that a run is scored on are among those that it learns from."""
    if validation is None:
        return
    trained = {digest for side in sides if side is not None for digest in side.digests}
    shared = sum(digest in trained for digest in validation.digests)
    if shared:
        console.print(
            f"{shared} of the {len(validation.digests)} photos of --validate are among the training photos: the score "
            "says less of others.",
            style="yellow",
            markup=False,
        )


def _origin(request: FitRequest, lq: PhotoSet, hq: PhotoSet, everyday: PhotoSet | None) -> dict[str, Any]:
    """What every checkpoint says about where it comes from."""
    notes = read_notes(request.sources)
    data = {"x": describe(lq, notes.get("lq", SourceNote())), "y": describe(hq, notes.get("hq", SourceNote()))}
    if everyday is not None:
        data["everyday"] = describe(everyday, notes.get("everyday", SourceNote()))
    return {
        "config": request.config.recipe(),
        "features": features_digest(request.config),
        "data": data,
        "order": order_digests({"x": lq, "y": hq} | ({} if everyday is None else {"everyday": everyday})),
        "warm_start": "",
        "seen": {},
    }


def _warm(training: AdversarialTraining, checkpoint: Checkpoint) -> str:
    taken = training.warm_start(handed_on(checkpoint.state))
    kind = checkpoint.state.get("kind", "unknown")
    return f"{' and '.join(taken)} from {kind} training, checkpoint {checkpoint.digest}"


def write_config(folder: Path, config: TrainingConfig, ranks: Ranks) -> None:
    """Writes what is used to the run's ``config.yaml``, making its folder.

    Raises:
        ConfigurationError: there can be no such folder or file.
    """
    if not ranks.leads:
        return
    text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.yaml").write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"The run cannot be written to {folder} ({error.strerror}).") from error
