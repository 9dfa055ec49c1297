"""The warm start: G and F first learn from generated pairs, before any adversary sees them.

The degradation that makes degraded photos from clean ones is ours, so G can learn from pairs what the cycle loss alone
would leave in (haze), and F, given the same pairs the other way round, learns to degrade.
Every batch is a function of seed and step, so an interrupted run resumes where it stopped, with equal weights.
Source: restoration pre-training in the spirit of UVCGAN's inpainting (Torbunov et al. 2023).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

from model_training.config.pretrain import WarmStart
from model_training.config.schema import WARM_START, TrainingConfig
from model_training.data.batches import to_bytes
from model_training.data.mixture import LARGE_SHAPES, SHAPES, MixedPairs
from model_training.data.photos import PhotoSet, as_images, file_sha256, load_at_own_size, load_photos
from model_training.data.stage_pairs import ColourPairs, DetailPairs, Sources
from model_training.losses.restoration import restoration_loss
from model_training.networks import build, multiple_of
from model_training.networks.conditional import without_code
from model_training.runs.checkpoint import Checkpoint, handed_on, load_weights, read_checkpoint
from model_training.runs.exported import fast_generator_weights
from model_training.runs.provenance import SourceNote, describe, photos_seen, read_notes
from model_training.runs.resume import run_origin
from model_training.training.distributed import Ranks, world_size
from model_training.training.loop import Outcome
from model_training.training.optimiser import blend
from model_training.training.photo_sets import name_skipped
from model_training.training.precision import autocast
from model_training.training.session import Plan, Session
from model_training.training.stages import PairSource, Stage, rate_share
from service.errors import CheckpointError, ConfigurationError
from service.pixels import Pixels
from service.vocabulary import Device

PREVIEW_SIDE_PX = 192

LEAST_OWN_SIDE_PX, MOST_OWN_PIXELS = 144, 1_300_000
"""Photos that a stage learns from keep their own size: at least a detail crop with its margin, at most a megapixel."""


class Learner:
    """One network, its running average and its optimiser."""

    def __init__(self, network: nn.Module, settings: WarmStart) -> None:
        self.network = network.train()
        self.average = deepcopy(network).eval().requires_grad_(False)
        self.settings = settings
        self.updates = 0
        self.begun: tuple[str, ...] = ()
        self._group(())

    def descend(self, terms: Mapping[str, Tensor], rate: float) -> None:
        """One step down the sum of `terms` at a learning rate of `rate`."""
        for group in self._adam.param_groups:
            group["lr"] = rate * group.get("share", 1.0)
        self._adam.zero_grad(set_to_none=True)
        torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
        clip_grad_norm_(self.network.parameters(), self.settings.gradient_norm)
        self._adam.step()
        blend(self.average, self.network, self.settings.ema, self.updates)
        self.updates += 1

    def take(self, weights: Mapping[str, Tensor], whose: str) -> None:
        """Begins from `weights`.

        Raises:
            CheckpointError: they are another network's; it begins with `whose`.
        """
        for network in (self.network, self.average):
            load_weights(network, weights, whose)

    def take_some(self, weights: Mapping[str, Tensor]) -> None:
        """Begin from those of `weights` that fit the network; they learn at `begun_rate` of the rate."""
        own = self.network.state_dict()
        fitting = {name: value for name, value in weights.items() if name in own and own[name].shape == value.shape}
        for network in (self.network, self.average):
            network.load_state_dict(fitting, strict=False)
        self._group(tuple(sorted(fitting)))

    def _group(self, begun: tuple[str, ...]) -> None:
        """Let the weights named `begun` learn at their share of the rate."""
        self.begun = begun
        shares: dict[float, list[nn.Parameter]] = {}
        for name, parameter in self.network.named_parameters():
            if parameter.requires_grad:
                share = rate_share(name) * (self.settings.begun_rate if name in begun else 1.0)
                shares.setdefault(share, []).append(parameter)
        groups = [{"params": parameters, "share": share} for share, parameters in shares.items()]
        self._adam = torch.optim.Adam(groups, lr=self.settings.rate, betas=(0.9, 0.99))

    def state_dict(self) -> dict[str, Any]:
        """The raw weights, Adam's state and the count of updates; the average is kept beside them."""
        state = {"raw": self.network.state_dict(), "adam": self._adam.state_dict(), "updates": self.updates}
        return {**state, "begun": self.begun} if self.begun else state

    def load_state_dict(self, state: Mapping[str, Any], average: Mapping[str, Tensor]) -> None:
        """Goes on where `state_dict` was taken.

        Raises:
            CheckpointError: the weights are another network's.
        """
        load_weights(self.network, state["raw"], "What the checkpoint holds")
        load_weights(self.average, average, "What the checkpoint holds")
        if "begun" in state:
            self._group(tuple(state["begun"]))
        self._adam.load_state_dict(state["adam"])
        self.updates = state["updates"]


class WarmStarting:
    """The warm start as the loop trains it: G, F if asked for, and where they stand."""

    kind = WARM_START

    def __init__(self, config: TrainingConfig, source: PairSource, device: torch.device) -> None:
        """Draws the first weights from the configuration's seed.

        Raises:
            ConfigurationError: the `warmstart` section is wrong, or its views do not suit a generator.
        """
        torch.manual_seed(config.seed)
        self.settings = config.warm_start()
        self.step, self.steps = 0, self.settings.steps
        self._source, self._config, self._device = source, config, device
        generator = build(config.generator_config).to(device)
        self.stage = Stage(self.settings, generator)
        self.stage.require_grad(generator)
        self.stage.measure(generator, source, self._device)
        self.learners = {"G": Learner(generator, self.settings)}
        if self.settings.degrader_every and self.stage.name == "whole":
            self.learners["F"] = Learner(build(config.degrader_config).to(device), self.settings)
        for name, learner in self.learners.items():
            _require_views(name, multiple_of(learner.network))

    @property
    def enhancer(self) -> nn.Module:
        """G's running average: what is validated, exported and handed on."""
        return self.learners["G"].average

    def rate(self) -> float:
        """The learning rate of the present step."""
        s = self.settings
        rise = min(1.0, (self.step + 1) / max(1, s.warm_up))
        return s.rate * rise * 0.5 * (1 + math.cos(math.pi * min(1.0, self.step / s.steps)))

    def advance(self) -> dict[str, Tensor]:
        """One step of G, and of F when it is its turn; returns the weighted loss terms."""
        bad, good = (side.to(self._device) for side in self._source.batch(self.step, self.settings.batch))
        terms = self._restoring(bad, good)
        self.learners["G"].descend(terms, self.rate())
        if "F" in self.learners and self.step % self.settings.degrader_every == 0:
            back = restoration_loss(self._made(self.learners["F"].network, good), bad, self.settings.weights)
            self.learners["F"].descend(back, self.rate())
            terms |= {f"degrader_{name}": value for name, value in back.items()}
        self.step += 1
        return {name: value.detach() for name, value in terms.items()}

    def _restoring(self, bad: Tensor, good: Tensor) -> dict[str, Tensor]:
        s, network = self.settings, self.learners["G"].network
        output = self._staged(network, bad)
        terms = self.stage.terms(output, good, bad)
        if s.idempotence and self.step % s.idempotence_every == 0:
            once = output.detach()[: max(1, s.batch // 2)]
            terms["again"] = s.idempotence * (self._staged(network, once) - once).abs().mean()
        return terms

    def _staged(self, network: nn.Module, image: Tensor) -> Tensor:
        with autocast(self._config, self._device):
            return self.stage.made(network, image).float()

    def _made(self, network: nn.Module, image: Tensor) -> Tensor:
        with autocast(self._config, self._device):
            made: Tensor = network(image)
        return made.float()

    @torch.no_grad()
    def preview(self) -> Tensor:
        """Rows of two trios: bad, enhanced, clean. Shape: (24, 3, side, side) uint8."""
        rng = np.random.default_rng(0)
        bad, good = self._source.batch_of(PREVIEW_SIDE_PX, PREVIEW_SIDE_PX, 8, rng)
        bad, good = bad.to(self._device), good.to(self._device)
        trios = torch.stack([bad, self.stage.made(self.enhancer, bad), good], 1)
        return to_bytes(trios.flatten(0, 1))

    def state_dict(self) -> dict[str, Any]:
        """Everything a resumption needs; `networks` holds the averages, ready for `fit --warm-start`."""
        return {
            "kind": self.kind,
            "step": self.step,
            "networks": {name: learner.average.state_dict() for name, learner in self.learners.items()},
            "learners": {name: learner.state_dict() for name, learner in self.learners.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on where `state` was saved.

        Raises:
            CheckpointError: it is another kind of run's.
        """
        if state["kind"] != self.kind or state["learners"].keys() != self.learners.keys():
            raise CheckpointError(f"This is a checkpoint of {state['kind']} training, not of this warm start.")
        for name, learner in self.learners.items():
            learner.load_state_dict(state["learners"][name], state["networks"][name])
        self.step = state["step"]

    def begin(self, checkpoint: Checkpoint) -> str:
        """Takes the averages of another run as first weights; returns where from.

        Raises:
            CheckpointError: it is another network's.
        """
        given = handed_on(checkpoint.state)
        for name in (taken := [name for name in self.learners if name in given]):
            self.learners[name].take(without_code(given[name]), f"{name} in {checkpoint.path}")
        return f"{' and '.join(taken)} from {checkpoint.state['step']} steps of checkpoint {checkpoint.digest}"

    def begin_with_colours_of(self, model: Path) -> str:
        """Take the colour stage's first weights from an exported fast generator; say where from.

        Raises:
            CheckpointError: `model` holds no fast generator.
        """
        weights = fast_generator_weights(model)
        self.learners["G"].take_some({f"colour.{name}": value for name, value in weights.items()})
        return f"the colour stage's trunk from {model.name} with SHA-256 {file_sha256(model)}"


def _require_views(name: str, multiple: int) -> None:
    sides = {PREVIEW_SIDE_PX, *(side for shape in (*SHAPES, *LARGE_SHAPES) for side in shape)}
    if any(side % multiple for side in sides):
        raise ConfigurationError(
            f"The warm start's views have sides from {min(sides)} to {max(sides)} pixels, all multiples of "
            f"{math.gcd(*sides)}; {name} needs multiples of {multiple}."
        )


@dataclass(frozen=True, slots=True)
class WarmStartRequest:
    """What `warm-start` is asked for; see its options."""

    config: TrainingConfig
    hq: Path
    out: Path
    everyday: Path | None = None
    resume: bool = False
    device: Device = "auto"
    minutes: float | None = None
    validate: Path | None = None
    sources: Path | None = None
    begin: Path | None = None


def warm_start(request: WarmStartRequest, console: Console) -> Outcome:
    """Pre-train G and F on pairs made from `request.hq` into `request.out`; return why it ended.

    Raises:
        LameganError: the data, configuration, device, checkpoint or disk does not allow it, in one sentence.
    """
    if world_size() > 1:
        raise ConfigurationError("The warm start trains in one process; start it without torchrun.")
    session = Session(request, console)
    photos, everyday, origin = _given(request, console)

    def make(_: Ranks, device: torch.device) -> WarmStarting:
        return WarmStarting(request.config, _pairs(request.config, as_images(photos), as_images(everyday)), device)

    return session.train(
        Plan(
            origin=origin,
            make=make,
            begin=partial(_begin, request.begin) if request.begin is not None else None,
            start=request.begin,
            validate=request.validate,
            photos=(photos, everyday),
        )
    )


def _begin(start: Path, training: WarmStarting) -> dict[str, Any]:
    """Give `training` its first weights from an exported model or a checkpoint; return what its origin says of them."""
    if start.suffix == ".onnx":
        return {"warm_start": training.begin_with_colours_of(start)}
    first = read_checkpoint(start)
    return {"warm_start": training.begin(first), "seen": photos_seen(first.state)}


def _pairs(config: TrainingConfig, photos: Sequence[Pixels], everyday: Sequence[Pixels]) -> PairSource:
    """Where the stage's batches come from."""
    settings = config.warm_start()
    if settings.stage == "whole":
        return MixedPairs(photos, settings.mixture, config.seed, everyday)
    sources = Sources(photos, everyday)
    if settings.stage == "detail":
        return DetailPairs(sources, config.seed)
    mixture = settings.mixture
    large_after = settings.steps if mixture.large_after is None else mixture.large_after
    return ColourPairs(sources, config.seed, large_after, mixture.count_phantoms, mixture.count_everyday)


def _given(request: WarmStartRequest, console: Console) -> tuple[PhotoSet, PhotoSet | None, dict[str, Any]]:
    """The clean photos, the everyday ones if any, and what every checkpoint says about where it comes from."""
    settings = request.config.warm_start()

    def read(source: Path) -> PhotoSet:
        if settings.stage == "whole":
            photos = load_photos(source, settings.photo_size, least=request.config.data.crop, fit="cover")
        else:
            photos = load_at_own_size(source, least=LEAST_OWN_SIDE_PX, most_pixels=MOST_OWN_PIXELS)
        name_skipped(photos, console)
        return photos

    clean, everyday = read(request.hq), read(request.everyday) if request.everyday is not None else None
    notes, sides = read_notes(request.sources), {"x": clean}
    side = describe(clean, notes.get("hq", SourceNote()))
    data = {"x": side, "y": side}  # the degraded photos are made of the clean ones
    if everyday is not None:
        data["everyday"] = describe(everyday, notes.get("everyday", SourceNote()))
        sides["everyday"] = everyday
    return clean, everyday, run_origin(request.config, data, sides)
