"""POST /assess: a photo in, whether it is fit for use out; fast enough for a camera's preview."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from fastapi import APIRouter, Request, Response

from service.api.dependencies import Dependencies, hung_up
from service.api.limits.request_body import image_of
from service.api.openapi import ASSESS_BODY, ASSESS_RESPONSES
from service.api.request_context import RequestContext, context_of
from service.api.schemas import AssessFacts, MeasureFacts, QualityFacts, take_no_options
from service.pipeline import Assessor, Deadline, followed
from service.quality.assessment import LIMITS, Assessment


@dataclass(frozen=True, slots=True)
class AssessUpload:
    """One request as the worker gets it."""

    body: bytes
    content_type: str | None
    content_encoding: str | None
    context: RequestContext


def assess_routes(parts: Dependencies) -> APIRouter:
    """The route, working with `parts`."""
    router = APIRouter()

    @router.post(
        "/assess",
        summary="Say whether a photo is fit for use",
        response_model=AssessFacts,
        responses=ASSESS_RESPONSES,
        openapi_extra=ASSESS_BODY,
    )
    async def assess(request: Request) -> Response:
        """Sharpness, noise, haze, exposure, glare, content area, resolution: each with a verdict, and one for all."""
        take_no_options(request)
        with parts.reader.hold() as account:
            upload = AssessUpload(
                body=await account.read(request.receive),
                content_type=request.headers.get("content-type"),
                content_encoding=request.headers.get("content-encoding"),
                context=context_of(request.scope),
            )
            body = await parts.pool.run(
                partial(assess_upload, parts.assessor, upload), partial(hung_up, request.receive)
            )
        return Response(body, media_type="application/json", headers={"cache-control": "no-store"})

    return router


def assess_upload(assessor: Assessor, upload: AssessUpload, patience: Deadline, queue_s: float) -> bytes:
    """The work of one request, on a worker's thread: the JSON response.

    Raises:
        LameganError: see `Assessor.assess` and `image_of`.
    """
    part = image_of(upload.body, upload.content_type, upload.content_encoding)
    with followed(upload.context.stages, queue_s):
        found, width, height = assessor.assess(part.content, part.declared_type, patience)
    upload.context.facts.update(verdict=found.verdict.value, reasons=",".join(found.reasons))
    facts = AssessFacts(
        **quality_facts(found).model_dump(), width=width, height=height, request_id=upload.context.request_id
    )
    return facts.model_dump_json().encode()


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
