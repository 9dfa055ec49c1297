"""POST /enhance: a photo in, the enhanced photo with its score out."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from service.api.dependencies import Dependencies
from service.api.openapi import ENHANCE_BODY, ENHANCE_RESPONSES
from service.api.request_context import RequestContext
from service.api.routes.dicom import check_declared, object_body, wants_both
from service.api.routes.facts import map_picture, picture, quality_facts
from service.api.routes.upload import Upload, on_a_worker
from service.api.schemas import (
    BeforeAfter,
    BoxFacts,
    ColourFacts,
    DetailFacts,
    EnhanceFacts,
    EnhanceQuery,
    ModelName,
    WorstFacts,
    each_option_once,
)
from service.dicom.answer import DICOM_MEDIA_TYPE, available, is_dicom
from service.errors import AuditUnavailable, InvalidParameter
from service.monitoring.logs import get_logger
from service.monitoring.metrics import Metrics
from service.pipeline import STAGES, Deadline, Enhancement, EnhanceOptions
from service.quality.guardrail import Judgement


@dataclass(frozen=True, slots=True)
class EnhanceAnswer:
    """One response ready to send; it holds no pixels, so that they are freed on the worker's thread."""

    body: bytes
    headers: dict[str, str]


def enhance_routes(parts: Dependencies) -> APIRouter:
    """The route, working with `parts`."""
    router = APIRouter()

    @router.post(
        "/enhance",
        summary="Enhance a photo",
        response_class=Response,
        responses=ENHANCE_RESPONSES,
        openapi_extra=ENHANCE_BODY,
        dependencies=[Depends(each_option_once)],
    )
    async def enhance(request: Request, query: Annotated[EnhanceQuery, Query()]) -> Response:
        """The enhanced image, upright and of the size sent, with its LaSSIM against the input in the headers."""
        parts.model_pool.check(query.model)
        answer = await on_a_worker(parts, request, partial(enhance_upload, parts, query))
        return Response(answer.body, headers=answer.headers)

    return router


def enhance_upload(parts: Dependencies, query: EnhanceQuery, upload: Upload, deadline: Deadline) -> EnhanceAnswer:
    """The work of one request, on a worker's thread: the response to a file of whatever kind.

    Raises:
        LameganError: see `Enhancer.enhance`, `DicomEnhancer.enhance`, `image_of` and `write_audit`.
    """
    wants_json = prefers_json(upload.accept)
    if query.map and not wants_json:
        raise InvalidParameter("The map comes in a JSON response only; send Accept: application/json.", parameter="map")
    part = upload.image()
    options = EnhanceOptions(
        declared_type=part.declared_type,
        format=query.format,
        quality=query.quality,
        policy=query.policy,
        model=query.model,
        map=query.map,
    )
    if is_dicom(part.content):
        check_declared(part.declared_type)
        if query.format == "same":
            return _enhance_object(parts, upload, part.content, options, deadline)
        enhancement = available(parts.dicom).render(part.content, options, deadline)
    else:
        enhancement = parts.enhancer.enhance(part.content, options, deadline)
    enhancement.seconds["queue"] += upload.queue_s
    headers = _headers(enhancement)
    body = enhancement.body
    if wants_json:
        headers["content-type"] = "application/json"
        body = _facts(enhancement, upload.context.request_id).model_dump_json().encode()
    write_audit(parts, upload.context, part.content, enhancement.body, enhancement)
    record(parts.metrics, upload.context, enhancement, len(body))
    return EnhanceAnswer(body, headers)


def _enhance_object(
    parts: Dependencies, upload: Upload, content: bytes, options: EnhanceOptions, deadline: Deadline
) -> EnhanceAnswer:
    """A DICOM object's response; the facts are those of its worst frame, a JSON response holds no map."""
    answer = available(parts.dicom).enhance(content, options, deadline)
    worst = answer.worst
    worst.seconds["queue"] += upload.queue_s
    headers = _headers(worst)
    if prefers_json(upload.accept):
        headers["content-type"] = "application/json"
        facts = _facts(worst, upload.context.request_id)
        facts.image = picture(answer.image or content, DICOM_MEDIA_TYPE, worst.width, worst.height)
        facts.report = picture(answer.report, DICOM_MEDIA_TYPE, worst.width, worst.height)
        facts.map = None
        body = facts.model_dump_json().encode()
    else:
        body, own = object_body(answer, both=wants_both(upload.accept))
        headers |= own
    write_audit(parts, upload.context, content, answer.image or content, worst)
    record(parts.metrics, upload.context, worst, len(body))
    upload.context.facts.update(format="dicom", frames=answer.frames)
    return EnhanceAnswer(body, headers)


def write_audit(parts: Dependencies, context: RequestContext, sent: bytes, delivered: bytes, made: Enhancement) -> None:
    """Write the photo's line in the audit log, if there is one.

    Raises:
        AuditUnavailable: it cannot be written, and the settings let no photo be answered without it.
    """
    if parts.audit.log is None:
        return
    facts = {
        "request_id": context.loggable_id,
        "key": context.key,
        "model": made.model,
        "model_digest": made.model_sha256,
        "input_sha256": hashlib.sha256(sent).hexdigest(),
        "output_sha256": hashlib.sha256(delivered).hexdigest(),
        "lassim": round(made.judgement.lassim, 6),
        "worst": round(made.judgement.worst, 6),
        "verdict": made.judgement.verdict.value,
    }
    try:
        context.facts["audit_line"] = parts.audit.log.append(facts).number
    except AuditUnavailable as error:
        parts.metrics.audit_failures.inc()
        get_logger("lamegan.audit").error("audit line not written", reason=error.detail)
        if parts.audit.required:
            raise


def prefers_json(accept: str | None) -> bool:
    """Whether an Accept header ranks JSON above images (RFC 9110, section 12.5.1); images win a draw."""
    json_q, image_q = 0.0, 0.0
    for entry in (accept or "*/*").lower().split(","):
        media, *parameters = (piece.strip() for piece in entry.split(";"))
        quality = _q(parameters)
        if media in ("application/json", "application/*"):
            json_q = max(json_q, quality)
        if media == "*/*" or media.startswith("image/"):
            image_q = max(image_q, quality)
    return json_q > image_q


def _q(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name == "q":
            try:
                return min(1.0, max(0.0, float(value)))
            except ValueError:
                return 0.0
    return 1.0


def record(metrics: Metrics, context: RequestContext, made: Enhancement, bytes_out: int) -> None:
    """Count one response in the metrics and note it for the log line."""
    judgement, digest = made.judgement, made.model_sha256
    for stage in STAGES:
        metrics.stage_seconds.labels(stage).observe(made.seconds[stage])
    metrics.lassim.labels(digest).observe(judgement.lassim)
    metrics.lassim_worst.labels(digest).observe(judgement.worst)
    metrics.delta_e.labels(digest).observe(judgement.colour.delta_e_mean)
    metrics.blend_share.labels(digest).observe(judgement.blend)
    metrics.verdicts.labels(digest, judgement.verdict.value).inc()
    seen = made.quality
    metrics.input_sharpness.observe(seen.sharpness)
    metrics.input_exposure.observe(seen.exposure)
    metrics.input_contrast.observe(seen.contrast)
    metrics.input_megapixels.observe(made.width * made.height / 1e6)
    context.facts.update(
        model=made.model,
        verdict=judgement.verdict.value,
        lassim=round(judgement.lassim, 4),
        worst=round(judgement.worst, 4),
        blend=round(judgement.blend, 4),
        width=made.width,
        height=made.height,
        format=made.photo.format,
        bytes_out=bytes_out,
    )


def _headers(made: Enhancement) -> dict[str, str]:
    judgement = made.judgement
    timing = ", ".join(f"{stage};dur={made.seconds[stage] * 1000:.2f}" for stage in STAGES)
    return {
        "content-type": made.media_type,
        "cache-control": "no-store",
        "lassim": f"{judgement.lassim:.4f}",
        "lassim-worst": f"{judgement.worst:.4f}",
        "lassim-verdict": judgement.verdict.value,
        "lassim-blend": f"{judgement.blend:.4f}",
        "model": made.model,
        "model-digest": f"sha256={made.model_sha256}",
        "quality": f"before={made.before.score:.2f}, after={made.after.score:.2f}",
        "server-timing": timing,
    }


def _facts(made: Enhancement, request_id: str) -> EnhanceFacts:
    judgement = made.judgement
    name, _, version = made.model.partition("/")
    return EnhanceFacts(
        lassim=round(judgement.lassim, 6),
        worst=worst_facts(judgement),
        colour=ColourFacts.model_validate(judgement.colour, from_attributes=True),
        verdict=judgement.verdict.value,
        blend=judgement.blend,
        missed=list(judgement.missed),
        detail=DetailFacts.model_validate(judgement.detail, from_attributes=True) if judgement.detail else None,
        model=ModelName(name=name, version=version, digest=f"sha256={made.model_sha256}"),
        image=picture(made.body, made.media_type, made.width, made.height),
        map=map_picture(made.heatmap, made.width, made.height),
        report=None,
        quality=BeforeAfter(before=quality_facts(made.before), after=quality_facts(made.after)),
        timing_ms={stage: round(seconds * 1000, 2) for stage, seconds in made.seconds.items()},
        request_id=request_id,
    )


def worst_facts(judgement: Judgement) -> WorstFacts:
    """The worst region of a judgement."""
    return WorstFacts(value=judgement.worst, box=BoxFacts.model_validate(judgement.box, from_attributes=True))
