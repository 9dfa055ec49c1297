"""Parts of JSON responses that several routes have: images, and how good a photo is."""

from __future__ import annotations

import base64

from service.api.schemas import MeasureFacts, Picture, QualityFacts
from service.pipeline import MAP_SIDE
from service.quality.assessment import LIMITS, Assessment


def picture(content: bytes, media_type: str, width: int, height: int) -> Picture:
    """An image file as JSON holds it."""
    return Picture(media_type=media_type, width=width, height=height, base64=base64.b64encode(content).decode("ascii"))


def map_picture(png: bytes | None, width: int, height: int) -> Picture | None:
    """The heat map of a `width` x `height` image, which is never larger than `MAP_SIDE`."""
    if png is None:
        return None
    shrunk = min(1.0, MAP_SIDE / max(width, height))
    return picture(png, "image/png", max(1, round(width * shrunk)), max(1, round(height * shrunk)))


def quality_facts(found: Assessment) -> QualityFacts:
    """An assessment as clients get it."""
    measures = {
        name: MeasureFacts(
            value=round(one.value, 4),
            unit=LIMITS[name].unit,
            score=round(one.score, 4),
            verdict=one.verdict.value,
            words=one.words,
        )
        for name, one in found.measures.items()
    }
    return QualityFacts(
        **measures, verdict=found.verdict.value, reasons=found.reasons, score=found.score, advice=found.advice
    )
