"""The game of two mappings and two discriminators: what one step computes and what it learns from it.

G: degraded photo -> clean photo, F: clean -> degraded; D_y tells real clean
photos from G's, D_x real degraded ones from F's.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model_training.config.schema import ADVERSARIAL, TrainingConfig
from model_training.data.batches import PhotoStore, Sampler, to_bytes
from model_training.data.pairs import pair_source
from model_training.data.photos import PhotoSet
from model_training.losses.cyclegan import least_squares
from model_training.losses.exchange import Exchange
from model_training.losses.objective import build_objective
from model_training.losses.restoration import total_loss
from model_training.networks import build, multiple_of
from model_training.networks.conditional import CodedGenerator, degradation_code, is_coded, without_code
from model_training.networks.patchgan import PatchGan, least_crop
from model_training.runs.checkpoint import load_weights
from model_training.training.distributed import Ranks
from model_training.training.image_pool import ImagePool
from model_training.training.optimiser import Optimisation, blend, learning_rate, total_steps
from model_training.training.precision import autocast
from service.errors import CheckpointError, ConfigurationError


@dataclass(frozen=True, slots=True)
class Batch:
    """One step's photos. Both (B, 3, crop, crop) in [-1, 1], on the device; the pairs where they are asked for."""

    x: Tensor
    y: Tensor
    pairs: tuple[Tensor, Tensor] | None


class AdversarialTraining:
    """Everything that changes while G and F learn, and the step that changes it."""

    kind = ADVERSARIAL

    def __init__(
        self,
        config: TrainingConfig,
        lq: PhotoSet,
        hq: PhotoSet,
        *,
        device: torch.device,
        ranks: Ranks,
        everyday: PhotoSet | None = None,
    ) -> None:
        """Draws the first weights from the configuration's seed, the same on every rank.

        `everyday` photos are some of the restoration term's, where it has a mixture.

        Raises:
            ConfigurationError: the crop does not suit the generator or the objective.
            DataError: the VGG features are needed and cannot be read.
        """
        torch.manual_seed(config.seed)
        self._config, self._device, self._ranks = config, device, ranks
        self.step = 0
        self.networks = _build_networks(config).to(device)
        self.average = deepcopy(self.networks["G"]).eval().requires_grad_(False)
        self._objective = build_objective(config)
        self._objective.to(device)
        self._generators = Optimisation(self._parameters("G", "F"), config.optimiser, ranks)
        self._discriminators = Optimisation(self._parameters("D_x", "D_y"), config.optimiser, ranks)
        self._pools = {
            side: ImagePool(config.pool, config.seed + 100 + 2 * ranks.rank + at) for at, side in enumerate("xy")
        }
        self._stores = {
            "x": PhotoStore(lq.pixels, config.data, device),
            "y": PhotoStore(hq.pixels, config.data, device),
        }
        size = (config.data.height, config.data.width)
        self._samplers = {
            side: Sampler(len(photos), size, config.data, config.seed + at)
            for at, (side, photos) in enumerate({"x": lq, "y": hq}.items())
        }
        self._pairs = pair_source(config, self._stores["y"], hq, ranks, everyday) if config.restoration.weight else None
        self.steps_per_epoch = -(-max(len(lq), len(hq)) // (config.optimiser.batch * ranks.world))
        self.steps = total_steps(config.optimiser, self.steps_per_epoch)

    def advance(self) -> dict[str, Tensor]:
        """One step; returns its losses, weights included, as they were before it."""
        batch = self._sample()
        rate = learning_rate(self._config.optimiser, self.step, self.steps_per_epoch)

        self._learn_discriminators(False)
        with self._precision():
            exchange = self._exchange(batch)
            terms = self._generator_terms(exchange, batch)
        self._generators.descend(terms, rate)

        self._learn_discriminators(True)
        with self._precision():
            verdicts = self._discriminator_terms(exchange)
        self._discriminators.descend(verdicts, rate * self._discriminator_share)

        blend(self.average, self.networks["G"], self._config.ema, self.step)
        self.step += 1
        return terms | verdicts

    def _sample(self) -> Batch:
        count, ranks = self._config.optimiser.batch * self._ranks.world, self._ranks
        x, y = (
            self._stores[side].crops(self._samplers[side].draw(count).part(ranks.rank, ranks.world)) for side in "xy"
        )
        return Batch(x, y, self._pairs.draw(self._device) if self._pairs else None)

    def _exchange(self, batch: Batch) -> Exchange:
        G, code = self.networks["G"], self._code(batch.x)

        def degrade(image: Tensor) -> Tensor:
            return self._degrade(image, code)

        fake_y, fake_x = G(batch.x), degrade(batch.y)
        return Exchange(
            x=batch.x, y=batch.y, fake_y=fake_y, fake_x=fake_x, rebuilt_x=degrade(fake_y), rebuilt_y=G(fake_x),
            enhance=G, degrade=degrade,
        )  # fmt: skip

    def _generator_terms(self, exchange: Exchange, batch: Batch) -> dict[str, Tensor]:
        weight = self._config.adversarial
        terms = {
            "adversarial_y": weight * least_squares(self.networks["D_y"](exchange.fake_y), 1.0),
            "adversarial_x": weight * least_squares(self.networks["D_x"](exchange.fake_x), 1.0),
        }
        return terms | self._objective.terms(exchange) | self._restoration_terms(batch)

    def _restoration_terms(self, batch: Batch) -> dict[str, Tensor]:
        if batch.pairs is None:
            return {}
        restoration = self._config.restoration
        bad, good = batch.pairs
        restored = self.networks["G"](bad)
        if restoration.loss == "l1":
            distance = F.l1_loss(restored, good)
        else:
            distance = total_loss(restored, good, restoration.weights, bad)
        terms = {"restoration_y": restoration.weight * distance}
        if restoration.degrader:
            terms["restoration_x"] = restoration.weight * F.l1_loss(self._degrade(good, self._code(bad)), bad)
        return terms

    def _discriminator_terms(self, exchange: Exchange) -> dict[str, Tensor]:
        # Halved, as CycleGAN's authors do, to slow the discriminators relative to the generators.
        terms: dict[str, Tensor] = {}
        for side, real, fake in (("y", exchange.y, exchange.fake_y), ("x", exchange.x, exchange.fake_x)):
            judge, shown = self.networks[f"D_{side}"], self._pools[side].exchange(fake.float())
            terms[f"discriminator_{side}"] = (least_squares(judge(real), 1.0) + least_squares(judge(shown), 0.0)) / 2
        return terms

    def _code(self, x: Tensor) -> Tensor | None:
        return degradation_code(x) if self._config.code.enabled else None

    def _degrade(self, image: Tensor, code: Tensor | None) -> Tensor:
        network = self.networks["F"]
        degraded: Tensor = network(image) if code is None else network(image, code)
        return degraded

    def _precision(self) -> torch.autocast:
        return autocast(self._config, self._device)

    @property
    def _discriminator_share(self) -> float:
        optimiser = self._config.optimiser
        return (optimiser.discriminator_rate or optimiser.rate) / optimiser.rate

    def _learn_discriminators(self, learning: bool) -> None:
        for name in ("D_x", "D_y"):
            self.networks[name].requires_grad_(learning)

    def _parameters(self, *names: str) -> list[nn.Parameter]:
        return [parameter for name in names for parameter in self.networks[name].parameters()]

    @property
    def enhancer(self) -> nn.Module:
        """What would be exported now: G's moving average, or G itself where the decay is 0."""
        return self.average

    @torch.no_grad()
    def preview(self, count: int = 4) -> Tensor:
        """Rows of x, G(x), F(G(x)) and y, F(y), G(F(y)). Shape: (count * 6, 3, crop, crop) uint8."""
        size = (self._config.data.height, self._config.data.width)
        rows: list[Tensor] = []
        cuts = {side: Sampler(len(self._stores[side].pixels), size, self._config.data, 0).draw(count) for side in "xy"}
        x, y = (self._stores[side].crops(cuts[side]) for side in "xy")
        with self._precision():
            code = self._code(x)
            fake_y, fake_x = self.average(x), self._degrade(y, code)
            images = (x, fake_y, self._degrade(fake_y, code), y, fake_x, self.average(fake_x))
        for row in zip(*images, strict=True):
            rows += row
        return to_bytes(torch.stack(rows))

    def state_dict(self) -> dict[str, Any]:
        """Everything that decides how the run goes on; on several ranks, call it on all."""
        local = {
            "pools": {side: pool.state_dict() for side, pool in self._pools.items()},
            "random": {"cpu": torch.get_rng_state(), **_cuda_random(self._device)},
        }
        return {
            "kind": self.kind,
            "step": self.step,
            "networks": {name: network.state_dict() for name, network in self.networks.items()},
            "average": self.average.state_dict(),
            "optimisers": {
                "generators": self._generators.state_dict(),
                "discriminators": self._discriminators.state_dict(),
            },
            "samplers": {side: sampler.state_dict() for side, sampler in self._samplers.items()},
            "pairs": self._pairs.state_dict() if self._pairs else None,
            "ranks": self._ranks.gather(local),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on where ``state`` was saved.

        Raises:
            CheckpointError: it is another kind of run's or another network's, or was saved by another number of ranks.
        """
        if state["kind"] != self.kind:
            raise CheckpointError(f"This is a checkpoint of {state['kind']} training, not of {self.kind} training.")
        if len(state["ranks"]) != self._ranks.world:
            raise CheckpointError(
                f"The checkpoint was saved by {len(state['ranks'])} ranks and cannot go on with {self._ranks.world}."
            )
        self.step = state["step"]
        for name, network in self.networks.items():
            load_weights(network, state["networks"][name], f"{name} in the checkpoint")
        load_weights(self.average, state["average"], "G in the checkpoint")
        self._generators.load_state_dict(state["optimisers"]["generators"])
        self._discriminators.load_state_dict(state["optimisers"]["discriminators"])
        for side, sampler in self._samplers.items():
            sampler.load_state_dict(state["samplers"][side])
        if self._pairs:
            self._pairs.load_state_dict(state["pairs"])
        local = state["ranks"][self._ranks.rank]
        for side, pool in self._pools.items():
            pool.load_state_dict(local["pools"][side], self._device)
        torch.set_rng_state(local["random"]["cpu"])
        if "cuda" in local["random"]:
            torch.cuda.set_rng_state(local["random"]["cuda"], self._device)

    def warm_start(self, networks: Mapping[str, Mapping[str, Tensor]]) -> list[str]:
        """Takes G and, where given, F from another run's weights; returns which.

        Raises:
            CheckpointError: there is no G, or the weights are another network's.
        """
        if "G" not in networks:
            raise CheckpointError("The warm start holds no generator G.")
        for name in (taken := [name for name in ("G", "F") if name in networks]):
            target = self.networks[name]
            weights = networks[name]
            if isinstance(target, CodedGenerator) and not is_coded(weights):
                target = target.inner
            elif not isinstance(target, CodedGenerator):
                weights = without_code(weights)
            load_weights(target, weights, f"The warm start's {name}")
        self.average.load_state_dict(self.networks["G"].state_dict())
        return taken


def _build_networks(config: TrainingConfig) -> nn.ModuleDict:
    discriminator = config.discriminator.model_dump()
    degrader = build(config.degrader_config)
    networks = nn.ModuleDict(
        {
            "G": build(config.generator_config),
            "F": CodedGenerator(degrader, config.code.hidden) if config.code.enabled else degrader,
            "D_x": PatchGan(**discriminator),
            "D_y": PatchGan(**discriminator),
        }
    )
    if config.data.crop < (least := least_crop(config.discriminator.layers)):
        layers, crop = config.discriminator.layers, config.data.crop
        raise ConfigurationError(f"discriminator.layers {layers} needs a crop of at least {least}, not {crop}.")
    for name in ("G", "F"):
        multiple = multiple_of(networks[name])
        if config.data.crop % multiple:
            raise ConfigurationError(f"The crop of {config.data.crop} is not a multiple of {name}'s {multiple}.")
    return networks


def _cuda_random(device: torch.device) -> dict[str, Tensor]:
    return {"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {}
