"""POST /assess: a photo in, whether it is fit for use out; fast enough for a camera's preview."""

from __future__ import annotations

from functools import partial

from fastapi import APIRouter, Request, Response

from service.api.dependencies import Dependencies
from service.api.openapi import ASSESS_BODY, ASSESS_RESPONSES
from service.api.routes.facts import quality_facts
from service.api.routes.upload import Upload, on_a_worker
from service.api.schemas import AssessFacts, take_no_options
from service.pipeline import Assessor, Deadline


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
        body = await on_a_worker(parts, request, partial(assess_upload, parts.assessor))
        return Response(body, media_type="application/json", headers={"cache-control": "no-store"})

    return router


def assess_upload(assessor: Assessor, upload: Upload, deadline: Deadline) -> bytes:
    """The work of one request, on a worker's thread: the JSON response.

    Raises:
        LameganError: see `Assessor.assess` and `image_of`.
    """
    part = upload.image()
    found, width, height = assessor.assess(part.content, part.declared_type, deadline)
    upload.context.facts.update(verdict=found.verdict.value, reasons=",".join(found.reasons))
    facts = AssessFacts(
        **quality_facts(found).model_dump(), width=width, height=height, request_id=upload.context.request_id
    )
    return facts.model_dump_json().encode()
