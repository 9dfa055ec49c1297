"""One training run, from its folder to the end of its schedule: what fit, warm start and distillation share.

A command reads its photos, states the run's origin and says how its training is made (`Plan`). Everything else is
here: resuming, ranks and device, validation, the log, the configuration on disk, the loop.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import torch
import yaml
from rich.console import Console

from model_training.config.schema import TrainingConfig
from model_training.data.photos import PhotoSet
from model_training.runs.checkpoint import Vault
from model_training.runs.resume import INHERITED, find_resumption, require_same_run, require_same_start
from model_training.training.distributed import Ranks, joined_ranks
from model_training.training.loop import Outcome, Progress, Run, Training, run_loop
from model_training.training.photo_sets import name_shared
from model_training.training.run_log import Journal
from model_training.training.validation import Validation
from service.errors import ConfigurationError
from service.vocabulary import Device


class RunRequest(Protocol):
    """What every command that trains is asked for."""

    @property
    def config(self) -> TrainingConfig:
        """Every setting of the run."""
        ...

    @property
    def out(self) -> Path:
        """The run's folder."""
        ...

    @property
    def resume(self) -> bool:
        """Whether to continue from the newest checkpoint."""
        ...

    @property
    def device(self) -> Device:
        """Where to train."""
        ...

    @property
    def minutes(self) -> float | None:
        """Time after which to save and stop; None: no limit."""
        ...


class ResumableTraining(Training, Protocol):
    """A training that knows its length and can continue from a saved state."""

    @property
    def steps(self) -> int:
        """Steps of the whole schedule."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state`.

        Raises:
            CheckpointError: it is the state of another kind of run.
        """
        ...


T = TypeVar("T", bound=ResumableTraining)


@dataclass(frozen=True, slots=True)
class Plan(Generic[T]):
    """How one kind of run differs from the others.

    Attributes:
        origin: what every checkpoint states about the configuration and the photos; see `run_origin`.
        make: builds the training for one rank and its device.
        begin: gives a fresh training its first weights and returns what this changes in `origin`; None: random weights.
        start: the file that those weights come from; a resumed run must have begun with it.
        validate: photos to score the generator on.
        photos: the sets that are trained on.
    """

    origin: dict[str, Any]
    make: Callable[[Ranks, torch.device], T]
    begin: Callable[[T], dict[str, Any]] | None = None
    start: Path | None = None
    validate: Path | None = None
    photos: Sequence[PhotoSet | None] = ()


class Session:
    """A run in `request.out`, fresh or resumed.

    Attributes:
        resumed: the checkpoint to continue from; None for a fresh start.

    Raises:
        CheckpointError: the folder holds a run and `request.resume` is not set, or no checkpoint in it is whole.
    """

    def __init__(self, request: RunRequest, console: Console) -> None:
        self._request, self._console = request, console
        self._vault = Vault(request.out / "checkpoints", request.config.journal.keep)
        self.resumed = find_resumption(self._vault, request.resume, console)

    def train(self, plan: Plan[T]) -> Outcome:
        """Train to the end of the schedule, or until told to stop; return why it ended.

        Raises:
            LameganError: the photos, configuration, device, checkpoint or disk do not allow it, in one sentence.
        """
        request, config, origin = self._request, self._request.config, dict(plan.origin)
        if self.resumed is not None:
            require_same_run(self.resumed, origin)
            require_same_start(self.resumed, plan.start)
        with joined_ranks(request.device) as (ranks, device):
            training, progress = plan.make(ranks, device), Progress()
            if self.resumed is not None:
                training.load_state_dict(self.resumed.state)
                progress = Progress(**self.resumed.state["progress"])
                origin |= {key: self.resumed.state[key] for key in INHERITED if key in self.resumed.state}
            elif plan.begin is not None:
                origin |= plan.begin(training)
            validation = Validation(plan.validate, config) if plan.validate and ranks.leads else None
            name_shared(validation, plan.photos, self._console)
            journal = Journal(
                request.out,
                config.journal,
                steps=training.steps,
                first_step=training.step,
                speaks=ranks.leads,
                console=self._console,
            )
            if ranks.leads:
                write_config(request.out, config)
            with journal:
                run = Run(
                    training, config, training.steps, self._vault, journal, ranks, device, origin, validation,
                    request.minutes,
                )  # fmt: skip
                return run_loop(run, progress)


def write_config(folder: Path, config: TrainingConfig) -> None:
    """Write what is used to the run's `config.yaml`, making its folder.

    Raises:
        ConfigurationError: the folder or the file cannot be written.
    """
    text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.yaml").write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"The run cannot be written to {folder} ({error.strerror}).") from error
