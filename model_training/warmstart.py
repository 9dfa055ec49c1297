"""The warm start: a generator first learns restoration from generated pairs, before any adversary sees it.

The degradation that makes bad photos from good ones is ours, so G can learn from pairs what the cycle loss alone
would leave in (haze), and F, given the same pairs the other way round, learns to degrade.
Every batch is a function of seed and step, so an interrupted run resumes where it stopped, with equal weights.
Source: restoration pre-training in the spirit of UVCGAN's inpainting (Torbunov et al. 2023).
"""

from __future__ import annotations

import copy
import json
import math
import signal
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

from model_training.mixture import MixedPairs, Mixture
from model_training.restoration import RestorationWeights, restoration_loss
from service.errors import Diverged

Validate = Callable[[nn.Module], dict[str, float]]
"""Measures a generator; the entry `score` (higher is better) decides which weights are kept as best."""


@dataclass(frozen=True, slots=True)
class WarmStart:
    """The settings of one run.

    Attributes:
        steps: optimiser steps in all; the rate rises for `warm_up` of them and falls to 0 as a cosine.
        idempotence: weight of |G(y) - y| for the generator's own outputs y, asked every `idempotence_every` steps.
        reverse: learn to degrade (F) instead of to restore (G).
    """

    steps: int = 6000
    batch: int = 8
    rate: float = 1e-3
    warm_up: int = 200
    ema: float = 0.998
    gradient_norm: float = 1.0
    idempotence: float = 0.5
    idempotence_every: int = 4
    validate_every: int = 500
    seed: int = 0
    reverse: bool = False
    weights: RestorationWeights = field(default_factory=RestorationWeights)
    mixture: Mixture = field(default_factory=Mixture)


class Trainer:
    """One warm start: the network, its running average, its optimiser, and where it stands."""

    def __init__(self, network: nn.Module, source: MixedPairs, settings: WarmStart, out: Path) -> None:
        self.network = network
        self.average = copy.deepcopy(network).eval()
        self.source = source
        self.settings = settings
        self.out = out
        self.optimiser = torch.optim.Adam(network.parameters(), lr=settings.rate, betas=(0.9, 0.99))
        self.step = 0
        self.best = -math.inf
        self.stopping = False
        out.mkdir(parents=True, exist_ok=True)

    def rate(self) -> float:
        """The learning rate of the present step."""
        s = self.settings
        rise = min(1.0, (self.step + 1) / max(1, s.warm_up))
        return s.rate * rise * 0.5 * (1 + math.cos(math.pi * min(1.0, self.step / s.steps)))

    def losses(self) -> tuple[Tensor, dict[str, float]]:
        """The total loss of the present step's batch, and its terms."""
        s = self.settings
        bad, good = self.source.batch(self.step, s.batch)
        given, wanted = (good, bad) if s.reverse else (bad, good)
        output = self.network(given)
        total, terms = restoration_loss(output, wanted, s.weights)
        if s.idempotence > 0 and not s.reverse and self.step % s.idempotence_every == 0:
            once = output.detach()[: max(1, s.batch // 2)]
            again = (self.network(once) - once).abs().mean()
            total = total + s.idempotence * again
            terms["again"] = float(again.detach())
        return total, terms

    def advance(self) -> dict[str, float]:
        """One optimiser step.

        Raises:
            Diverged: the loss is not finite.
        """
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate()
        total, terms = self.losses()
        if not torch.isfinite(total):
            raise Diverged(f"the loss is not finite at step {self.step}", step=self.step)
        self.optimiser.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        clip_grad_norm_(self.network.parameters(), self.settings.gradient_norm)
        self.optimiser.step()
        self._average()
        self.step += 1
        return {"total": float(total.detach()), **terms}

    @torch.no_grad()
    def _average(self) -> None:
        keep = min(self.settings.ema, (1 + self.step) / (10 + self.step))
        for kept, new in zip(self.average.parameters(), self.network.parameters(), strict=True):
            kept.lerp_(new, 1 - keep)

    def save(self, name: str) -> Path:
        """Writes everything a resume needs, atomically, as `name` in the output folder."""
        state = {
            "step": self.step,
            "best": self.best,
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "settings": asdict(self.settings),
        }
        target, partial = self.out / name, self.out / f"{name}.part"
        torch.save(state, partial)
        partial.replace(target)
        return target

    def load(self, path: Path) -> None:
        """Continues from what `save` wrote."""
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.best = state["step"], state["best"]

    def _log(self, entry: dict[str, float]) -> None:
        with (self.out / "log.jsonl").open("a", encoding="utf-8") as log:
            log.write(json.dumps({key: round(value, 5) for key, value in entry.items()}) + "\n")

    def _check(self, validate: Validate | None) -> None:
        """Measures the average, keeps it if it is the best so far, and saves."""
        if validate is not None:
            figures = validate(self.average)
            self._log({"step": self.step, **{f"val/{k}": v for k, v in figures.items()}})
            if figures["score"] > self.best:
                self.best = figures["score"]
                self.save("best.pt")
        self.save("last.pt")

    def run(self, validate: Validate | None = None) -> Path:
        """Trains to the last step, or to SIGTERM, and returns the checkpoint."""
        previous = signal.signal(signal.SIGTERM, self._stop)
        started, first = time.monotonic(), self.step
        try:
            self.network.train()
            while self.step < self.settings.steps and not self.stopping:
                figures = self.advance()
                if self.step % 50 == 0:
                    pace = (self.step - first) / (time.monotonic() - started)
                    self._log({"step": self.step, "rate": self.rate(), "steps_per_s": pace, **figures})
                if self.step % self.settings.validate_every == 0:
                    self._check(validate)
        finally:
            signal.signal(signal.SIGTERM, previous)
        return self.save("last.pt")

    def _stop(self, signum: int, frame: FrameType | None) -> None:
        self.stopping = True
