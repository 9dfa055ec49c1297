"""The way of a request, from bytes to bytes, and its one owner: `Enhancer`."""

from service.pipeline.assessor import Assessor
from service.pipeline.deadline import Cancellation, Deadline
from service.pipeline.enhancement import EnhanceDefaults, Enhancement, EnhanceOptions
from service.pipeline.enhancer import MAP_SIDE, Enhancer, Generators, heatmap_png
from service.pipeline.generation import Generator
from service.pipeline.scorer import ImageFile, Scored, Scorer, check_scorable
from service.pipeline.stopwatch import STAGES, Interval, Stage, Stopwatch, followed

__all__ = [
    "MAP_SIDE",
    "STAGES",
    "Assessor",
    "Cancellation",
    "Deadline",
    "EnhanceDefaults",
    "EnhanceOptions",
    "Enhancement",
    "Enhancer",
    "Generator",
    "Generators",
    "ImageFile",
    "Interval",
    "Scored",
    "Scorer",
    "Stage",
    "Stopwatch",
    "check_scorable",
    "followed",
    "heatmap_png",
]
