"""What a training run is told: one frozen pydantic object. Unknown keys are errors."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from model_training.config.pretrain import Mixture, RestorationWeights, WarmStart, Weight
from service.errors import ConfigurationError

ADVERSARIAL, WARM_START, DISTILLATION = "adversarial", "warm start", "distillation"
"""Kinds of run, as checkpoints name them."""

ObjectiveName = Literal["lamegan", "cyclegan", "miinet", "stillgan"]
Count = Annotated[int, Field(ge=1)]
Level = Annotated[int, Field(ge=0, le=16)]
"""Of a Laplacian pyramid; each halves the image."""

_LARGEST_OPTION = 1024
"""Of a generator's options: its widths, blocks and depth. Larger networks fit no machine that trains them."""


class Section(BaseModel):
    """Frozen, and strict about names; every number is finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class GeneratorConfig(Section):
    """Which generator, and its constructor's options."""

    name: Literal["resnet", "resunet", "fast", "restorer"] = "resnet"
    options: dict[str, Any] = {}

    @field_validator("options")
    @classmethod
    def _of_whole_numbers(cls, options: dict[str, Any]) -> dict[str, Any]:
        for key, value in options.items():
            for number in value if isinstance(value, list | tuple) else [value]:
                if type(number) is not int or not 1 <= number <= _LARGEST_OPTION:
                    raise ValueError(f"{key} must be of whole numbers from 1 to {_LARGEST_OPTION}, not {number!r}")
        return options


class DiscriminatorConfig(Section):
    """PatchGAN's size."""

    width: Count = 64
    layers: Annotated[int, Field(ge=1, le=16)] = 3


class DataConfig(Section):
    """How images become batches. Sizes in pixels."""

    height: Annotated[int, Field(ge=64)] = 272
    width: Annotated[int, Field(ge=64)] = 480
    crop: Annotated[int, Field(ge=64)] = 256
    flip: bool = True
    fit: Literal["stretch", "cover"] = "stretch"
    """Whether photos of other proportions are stretched to the size, as the authors do, or cropped to it."""
    residency: Literal["auto", "device", "host"] = "auto"
    """Where the decoded images live: on the device while they take at most half of its free memory, or here."""

    @model_validator(mode="after")
    def _the_crop_fits(self) -> DataConfig:
        if self.crop > min(self.height, self.width):
            raise ValueError(f"a crop of {self.crop} does not fit images of {self.width}x{self.height}")
        return self


class FeaturesConfig(Section):
    """Where the frozen VGG16 features come from (an npz of Caffe's values, or torchvision's state dict)."""

    weights: Path | None = None


class CycleWeights(Section):
    """CycleGAN (Zhu et al. 2017): identity is given as its authors do, as a multiple of ``cycle``."""

    cycle: Weight = 10.0
    identity: Weight = 0.5


class LameganWeights(Section):
    """LaMEGAN (arXiv 2304.01864): beta and lambda of its eq. 7, and the options that are ours."""

    cycle: Weight = 10.0
    identity: Weight = 0.0
    structure: Weight = 0.25
    level: Level = 3
    pyramid: Literal["opencv", "kornia"] = "opencv"
    """The metric's own pyramid, or the one that the authors trained with."""
    colour: Weight = 0.0
    """Colour preservation, the paper's announced future work: off as published."""
    colour_grid: Count = 8


class MiinetWeights(Section):
    """MIINet (arXiv 2011.14132): VGG features of the pixels themselves."""

    cycle: Weight = 10.0
    identity: Weight = 0.0
    perceptual: Weight = 0.5


class StillganWeights(Section):
    """StillGAN (IEEE TMI 2021): multiples of ``cycle``; patch and window sides in pixels."""

    cycle: Weight = 10.0
    identity: Weight = 0.5
    illumination: Weight = 0.1
    structure: Weight = 0.5
    patches: Annotated[tuple[Count, ...], Field(min_length=1)] = (32, 64)
    window: Count = 9


class RestorationConfig(Section):
    """A supervised term on generated pairs: a clean photo and what ``degrade`` makes of it."""

    weight: Weight = 0.0
    pairs: Count = 1
    """Pairs a step."""
    clean: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of the pairs left clean, so that G learns to leave a clean photo alone."""
    degrader: bool = True
    """Whether F learns from the same pairs backwards."""
    recipe: Literal["training", "held-out"] = "training"
    strength: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Passed on to ``degrade``."""
    loss: Literal["l1", "full"] = "l1"
    """G's: plain L1, or all terms of the warm start."""
    weights: RestorationWeights = RestorationWeights()
    """Of the full loss's terms."""
    mixture: Mixture | None = None
    """What the pairs are made of, as in the warm start; None: the clean photos alone. Where given, it replaces `clean`,
    `recipe` and `strength`; its views are crops, and its shares of clean pairs hold from the first step."""

    @model_validator(mode="after")
    def _one_recipe(self) -> RestorationConfig:
        if self.mixture is not None:
            for name in ("clean", "recipe", "strength"):
                if getattr(self, name) != type(self).model_fields[name].default:
                    raise ValueError(
                        f"restoration.{name} has no meaning beside a mixture, which has its own shares and recipe"
                    )
        return self


class CodeConfig(Section):
    """The degradation code: a few numbers read off x and given to F beside G(x)."""

    enabled: bool = False
    hidden: Count = 32


class OptimiserConfig(Section):
    """Adam and its schedule. ``unit`` epochs: one is as many steps as the larger side has batches."""

    rate: Annotated[float, Field(gt=0)] = 2e-4
    discriminator_rate: Annotated[float, Field(gt=0)] | None = None
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.5
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    batch: Count = 1
    constant: Annotated[int, Field(ge=0)] = 100
    decay: Annotated[int, Field(ge=0)] = 100
    unit: Literal["epochs", "steps"] = "epochs"

    @model_validator(mode="after")
    def _there_is_something_to_do(self) -> OptimiserConfig:
        if self.constant + self.decay == 0:
            raise ValueError("constant and decay are both 0: there is nothing to train")
        return self


class JournalConfig(Section):
    """How often what is written, in steps."""

    log: Count = 50
    grid: Count = 1000
    checkpoint: Count = 1000
    keep: Count = 3
    validate_every: Count = Field(default=1000, alias="validate")
    validate_images: Count = 24

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, serialize_by_alias=True)


class WatchConfig(Section):
    """When a discriminator has won for good: its loss under ``loss``, and the generator's adversarial loss, without its
    weight, over ``adversarial``, both as averages with decay 0.99, for ``patience`` steps on end."""

    loss: Weight = 0.005
    adversarial: Weight = 0.95
    patience: Count = 2000


class DistillationConfig(Section):
    """Teaching a small generator from a bigger one: L1, and the structure term's features."""

    pixels: Weight = 10.0
    structure: Weight = 0.25
    level: Level = 3


class TrainingConfig(Section):
    """Everything that decides a run, but for its data, device and folder."""

    objective: ObjectiveName = "lamegan"
    generator: GeneratorConfig | None = None
    """None takes the objective's own: resnet, or resunet for stillgan."""
    degrader: GeneratorConfig | None = None
    """F, where it is not the same network as G."""
    discriminator: DiscriminatorConfig = DiscriminatorConfig()
    data: DataConfig = DataConfig()
    features: FeaturesConfig = FeaturesConfig()
    cyclegan: CycleWeights = CycleWeights()
    lamegan: LameganWeights = LameganWeights()
    miinet: MiinetWeights = MiinetWeights()
    stillgan: StillganWeights = StillganWeights()
    adversarial: Weight = 1.0
    restoration: RestorationConfig = RestorationConfig()
    code: CodeConfig = CodeConfig()
    optimiser: OptimiserConfig = OptimiserConfig()
    pool: Annotated[int, Field(ge=0)] = 50
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """Decay of G's moving average, which is what is exported; 0 exports G itself."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """auto: bfloat16 autocast on CUDA, float32 on a CPU."""
    journal: JournalConfig = JournalConfig()
    watch: WatchConfig = WatchConfig()
    distillation: DistillationConfig = DistillationConfig()
    warmstart: dict[str, Any] = {}
    """Read by the restoration pre-training, as `model_training.config.pretrain` says; kept here as it was written,
    so that the recipes of earlier checkpoints keep their digests."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0

    @classmethod
    def from_recipe(cls, recipe: str) -> TrainingConfig:
        """The configuration that ``recipe`` wrote.

        Raises:
            ConfigurationError: this version does not know it: it is from another version, or a value is out of range.
        """
        try:
            return cls.model_validate(json.loads(recipe))
        except ValueError as error:
            where = f" at {first_place(error)}" if isinstance(error, ValidationError) else ""
            raise ConfigurationError(f"The checkpoint's configuration is not one of this version's{where}.") from error

    def warm_start(self) -> WarmStart:
        """The `warmstart` section.

        Raises:
            ConfigurationError: an unknown key, or a value out of range; the first is named.
        """
        try:
            return WarmStart.model_validate(self.warmstart)
        except ValidationError as error:
            raise ConfigurationError(
                f"The configuration is wrong at warmstart.{first_place(error)}: {error.errors()[0]['msg']}."
            ) from error

    @property
    def generator_config(self) -> GeneratorConfig:
        """G's, with the objective's own generator where none is named."""
        return self.generator or GeneratorConfig(name="resunet" if self.objective == "stillgan" else "resnet")

    @property
    def degrader_config(self) -> GeneratorConfig:
        """F's: G's own where none is named."""
        return self.degrader or self.generator_config

    def digest(self) -> str:
        """SHA-256 of ``recipe``."""
        return hashlib.sha256(self.recipe().encode()).hexdigest()

    def recipe(self) -> str:
        """The configuration as JSON, without where files lie on this machine."""
        return self.model_dump_json(exclude={"features"})


def first_place(error: ValidationError) -> str:
    """Where the first error of `error` is, as a dotted key; empty at the top."""
    return ".".join(str(part) for part in error.errors()[0]["loc"])
