"""The training loop, the same for every objective, for distillation, on one process or many.

A step is the training's own ``advance``: sample, forward, generator step, discriminator step. Around it the loop
watches, shows, validates and saves, and it stops for four reasons: the schedule's end, the time given, SIGTERM, or
losses that say that going on is useless.
"""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import Enum
from types import FrameType, TracebackType
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from model_training.config.schema import WARM_START, TrainingConfig, WatchConfig
from model_training.networks import gives_numbers
from model_training.runs.checkpoint import Vault, all_finite, best_path, write_checkpoint
from model_training.training.distributed import Ranks
from model_training.training.run_log import Journal
from model_training.training.validation import Score, Validation
from service.errors import Diverged

_WATCH_DECAY = 0.99


class Training(Protocol):
    """Whatever can learn step by step and be saved whole."""

    step: int

    @property
    def kind(self) -> str:
        """What it is called in a checkpoint."""
        ...

    def advance(self) -> dict[str, Tensor]:
        """One step; returns its scalar losses."""
        ...

    def preview(self) -> Tensor:
        """Pictures of how it does, in rows of six. Shape: (N * 6, 3, H, W) uint8."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Everything that decides how it goes on."""
        ...

    @property
    def enhancer(self) -> nn.Module:
        """The generator that would be exported now."""
        ...


class Outcome(Enum):
    """Why a loop ended."""

    FINISHED = "finished"
    OUT_OF_TIME = "out of time"
    INTERRUPTED = "interrupted"


@dataclass(slots=True)
class Progress:
    """What the loop itself remembers; saved with every checkpoint."""

    best: float = -math.inf
    averages: dict[str, float] = field(default_factory=dict)
    won_for: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Run:
    """One run: who trains what, how long, and where it is written."""

    training: Training
    config: TrainingConfig
    steps: int
    vault: Vault
    journal: Journal
    ranks: Ranks
    device: torch.device
    origin: Mapping[str, Any]
    """Goes into every checkpoint: the configuration and what is known of the data."""
    validation: Validation | None = None
    minutes: float | None = None


def run_loop(run: Run, progress: Progress) -> Outcome:
    """Trains to the end of the schedule or until told to stop; saves before it returns.

    Raises:
        Diverged: a loss or a weight is not finite (nothing is saved after it), or a discriminator has won for good.
        CheckpointError: a checkpoint cannot be written.
    """
    training, journal = run.training, run.journal
    deadline = time.monotonic() + 60 * run.minutes if run.minutes is not None else math.inf
    saved_at = training.step
    with Interruption() as interruption:
        while training.step < run.steps:
            late = time.monotonic() >= deadline
            losses, asked, late = run.ranks.agree(training.advance(), interruption.asked, late)
            stop, step = asked or late, training.step
            require_finite(losses, step, rate_setting(training.kind))
            journal.losses(step, losses)
            winner = watch(losses, progress, run.config.watch, weight=run.config.adversarial)
            if journal.wants_grid(step):
                journal.grid(step, training.preview())
            if step % run.config.journal.validate_every == 0:
                require_sound(training.enhancer, training.enhancer.state_dict(), step, rate_setting(training.kind))
                _validate(run, progress)
            if stop or winner or step % run.config.journal.checkpoint == 0:
                _save(run, progress)
                saved_at = step
            if winner:
                raise Diverged(_won(winner, step, run.config.watch), step=step)
            if stop:
                return Outcome.INTERRUPTED if asked else Outcome.OUT_OF_TIME
        if saved_at != training.step:
            _save(run, progress)
    return Outcome.FINISHED


def rate_setting(kind: str) -> str:
    """The setting that holds the learning rate in training of this kind."""
    return "warmstart.rate" if kind == WARM_START else "optimiser.rate"


def require_finite(losses: Mapping[str, float], step: int, rate: str = "optimiser.rate") -> None:
    """Stops a run whose losses have left the numbers; `rate` is the setting to lower.

    Raises:
        Diverged: a loss is infinite or not a number.
    """
    for name, value in losses.items():
        if not math.isfinite(value):
            raise Diverged(
                f"The loss {name} is {value} at step {step}; what was saved is from before it. "
                f"A lower learning rate ({rate}) usually helps.",
                step=step,
                loss=name,
            )


def require_sound(enhancer: nn.Module, state: Mapping[str, Any], step: int, rate: str = "optimiser.rate") -> None:
    """Stops a run before a step that ruined the generator, or other learned weights, is saved.

    `rate` is the setting to lower.

    Raises:
        Diverged: a tensor of `state` is not finite, or what the enhancer makes is not.
    """
    if not (all_finite(state) and gives_numbers(enhancer)):
        raise Diverged(
            f"The weights or what they give are no longer finite after step {step}; they are not saved, and what was "
            f"saved is from before. A lower learning rate ({rate}) usually helps.",
            step=step,
        )


def watch(losses: Mapping[str, float], progress: Progress, config: WatchConfig, *, weight: float = 1.0) -> str | None:
    """The side whose discriminator has won for good, by the stated criterion; None while the game is open.

    `weight` is what the adversarial losses were multiplied by; the criterion is about the loss without it.
    """
    lost = weight * config.adversarial
    for name, value in losses.items():
        old = progress.averages.get(name, value)
        progress.averages[name] = _WATCH_DECAY * old + (1 - _WATCH_DECAY) * value
    for side in ("x", "y"):
        judge, fooled = (progress.averages.get(f"{kind}_{side}") for kind in ("discriminator", "adversarial"))
        winning = judge is not None and fooled is not None and judge < config.loss and fooled > lost
        progress.won_for[side] = progress.won_for.get(side, 0) + 1 if winning else 0
        if progress.won_for[side] >= config.patience:
            return side
    return None


def _won(side: str, step: int, config: WatchConfig) -> str:
    return (
        f"The discriminator D_{side} has won for good at step {step}: for {config.patience} steps its loss was under "
        f"{config.loss} and the generator's unweighted adversarial loss over {config.adversarial} (averages). "
        "The state is saved."
    )


def _validate(run: Run, progress: Progress) -> None:
    if run.validation is None or not run.ranks.leads:
        return
    score: Score = run.validation.score(run.training.enhancer, run.device)
    best = score.score > progress.best
    if best:
        progress.best = score.score
        state = {
            "kind": run.training.kind,
            "step": run.training.step,
            "networks": {"G": run.training.enhancer.state_dict()},
        }
        write_checkpoint(best_path(run.vault.folder), {**state, **run.origin, "score": asdict(score)})
    run.journal.score(run.training.step, score, best)


def _save(run: Run, progress: Progress) -> None:
    state = run.training.state_dict()  # on all ranks: it gathers from each
    require_sound(run.training.enhancer, state, run.training.step, rate_setting(run.training.kind))
    if run.ranks.leads:
        run.vault.save(run.training.step, {**state, **run.origin, "progress": asdict(progress)})
    run.ranks.wait()


class Interruption:
    """Turns SIGTERM (and Ctrl-C) into a wish that the loop sees between steps. A context manager."""

    _SIGNALS = (signal.SIGTERM, signal.SIGINT)

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interruption:
        # Python delivers signals to the main thread only; elsewhere the owner of the thread stops it.
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._ask) for number in self._SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
