"""The way of a request, from bytes to bytes, and its one owner: `Enhancer`."""

from service.pipeline.deadline import Cancellation, Deadline
from service.pipeline.enhancer import (
    MAP_SIDE,
    STAGES,
    EnhanceDefaults,
    Enhancement,
    EnhanceOptions,
    Enhancer,
    Generators,
    Stage,
    check_scorable,
    heatmap_png,
)
from service.pipeline.generation import Generator

__all__ = [
    "MAP_SIDE",
    "STAGES",
    "Cancellation",
    "Deadline",
    "EnhanceDefaults",
    "EnhanceOptions",
    "Enhancement",
    "Enhancer",
    "Generator",
    "Generators",
    "Stage",
    "check_scorable",
    "heatmap_png",
]
