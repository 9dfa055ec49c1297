"""``lamegan-train distil``: a small generator learns what a bigger one does, from unpaired photos."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from rich.console import Console
from torch import Tensor, nn

from model_training.config.schema import DISTILLATION, TrainingConfig
from model_training.data.batches import PhotoStore, Sampler, to_bytes
from model_training.data.photos import PhotoSet
from model_training.losses.lamegan import StructureDistance
from model_training.losses.objective import read_features, require_residual
from model_training.networks import build, multiple_of
from model_training.runs.checkpoint import Checkpoint, load_weights
from model_training.runs.generator import find_checkpoint, load_generator
from model_training.runs.provenance import SourceNote, describe, photos_seen, read_notes
from model_training.runs.resume import features_digest, run_origin
from model_training.training.distributed import Ranks
from model_training.training.loop import Outcome
from model_training.training.optimiser import Optimisation, blend, learning_rate, total_steps
from model_training.training.photo_sets import load_side
from model_training.training.precision import autocast
from model_training.training.session import Plan, Session
from service.errors import CheckpointError, ConfigurationError
from service.vocabulary import Device

Teacher = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class DistilRequest:
    """What ``distil`` is asked for; see its options."""

    config: TrainingConfig
    teacher: Path
    photos: Path
    out: Path
    resume: bool = False
    sources: Path | None = None
    device: Device = "auto"
    minutes: float | None = None


class Distillation:
    """The student, its teacher, and the step in which one learns from the other."""

    kind = DISTILLATION

    def __init__(
        self, config: TrainingConfig, teacher: nn.Module, photos: PhotoSet, *, device: torch.device, ranks: Ranks
    ) -> None:
        """Draws the student's first weights from the configuration's seed.

        Raises:
            ConfigurationError: the crop does not suit the teacher, the student or the level.
            DataError: the VGG features are needed and cannot be read.
        """
        torch.manual_seed(config.seed)
        self._config, self._device, self._ranks = config, device, ranks
        self.step = 0
        self._teacher = teacher.to(device)
        self.student: nn.Module = build(config.generator_config).to(device)
        for who, network in (("teacher", teacher), ("student", self.student)):
            if config.data.crop % multiple_of(network):
                raise ConfigurationError(
                    f"The crop of {config.data.crop} is not a multiple of the {who}'s {multiple_of(network)}."
                )
        self.average = deepcopy(self.student).eval().requires_grad_(False)
        self._structure = _structure_distance(config).to(device) if config.distillation.structure else None
        self._optimisation = Optimisation(list(self.student.parameters()), config.optimiser, ranks)
        self._store = PhotoStore(photos.pixels, config.data, device)
        self._sampler = Sampler(len(photos), (config.data.height, config.data.width), config.data, config.seed)
        self.steps_per_epoch = -(-len(photos) // (config.optimiser.batch * ranks.world))
        self.steps = total_steps(config.optimiser, self.steps_per_epoch)

    def advance(self) -> dict[str, Tensor]:
        """One step; returns its losses, weights included."""
        ranks, weights = self._ranks, self._config.distillation
        cut = self._sampler.draw(self._config.optimiser.batch * ranks.world).part(ranks.rank, ranks.world)
        photos = self._store.crops(cut)
        with autocast(self._config, self._device):
            with torch.no_grad():
                shown = self._teacher(photos).float()
            made = self.student(photos).float()
        terms = {"pixels": weights.pixels * F.l1_loss(made, shown)}
        if self._structure is not None:
            terms["structure"] = weights.structure * self._structure(made, shown)
        self._optimisation.descend(terms, learning_rate(self._config.optimiser, self.step, self.steps_per_epoch))
        blend(self.average, self.student, self._config.ema, self.step)
        self.step += 1
        return terms

    @property
    def enhancer(self) -> nn.Module:
        """The student's moving average."""
        return self.average

    @torch.no_grad()
    def preview(self, count: int = 8) -> Tensor:
        """Photo, teacher's and student's, two to a row. Shape: (count * 3, 3, crop, crop) uint8."""
        size = (self._config.data.height, self._config.data.width)
        photos = self._store.crops(Sampler(len(self._store.pixels), size, self._config.data, 0).draw(count))
        images = (photos, self._teacher(photos), self.average(photos))
        return to_bytes(torch.stack([image for row in zip(*images, strict=True) for image in row]))

    def state_dict(self) -> dict[str, Any]:
        """Everything that decides how the run goes on."""
        return {
            "kind": self.kind,
            "step": self.step,
            "networks": {"G": self.student.state_dict()},
            "average": self.average.state_dict(),
            "optimisers": {"student": self._optimisation.state_dict()},
            "samplers": {"photos": self._sampler.state_dict()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on where ``state`` was saved.

        Raises:
            CheckpointError: it is another kind of run's, or another network's.
        """
        if state["kind"] != self.kind:
            raise CheckpointError(f"This is a checkpoint of {state['kind']} training, not of {self.kind}.")
        self.step = state["step"]
        for network, weights in ((self.student, state["networks"]["G"]), (self.average, state["average"])):
            load_weights(network, weights, "What the checkpoint holds")
        self._optimisation.load_state_dict(state["optimisers"]["student"])
        self._sampler.load_state_dict(state["samplers"]["photos"])


def _structure_distance(config: TrainingConfig) -> StructureDistance:
    level = config.distillation.level
    require_residual(config.data.crop, level, "distillation.level")
    return StructureDistance(read_features(config.features.weights), level=level)


def distil(request: DistilRequest, console: Console) -> Outcome:
    """Train the student (or continue) into `request.out`; return why it ended.

    Raises:
        LameganError: the teacher, data, configuration, device or disk does not allow it, in one sentence.
    """
    config, session = request.config, Session(request, console)
    teacher = find_checkpoint(request.teacher)
    photos = load_side(request.photos, config, console)
    origin = _origin(request, photos, teacher)
    if session.resumed is not None and session.resumed.state["warm_start"] != origin["warm_start"]:
        raise CheckpointError(f"{session.resumed.path} was taught by another checkpoint than {teacher.path}.")

    def make(ranks: Ranks, device: torch.device) -> Distillation:
        return Distillation(config, load_generator(teacher), photos, device=device, ranks=ranks)

    return session.train(Plan(origin, make))


def _origin(request: DistilRequest, photos: PhotoSet, teacher: Checkpoint) -> dict[str, Any]:
    note = read_notes(request.sources).get("lq", SourceNote())
    return run_origin(
        request.config,
        {"photos": describe(photos, note)},
        {"photos": photos},
        features=features_digest(request.config),
        warm_start=f"taught by checkpoint {teacher.digest}",
        seen=photos_seen(teacher.state),
    )
