"""The way of a request, from bytes to bytes, and its one owner: `Enhancer`."""

from service.enhance.enhancer import (
    MAP_SIDE,
    STAGES,
    EnhanceDefaults,
    Enhancement,
    EnhanceOptions,
    Enhancer,
    Generator,
    Generators,
    Stage,
    check_scorable,
    heatmap_png,
)
from service.enhance.patience import Cancellation, Patience

__all__ = [
    "MAP_SIDE",
    "STAGES",
    "Cancellation",
    "EnhanceDefaults",
    "EnhanceOptions",
    "Enhancement",
    "Enhancer",
    "Generator",
    "Generators",
    "Patience",
    "Stage",
    "check_scorable",
    "heatmap_png",
]
