"""The words that every part of the service uses: policies, formats, scales, devices."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Literal


class Policy(StrEnum):
    """What to do with an image below a threshold, from the mildest to the strictest."""

    ANNOTATE = "annotate"
    CONSTRAIN = "constrain"
    WITHHOLD = "withhold"


PolicyName = Literal["annotate", "constrain", "withhold"]
"""The values of `Policy`, as settings spell them."""

OutputFormat = Literal["same", "jpeg", "png", "webp"]
"""What a result is written as; `same` is the format of the image sent."""

Scale = Literal["native", "canonical"]
"""At which size LaSSIM is computed: that of the images, or with a longer side of at most 480 px."""

LASSIM_LEVEL = 3
"""Level of the Laplacian pyramid at which images are scored and thresholds hold: the paper's."""

Device = Literal["auto", "cpu", "cuda"]
"""Where the generator runs; `auto` takes a GPU when there is one."""

Precision = Literal["float32", "float16", "int8"]
"""In what a model computes: `int8` is its eight-bit variant, `float16` the one in half precision."""

EIGHT_BIT_FILE = "model.int8.onnx"
HALF_FILE = "model.half.onnx"
VARIANT_FILES: Mapping[Precision, str] = MappingProxyType({"int8": EIGHT_BIT_FILE, "float16": HALF_FILE})
"""The variants, beside `model.onnx`, which a model may have."""

PrecisionChoice = Literal["auto", "float32", "float16", "int8"]
"""What an operator may ask for; `auto` takes the eight-bit variant where there is one and the processor suits it."""

Output = Literal["enhanced", "detail", "colour"]
"""What a model is asked for: the whole enhancement, or its detail or its colour stage alone."""

MAX_PIXELS = 64_000_000
"""Most pixels of an image, frames counted, unless the settings say otherwise: what a phone's largest sensor has."""

DETAIL_ONLY = "detail_only"
"""Optional input of a model in two stages, a boolean scalar: the second stage, which nobody fetches, does not run.

The runtime runs every node, whichever outputs are fetched; models exported before 1.2.0 have no such input.
"""

COLOUR_ONLY = "colour_only"
"""Optional input of a model in two stages, a boolean scalar: the first stage does not run, and the second one is given
the image as it is. Models exported before 1.4.0 have no such input: they are asked for the whole instead.
"""
