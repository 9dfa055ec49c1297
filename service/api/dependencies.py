"""What the routes work with, put together by the composition root."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from service.api.limits.api_keys import ApiKeys
from service.api.limits.rate_limit import RateLimit
from service.api.limits.request_body import BodyReader
from service.api.limits.worker_pool import WorkerPool
from service.api.middleware.admission import AdmissionRules
from service.api.request_context import Receive
from service.api.sub_path import SubPath
from service.dicom.answer import ObjectEnhancer
from service.monitoring.audit import AuditLog
from service.monitoring.metrics import Metrics
from service.monitoring.tracing import Tracing
from service.pipeline import Assessor, Enhancer
from service.serving.model_pool import ModelPool


class Readiness:
    """Whether the service can take requests, and if not, why."""

    def __init__(self) -> None:
        self._reason: str | None = "The models are being loaded and warmed."

    @property
    def reason(self) -> str | None:
        """Why not; None when ready."""
        return self._reason

    def ready(self) -> None:
        """Say that all is well."""
        self._reason = None

    def not_ready(self, reason: str) -> None:
        """Say why not, in one sentence for a person."""
        self._reason = reason


@dataclass(frozen=True, slots=True)
class Offer:
    """What the service tells clients of itself.

    Attributes:
        version: of the software.
        max_pixels, deadline_s, rate_per_key_per_s: limits that are enforced elsewhere.
    """

    version: str
    max_pixels: int
    rate_per_key_per_s: float


@dataclass(frozen=True, slots=True)
class Audit:
    """The audit log, if there is one, and whether no photo may be answered without a line in it."""

    log: AuditLog | None = None
    required: bool = True


@dataclass(frozen=True, slots=True)
class Dependencies:
    """Everything that the routes use; `keys` None: no key is asked for; `dicom` None: its extra is not installed."""

    enhancer: Enhancer
    dicom: ObjectEnhancer | None
    assessor: Assessor
    model_pool: ModelPool
    pool: WorkerPool
    reader: BodyReader
    metrics: Metrics
    audit: Audit
    keys: ApiKeys | None
    rate: RateLimit
    rules: AdmissionRules
    readiness: Readiness
    offer: Offer
    cors_origins: tuple[str, ...]
    serve_metrics: bool
    place: SubPath
    tracing: Tracing | None = None


async def hung_up(receive: Receive) -> None:
    """Return when the client is gone; the body must have been read."""
    while (await receive())["type"] != "http.disconnect":
        await asyncio.sleep(0)
