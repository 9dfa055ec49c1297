"""The routes that tell about the service: capabilities, models, health and metrics."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from service.api.dependencies import Dependencies
from service.api.openapi import KEYED_PROBLEMS, METRICS_RESPONSES, NOT_READY_RESPONSES
from service.api.schemas import (
    Capabilities,
    Formats,
    Health,
    Limits,
    ModelFactsheet,
    ModelList,
    PolicyFacts,
    take_no_options,
)
from service.dicom.answer import DICOM_MEDIA_TYPE
from service.errors import NotReady
from service.imaging.codecs import MEDIA_TYPES
from service.quality.lassim import LEVEL
from service.quality.pyramid import least_side
from service.serving.model_pool import ModelPool, ServedModel
from service.vocabulary import Policy

USE = "Research software. Not a medical device; not for diagnosis."


def about_routes(parts: Dependencies) -> APIRouter:
    """The routes, working with `parts`."""
    router = APIRouter()

    @router.get("/capabilities", summary="What a client needs before it uploads", responses=KEYED_PROBLEMS)
    async def capabilities(request: Request) -> Capabilities:
        """Limits, formats, models with digests, policy and thresholds."""
        take_no_options(request)
        return _capabilities(parts)

    @router.get("/models", summary="The models in service", responses=KEYED_PROBLEMS)
    async def models(request: Request) -> ModelList:
        """The default model first."""
        take_no_options(request)
        return ModelList(models=_factsheets(parts.model_pool))

    @router.get("/health/live", summary="Whether the process lives")
    async def live() -> Health:
        """Always, when it can answer at all."""
        return Health(status="live")

    @router.get("/health/ready", summary="Whether requests can be served", responses=NOT_READY_RESPONSES)
    async def ready() -> Health:
        """After a warm inference of every shipped size; the problem document says why not."""
        if (reason := parts.readiness.reason) is not None:
            raise NotReady(reason)
        return Health(status="ready")

    if parts.serve_metrics:

        @router.get(
            "/metrics",
            summary="Metrics for Prometheus",
            response_class=Response,
            responses=METRICS_RESPONSES,
        )
        async def metrics(request: Request) -> Response:
            """In Prometheus' text format."""
            body, media_type = parts.metrics.exposition(request.headers.get("accept", ""))
            return Response(body, media_type=media_type)

    return router


def _capabilities(parts: Dependencies) -> Capabilities:
    models = _factsheets(parts.model_pool)
    defaults = parts.enhancer.defaults
    order = list(Policy)
    rate = parts.offer.rate_per_key_per_s
    return Capabilities(
        version=parts.offer.version,
        use=USE,
        key_needed=parts.keys is not None,
        limits=Limits(
            max_body_bytes=parts.reader.limits.max_bytes,
            max_pixels=parts.offer.max_pixels,
            min_side=least_side(LEVEL),
            body_timeout_s=parts.reader.limits.timeout_s,
            deadline_s=parts.pool.limits.deadline_s,
            queue_capacity=parts.pool.limits.capacity,
            rate_per_key_per_s=rate or None,
        ),
        formats=Formats(
            input=[*MEDIA_TYPES.values(), *([DICOM_MEDIA_TYPE] if parts.dicom else [])],
            output=["same", "jpeg", "png", "webp"],
        ),
        quality=defaults.quality,
        policy=PolicyFacts(default=defaults.policy, allowed=order[order.index(defaults.policy) :]),
        providers=sorted({model.provider for model in models}),
        models=models,
    )


def _factsheets(model_pool: ModelPool) -> list[ModelFactsheet]:
    default = model_pool.default
    return [_factsheet(model, model.card.reference == default) for model in model_pool.models()]


def _factsheet(model: ServedModel, default: bool) -> ModelFactsheet:
    card = model.card
    return ModelFactsheet(
        name=card.name,
        version=card.version,
        digest=f"sha256={card.digest_in(model.precision)}",
        default=default,
        provider=model.accelerator,
        precision=model.precision,
        working_pixels=card.working_pixels,
        floors=card.floors,
        calibrated=card.calibrated,
        signed_by=model.signed_by,
        intended_use=card.intended_use,
        limits=card.limits,
    )
