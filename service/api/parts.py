"""What the routes work with, put together by the composition root."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from service.api.body import BodyReader
from service.api.context import Receive
from service.api.gate import GateRules
from service.api.keys import KeyRing
from service.api.rate import RateLimit
from service.api.work import WorkPool
from service.enhance import Enhancer
from service.monitoring.metrics import Metrics
from service.roster import Roster


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
class ApiParts:
    """Everything that the routes use; `keys` None: no key is asked for."""

    enhancer: Enhancer
    roster: Roster
    pool: WorkPool
    reader: BodyReader
    metrics: Metrics
    keys: KeyRing | None
    rate: RateLimit
    rules: GateRules
    readiness: Readiness
    offer: Offer
    cors_origins: tuple[str, ...]
    serve_metrics: bool


async def hung_up(receive: Receive) -> None:
    """Return when the client is gone; the body must have been read."""
    while (await receive())["type"] != "http.disconnect":
        await asyncio.sleep(0)
