"""What clients send beside an image and what they get in JSON."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from fastapi import Request
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from service.errors import InvalidParameter
from service.registry.card import GuardFloors
from service.vocabulary import OutputFormat, Policy, Precision


def _only_plain_integers(value: object) -> object:
    """Refuse what int() would take but no client means: signs, spaces, underscores, foreign digits."""
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}", value) is None:
        raise ValueError("must be a whole number")
    return value


def _only_true_or_false(value: object) -> object:
    if isinstance(value, str) and value not in ("true", "false"):
        raise ValueError("must be true or false")
    return value


async def each_option_once(request: Request) -> None:  # async, or the framework would call it on a thread of its own
    """Refuse an option that is given twice, for one of the two would be ignored: perhaps the stricter policy.

    Raises:
        InvalidParameter: one is; it is not named, for it may be anything.
    """
    if len(request.query_params.multi_items()) > len(request.query_params):
        raise InvalidParameter("An option is given more than once.")


def take_no_options(request: Request) -> None:
    """Refuse any option: one that would be ignored is an error, here as everywhere.

    Raises:
        InvalidParameter: there is one.
    """
    if request.url.query:
        raise InvalidParameter("This route takes no options.")


Flag = Annotated[bool, BeforeValidator(_only_true_or_false)]
Quality = Annotated[int, Field(ge=1, le=100), BeforeValidator(_only_plain_integers)]


class EnhanceQuery(BaseModel):
    """Options of POST /enhance."""

    model_config = ConfigDict(extra="forbid")

    format: OutputFormat = Field("same", description="Format of the response; same is that of the image sent.")
    quality: Quality | None = Field(None, description="Of JPEG and WebP; the server's setting if not given.")
    policy: Policy | None = Field(None, description="As strict as the server's, or stricter.")
    model: str | None = Field(None, max_length=128, description="name or name/version; the default model if not given.")
    map: Flag = Field(False, description="Add the LaSSIM heat map to a JSON response.")


class ScoreQuery(BaseModel):
    """Options of POST /score."""

    model_config = ConfigDict(extra="forbid")

    map: Flag = Field(False, description="Add the LaSSIM heat map.")


class Facts(BaseModel):
    """A part of a response in which some fields may be null; none is ever left out, and the schema says so."""

    model_config = ConfigDict(json_schema_serialization_defaults_required=True)


class Picture(BaseModel):
    """An image inside JSON."""

    media_type: str
    width: int
    height: int
    base64: str


class BoxFacts(BaseModel):
    """A place in full-size pixels; right and bottom are exclusive."""

    left: int
    top: int
    right: int
    bottom: int


class WorstFacts(BaseModel):
    """The place where structure changed most."""

    value: float = Field(description="1: only light and sharpness changed there; lower: structure did.")
    box: BoxFacts


class DetailFacts(BaseModel):
    """The place whose finest detail changed most, measured at the photo's own resolution."""

    value: float = Field(
        description="1: only sharpness or grain as a whole changed; lower: detail was added or lost there."
    )
    box: BoxFacts


class ColourFacts(BaseModel):
    """How far the colours moved."""

    delta_e_mean: float = Field(description="Mean CIEDE2000.")
    delta_e_p95: float = Field(description="95th percentile of CIEDE2000.")
    redder_share: float = Field(description="Share of the area that turned clearly redder.")
    paler_share: float = Field(description="Share of the area that was red and turned clearly paler.")
    redness_order: float = Field(description="Rank correlation of the redness of regions; 1: their order is kept.")


class ModelName(BaseModel):
    """Which model made an image."""

    name: str
    version: str
    digest: str = Field(description="sha256=... of the model file.")


class MeasureFacts(BaseModel):
    """One measure of a photo."""

    value: float
    unit: str
    score: float = Field(description="0 worst, 0.4 at the limit of retaking, 0.8 at that of good, 1 best.")
    verdict: Literal["good", "usable", "retake"]
    words: str = Field(description="The verdict on this measure in words.")


class QualityFacts(BaseModel):
    """What a photo is like, measured at the canonical scale (longer side 480)."""

    sharpness: MeasureFacts
    noise: MeasureFacts
    haze: MeasureFacts
    exposure: MeasureFacts
    glare: MeasureFacts
    content_area: MeasureFacts
    resolution: MeasureFacts
    verdict: Literal["good", "usable", "retake"]
    reasons: list[str] = Field(description="Measures that give this verdict, the worst first; none if it is good.")
    score: float = Field(description="All measures in one number, 0 worst to 1 best.")
    advice: str = Field(description="What to do, for whoever takes the photo.")


class AssessFacts(QualityFacts):
    """The response of POST /assess."""

    width: int
    height: int
    request_id: str


class BeforeAfter(BaseModel):
    """The photo's own quality as sent and as delivered."""

    before: QualityFacts
    after: QualityFacts


class EnhanceFacts(Facts):
    """The JSON response of POST /enhance."""

    lassim: float
    worst: WorstFacts
    colour: ColourFacts
    verdict: Literal["pass", "constrained", "withheld"]
    blend: float = Field(description="Share of the input blended back in: 0 passed, 1 withheld.")
    missed: list[str] = Field(description="Thresholds that the output as made did not keep.")
    detail: DetailFacts | None = Field(None, description="Where the model has a limit for the finest detail.")
    model: ModelName
    image: Picture
    map: Picture | None = None
    report: Picture | None = Field(None, description="Of a DICOM object: the structured report, a DICOM object too.")
    quality: BeforeAfter
    timing_ms: dict[str, float]
    request_id: str


class ScoreFacts(Facts):
    """The response of POST /score."""

    lassim: float = Field(description="At the canonical scale (longer side 480), level 3.")
    worst: WorstFacts
    colour: ColourFacts
    width: int
    height: int
    map: Picture | None = None
    request_id: str


class ModelFactsheet(Facts):
    """A model in service."""

    name: str
    version: str
    digest: str
    default: bool
    provider: Literal["cpu", "cuda", "tensorrt"] = Field(description="What computes a photo that is alone.")
    precision: Precision = Field(description="int8: its eight-bit variant runs; float16: that in half precision.")
    working_pixels: int
    floors: GuardFloors | None = Field(
        description="Bounds that a delivered image keeps; built-in where not calibrated."
    )
    signed_by: str | None = Field(
        default=None, description="SHA-256 of the public key that signed it; null where signatures are not asked for."
    )
    calibrated: bool = Field(description="Whether the thresholds were calibrated for this model on held-out photos.")
    intended_use: str
    limits: str


class ModelList(BaseModel):
    """The response of GET /models."""

    models: list[ModelFactsheet]


class Limits(BaseModel):
    """What the service takes."""

    max_body_bytes: int
    max_pixels: int
    min_side: int = Field(description="Shortest side that can be scored, at the canonical scale.")
    body_timeout_s: float
    deadline_s: float
    queue_capacity: int
    rate_per_key_per_s: float | None


class Formats(BaseModel):
    """Media types in, and values of `format` out."""

    input: list[str]
    output: list[str]


class PolicyFacts(BaseModel):
    """The guardrail's policy."""

    default: Policy
    allowed: list[Policy]


class Capabilities(Facts):
    """What a client needs to know before it uploads."""

    service: Literal["lamegan"] = "lamegan"
    version: str
    use: str
    key_needed: bool
    limits: Limits
    formats: Formats
    quality: int = Field(description="Of JPEG and WebP responses unless asked otherwise.")
    policy: PolicyFacts
    providers: list[str]
    models: list[ModelFactsheet]


class Health(BaseModel):
    """The response of the health routes when all is well."""

    status: Literal["live", "ready"]
