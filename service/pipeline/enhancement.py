"""What a request for enhancement may ask, what holds otherwise, and what comes of it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from service.imaging.codecs import MEDIA_TYPES, Photo
from service.imaging.headers import Header, SourceFormat
from service.pipeline.stopwatch import Interval, Stage
from service.quality.assessment import Assessment
from service.quality.guardrail import Judgement
from service.quality.input_quality import InputQuality
from service.quality.reference import Reference
from service.registry.card import GuardFloors
from service.vocabulary import MAX_PIXELS, OutputFormat, Policy

UNTOUCHED_LASSIM, UNTOUCHED_DELTA_E = 0.9995, 0.5
"""Above and below these a photo counts as left alone; half a CIEDE2000 unit cannot be seen."""


@dataclass(frozen=True, slots=True)
class EnhanceDefaults:
    """What holds unless a request asks otherwise, and the limits that it cannot pass.

    Attributes:
        policy: the guard's; a request may only ask for a stricter one.
        quality: of JPEG and WebP, 1 to 100.
        max_pixels: most pixels of an image, frames counted.
    """

    policy: Policy = Policy.CONSTRAIN
    quality: int = 95
    max_pixels: int = MAX_PIXELS


@dataclass(frozen=True, slots=True)
class EnhanceOptions:
    """What one request asks for; None leaves it to the defaults.

    Attributes:
        declared_type: media type the caller gave; the bytes decide, it only has to agree.
        format: of the result.
        quality: of JPEG and WebP, 1 to 100.
        policy: the guard's.
        model: name or name/version.
        map: add the heat map.
    """

    declared_type: str | None = None
    format: OutputFormat = "same"
    quality: int | None = None
    policy: Policy | None = None
    model: str | None = None
    map: bool = False


@dataclass(frozen=True, slots=True)
class EnhanceRequest:
    """What one request comes to, known before anything is decoded.

    Attributes:
        header: what the file says of itself.
        target: format of the result.
        policy: the guard's.
        quality: of JPEG and WebP.
        options: as asked.
    """

    header: Header
    target: SourceFormat
    policy: Policy
    quality: int
    options: EnhanceOptions


@dataclass(frozen=True, slots=True)
class Enhancement:
    """The result of one request.

    Attributes:
        body: the image as a file.
        format: its format.
        width, height: its size, which is the size sent, upright.
        judgement: score, verdict, and the pixels delivered.
        model: `name/version` of the model that made it.
        model_sha256: digest of that model's file.
        seconds: how long each stage took.
        intervals: when each stage was.
        photo: the input, decoded.
        sent: the input's pixels with what was measured of them.
        quality: how good the input was.
        heatmap: PNG of where structure changed, when asked for.
        floors: thresholds that it was held to.
        before, after: what the photo is like as sent and as delivered.
    """

    body: bytes
    format: SourceFormat
    width: int
    height: int
    judgement: Judgement
    model: str
    model_sha256: str
    seconds: dict[Stage, float]
    intervals: list[Interval]
    photo: Photo
    sent: Reference
    quality: InputQuality
    heatmap: bytes | None
    floors: GuardFloors
    before: Assessment
    after: Assessment

    @property
    def untouched(self) -> bool:
        """Whether nothing that can be measured was changed: the model found nothing to mend."""
        judgement = self.judgement
        kept = judgement.lassim > UNTOUCHED_LASSIM and judgement.colour.delta_e_p95 < UNTOUCHED_DELTA_E
        return kept and judgement.verdict.value == "pass"

    @property
    def media_type(self) -> str:
        """Media type of `body`."""
        return MEDIA_TYPES[self.format]

    def without_pixels(self) -> Enhancement:
        """The same result with a black pixel for each image: what is left to send to another process."""
        nothing = Reference(np.zeros((1, 1, 3), np.uint8))
        return replace(
            self,
            judgement=replace(self.judgement, image=nothing.pixels, delivered=nothing),
            photo=replace(self.photo, pixels=nothing.pixels),
            sent=nothing,
        )
