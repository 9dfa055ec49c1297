"""The files of a model as its card describes them: the weights, and their variants in other numbers."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


STRICT = ConfigDict(frozen=True, extra="forbid")
"""Of every section of a card: an unknown field is an error."""


class ModelFile(BaseModel):
    """The weights file.

    Attributes:
        sha256, size_bytes: digest of `model.onnx`, lower-case hexadecimal, and its length.
    """

    model_config = STRICT

    sha256: Sha256
    size_bytes: int = Field(gt=0)


class Variant(ModelFile):
    """A file beside `model.onnx` that computes its detail stage in other numbers.

    Attributes:
        golden_png: base64 of the PNG that it gave for the golden image's input; the same tolerance holds.
        seed, measured_photos: of the damage to photos, and how many were measured.
        lost_db, alike_db: mean PSNR by fault that is lost against `model.onnx`, and between the results of both.
    """

    golden_png: str
    seed: int
    measured_photos: int = Field(gt=0)
    lost_db: dict[str, float]
    alike_db: dict[str, float]


class EightBit(Variant):
    """The variant `model.int8.onnx`, in integers, for processors with VNNI.

    Attributes:
        calibration_photos: how many said which range each feature map needs; no photo is also among those measured.
    """

    calibration_photos: int = Field(gt=0)


class HalfPrecision(Variant):
    """The variant `model.half.onnx`, in float16, for GPUs."""
