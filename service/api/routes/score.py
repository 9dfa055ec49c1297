"""POST /score: any two images of one size in, how much structure and colour moved between them out."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from service.api.dependencies import Dependencies, hung_up
from service.api.limits.request_body import images_of
from service.api.openapi import SCORE_BODY, SCORE_RESPONSES
from service.api.request_context import RequestContext, context_of
from service.api.routes.enhance import map_picture
from service.api.schemas import BoxFacts, ColourFacts, ScoreFacts, ScoreQuery, WorstFacts, each_option_once
from service.pipeline import Deadline, ImageFile, Scorer, Stopwatch, followed, heatmap_png


@dataclass(frozen=True, slots=True)
class ScoreUpload:
    """One request as the worker gets it."""

    body: bytes
    content_type: str | None
    content_encoding: str | None
    map: bool
    context: RequestContext


def score_routes(parts: Dependencies) -> APIRouter:
    """The route, working with `parts`."""
    router = APIRouter()

    @router.post(
        "/score",
        summary="Score one image against another",
        response_model=ScoreFacts,
        responses=SCORE_RESPONSES,
        openapi_extra=SCORE_BODY,
        dependencies=[Depends(each_option_once)],
    )
    async def score(request: Request, query: Annotated[ScoreQuery, Query()]) -> Response:
        """LaSSIM of `output` against `input`, the worst region and the colour shift."""
        context = context_of(request.scope)
        with parts.reader.hold() as account:
            upload = ScoreUpload(
                body=await account.read(request.receive),
                content_type=request.headers.get("content-type"),
                content_encoding=request.headers.get("content-encoding"),
                map=query.map,
                context=context,
            )
            body = await parts.pool.run(
                partial(score_upload, parts.enhancer.scorer, upload), partial(hung_up, request.receive)
            )
        return Response(body, media_type="application/json", headers={"cache-control": "no-store"})

    return router


def score_upload(scorer: Scorer, upload: ScoreUpload, deadline: Deadline, queue_s: float) -> bytes:
    """The work of one request, on a worker's thread: the JSON response.

    Raises:
        BadRequest: an image cannot be read, is too small to score, or their sizes differ.
        DeadlineExceeded, ClientGone: the deadline passed, or nobody waits any more.
    """
    with followed(upload.context.stages, queue_s):
        return _score(scorer, upload, deadline)


def _score(scorer: Scorer, upload: ScoreUpload, deadline: Deadline) -> bytes:
    """The JSON response."""
    parts = images_of(upload.body, upload.content_type, ("output", "input"), upload.content_encoding)
    output, given = (ImageFile(parts[name].content, parts[name].declared_type) for name in ("output", "input"))
    with scorer.score(output, given, deadline) as scored:
        with Stopwatch().stage("encode"):
            heatmap = heatmap_png(scored.output, scored.input) if upload.map else None
        measures = scored.measures
        height, width = scored.output.pixels.shape[:2]
    facts = ScoreFacts(
        lassim=round(measures.lassim, 6),
        worst=WorstFacts(
            value=measures.worst.value, box=BoxFacts.model_validate(measures.worst.box, from_attributes=True)
        ),
        colour=ColourFacts.model_validate(measures.colour, from_attributes=True),
        width=width,
        height=height,
        map=map_picture(heatmap, width, height),
        request_id=upload.context.request_id,
    )
    return facts.model_dump_json().encode()
