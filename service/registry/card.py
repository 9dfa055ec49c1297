"""The model card: everything about a model that is not its weights, checked when read.

A model is a folder `models/<name>/<version>/` with `model.onnx` and `card.json`. The card is the single source of
preprocessing numbers, guardrail thresholds and the reference distribution; nothing of these stands in code.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, Field, StringConstraints, ValidationError, model_validator

from service.drift.measures import MEASURES
from service.durable import write_whole
from service.errors import ModelInvalid
from service.registry.model_file import STRICT, EightBit, HalfPrecision, ModelFile, Sha256, Variant
from service.vocabulary import LASSIM_LEVEL, Precision

LEAST_SIDE = 64
"""Shortest side in pixels of what a model is given."""

OPSET = 18
"""Of the ONNX operators: the CUDA provider lacks kernels for newer Pad, ConvTranspose and InstanceNormalization."""

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
Version = Annotated[str, StringConstraints(pattern=r"^\d+\.\d+\.\d+(-[0-9A-Za-z.-]{1,32})?$")]

MODEL_REFERENCE = re.compile(r"^[a-z0-9][a-z0-9-]{0,62}(/\d+\.\d+\.\d+(-[0-9A-Za-z.-]{1,32})?)?$")
"""A model reference as clients write it: `name` or `name/version`."""


class _Part(BaseModel):
    model_config = STRICT


class Contract(_Part):
    """What goes in and comes out: uint8 (B, H, W, 3) sRGB both ways, everything else inside the graph.

    Attributes:
        min_side: shortest side in pixels that the model takes; the service gives it no shorter one than `LEAST_SIDE`.
        opset: of the ONNX file; the exporter writes `OPSET` and the runtime is tested with that one.
    """

    input: Literal["image"] = "image"
    output: Literal["enhanced"] = "enhanced"
    layout: Literal["NHWC"] = "NHWC"
    dtype: Literal["uint8"] = "uint8"
    colour: Literal["sRGB"] = "sRGB"
    min_side: int = Field(default=64, ge=1)
    opset: int = Field(default=18, ge=1)

    @model_validator(mode="after")
    def _holds_what_the_service_does(self) -> Contract:
        if self.min_side > LEAST_SIDE:
            raise ValueError(f"min_side is above {LEAST_SIDE} px, the shortest side that the service gives a model")
        if self.opset != OPSET:
            raise ValueError(f"opset is not {OPSET}, the one that exports are made and tested with")
        return self


class Network(_Part):
    """The generator: its name in the training code, parameter count, and options."""

    name: str
    parameters: int = Field(gt=0)
    options: dict[str, str | int | float | bool | list[int]] = {}


class Objective(_Part):
    """How it was trained: the objective's name, its settings, and in words where that departs from the paper."""

    name: str
    settings: dict[str, str | int | float | bool | None] = {}
    note: str = ""


class DataSource(_Part):
    """One source of training images.

    Attributes:
        name: what it is called where it is published.
        role: which side it served.
        licence: SPDX identifier or name.
        credit: who made it, with the reference its licence asks for.
        images: how many were used.
        patients: how many people they show; 0 for drawn ones; None if unknown.
        digest: SHA-256 over the sorted digests of the files used.
    """

    name: str
    role: Literal["lq", "hq", "both", "generated"]
    licence: str
    credit: str
    images: int = Field(ge=0)
    patients: int | None = Field(default=None, ge=0)
    digest: Sha256


class Training(_Part):
    """Where the weights come from, enough to make them again."""

    data: list[DataSource]
    steps: int = Field(ge=0)
    seed: int
    warm_start: str = ""
    config_sha256: Sha256
    checkpoint_sha256: Sha256
    software: str = ""


class Figure(_Part):
    """One measured number: what, on which images, how many of them."""

    metric: str
    value: float
    on: str
    images: int = Field(ge=0)
    note: str = ""


class ReferenceHistogram(_Part):
    """A measure of the model's outputs or their inputs on held-out images, in the buckets of `drift.measures`.

    Attributes:
        upper_bounds: bucket bounds, ascending; one more bucket, +Inf, follows.
        counts: images per bucket (not cumulative), one longer than `upper_bounds`.
        on: which images.
    """

    upper_bounds: tuple[float, ...]
    counts: tuple[int, ...]
    on: str = ""

    @model_validator(mode="after")
    def _counts_fit(self) -> ReferenceHistogram:
        if len(self.counts) != len(self.upper_bounds) + 1 or list(self.upper_bounds) != sorted(self.upper_bounds):
            raise ValueError("counts must be one longer than the ascending upper_bounds")
        return self


class LassimDefinition(_Part):
    """Which LaSSIM the thresholds and the reference are in."""

    level: int = Field(default=3, ge=0)
    scale: Literal["canonical", "native"] = "canonical"
    reference: ReferenceHistogram | None = None

    @model_validator(mode="after")
    def _is_what_the_service_measures(self) -> LassimDefinition:
        if (self.level, self.scale) != (LASSIM_LEVEL, "canonical"):
            raise ValueError(f"thresholds hold at level {LASSIM_LEVEL} and the canonical scale, and no other")
        return self


class GuardFloors(_Part):
    """Bounds a delivered image must keep; for one that a card leaves out (None) the built-in one holds.

    Attributes:
        lassim: least LaSSIM, level 3, canonical scale.
        worst: least value at the worst region, in [-1, 1] (see `service.quality.guardrail`).
        delta_e_mean: largest mean CIEDE2000.
        delta_e_p95: largest 95th percentile of CIEDE2000.
        redder_share: largest share of the area that turned clearly redder, in [0, 1].
        paler_share: largest share of the area that was red and turned clearly paler, in [0, 1].
        redness_order: least rank correlation of the redness of regions, in [-1, 1].
        detail: least value of the worst fine detail, in [0, 1] (see `service.quality.detail`).
    """

    lassim: float | None = Field(default=None, ge=-1, le=1)
    worst: float | None = Field(default=None, ge=-1, le=1)
    delta_e_mean: float | None = Field(default=None, ge=0)
    delta_e_p95: float | None = Field(default=None, ge=0)
    redder_share: float | None = Field(default=None, ge=0, le=1)
    paler_share: float | None = Field(default=None, ge=0, le=1)
    redness_order: float | None = Field(default=None, ge=-1, le=1)
    detail: float | None = Field(default=None, ge=0, le=1)


BUILT_IN_FLOORS = GuardFloors(lassim=0.7, worst=0.8, delta_e_mean=12.0, delta_e_p95=24.0, redder_share=0.001)
"""What holds where a card states no calibrated threshold: each is stricter than the shipped model's calibrated one."""


class Detection(_Part):
    """How often one kind and size of planted fault is caught at the card's thresholds."""

    fault: str
    size: str
    rate: float = Field(ge=0, le=1)
    trials: int = Field(gt=0)


class Guard(_Part):
    """Thresholds and how they were calibrated (split conformal prediction on held-out images).

    Attributes:
        calibrated: False where the thresholds are only the built-in ones, which promise no rate of false alarms.
        alpha: stated bound on the false-alarm rate over harmless changes; None where nothing was calibrated.
        false_alarms: the rate measured on a set apart from the calibration's.
        covers: in words, which changes and faults the guarantee covers.
    """

    floors: GuardFloors
    calibrated: bool = True
    alpha: float | None = Field(default=None, gt=0, lt=1)
    false_alarms: float | None = Field(default=None, ge=0, le=1)
    calibration_images: int = Field(default=0, ge=0)
    detection: list[Detection] = []
    covers: str = ""

    @model_validator(mode="after")
    def _calibration_states_its_bound(self) -> Guard:
        if self.calibrated and self.alpha is None:
            raise ValueError("a calibrated guard states its alpha")
        return self


BUILT_IN_GUARD = Guard(
    floors=BUILT_IN_FLOORS,
    calibrated=False,
    covers="Not calibrated for this model: these are built-in thresholds, and no rate of false alarms or detection is "
    "known. `lamegan-train evaluate PHOTOS --out REPORT --calibrate MODEL` calibrates the guardrail.",
)
"""What an export writes until a calibration replaces it."""


class Golden(_Part):
    """The self-test: the model must give these pixels for these pixels.

    Attributes:
        input_png: base64 of a PNG, (h, w, 3) uint8 sRGB.
        output_png: base64 of the PNG the exporter got for it.
        tolerance: largest difference allowed, in grey levels (providers round differently).
    """

    input_png: str
    output_png: str
    tolerance: int = Field(default=2, ge=0, le=255)


class ModelCard(_Part):
    """Everything about a model that is not its weights.

    Attributes:
        behind_filters: a sentence for each fault and kind of photo that a filter mends better; None: not measured.
        references: further reference distributions by measure (`drift.measures`); LaSSIM's is `lassim.reference`.
    """

    schema_version: Literal[1] = 1
    name: Name
    version: Version
    file: ModelFile
    eight_bit: EightBit | None = None
    half: HalfPrecision | None = None
    """The variants in eight bits and in half precision beside the file; None: there is no such variant."""
    contract: Contract = Contract()
    working_pixels: int = Field(default=480 * 272, ge=64 * 64)
    detail_pixels: int | None = Field(default=None, ge=64 * 64)
    """Most pixels at which the model's detail stage runs, on photos larger than the working size; None: it has none."""
    network: Network
    objective: Objective
    training: Training
    evaluation: list[Figure] = []
    behind_filters: list[str] | None = None
    lassim: LassimDefinition = LassimDefinition()
    references: dict[str, ReferenceHistogram] = {}
    guard: Guard | None = None
    golden: Golden
    intended_use: str
    limits: str

    @property
    def reference(self) -> str:
        """`name/version`, as clients write it."""
        return f"{self.name}/{self.version}"

    def digest_in(self, precision: Precision) -> str:
        """The SHA-256 of the file that computes in `precision`: what made a result is named by it."""
        return self.variants.get(precision, self.file).sha256

    @property
    def variants(self) -> dict[Precision, Variant]:
        """The files beside the model's own, by what they compute in."""
        stated: dict[Precision, Variant | None] = {"int8": self.eight_bit, "float16": self.half}
        return {precision: variant for precision, variant in stated.items() if variant is not None}

    @property
    def floors(self) -> GuardFloors:
        """The thresholds that hold: the card's own, and the built-in one for each that it leaves out."""
        return BUILT_IN_FLOORS.model_copy(update=self.guard.floors.model_dump(exclude_none=True) if self.guard else {})

    @property
    def calibrated(self) -> bool:
        """Whether the guardrail was calibrated for this model, so that no built-in threshold stands in for its own."""
        if self.guard is None or not self.guard.calibrated:
            return False
        stated, needed = (each.model_dump(exclude_none=True).keys() for each in (self.guard.floors, BUILT_IN_FLOORS))
        return needed <= stated

    def reference_counts(self) -> dict[str, tuple[int, ...]]:
        """Photos per bucket of each measure that has a reference in the buckets of `drift.measures`."""
        given = dict(self.references) | ({"lassim": self.lassim.reference} if self.lassim.reference else {})
        return {
            name: found.counts
            for name, found in given.items()
            if name in MEASURES and found.upper_bounds == MEASURES[name].upper_bounds and any(found.counts)
        }


def read_card(path: Path) -> ModelCard:
    """The card in `path`, checked.

    Raises:
        ModelInvalid: it cannot be read, or a field is absent, unknown or outside its values; the message names `path`.
    """
    try:
        return ModelCard.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ModelInvalid(f"{path}: the model card cannot be read: {error.strerror}.") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the card"
        raise ModelInvalid(f"{path}: the model card is not valid: {where}: {first['msg']}.") from error


def write_card(card: ModelCard, path: Path) -> None:
    """Write `card` as indented JSON with a final newline, atomically."""
    write_whole(path, (card.model_dump_json(indent=2) + "\n").encode())
