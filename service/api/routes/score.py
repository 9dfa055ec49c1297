"""POST /score: any two images of one size in, how much structure and colour moved between them out."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from service.api.dependencies import Dependencies
from service.api.openapi import SCORE_BODY, SCORE_RESPONSES
from service.api.routes.facts import map_picture
from service.api.routes.upload import Upload, on_a_worker
from service.api.schemas import BoxFacts, ColourFacts, ScoreFacts, ScoreQuery, WorstFacts, each_option_once
from service.pipeline import Deadline, ImageFile, Scorer, Stopwatch, heatmap_png


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
        body = await on_a_worker(parts, request, partial(score_upload, parts.enhancer.scorer, query.map))
        return Response(body, media_type="application/json", headers={"cache-control": "no-store"})

    return router


def score_upload(scorer: Scorer, with_map: bool, upload: Upload, deadline: Deadline) -> bytes:
    """The work of one request, on a worker's thread: the JSON response.

    Raises:
        BadRequest: an image cannot be read, is too small to score, or their sizes differ.
        DeadlineExceeded, ClientGone: the deadline passed, or nobody waits any more.
    """
    parts = upload.images("output", "input")
    output, given = (ImageFile(parts[name].content, parts[name].declared_type) for name in ("output", "input"))
    with scorer.score(output, given, deadline) as scored:
        with Stopwatch().stage("encode"):
            heatmap = heatmap_png(scored.output, scored.input) if with_map else None
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
