"""Admission: refuses on arrival, before a byte of the body is read, what would be refused later anyway."""

from __future__ import annotations

from dataclasses import dataclass

from service.api.limits.api_keys import ApiKeys
from service.api.limits.rate_limit import RateLimit
from service.api.limits.request_body import BodyReader
from service.api.limits.worker_pool import WorkerPool
from service.api.problems import send_problem
from service.api.request_context import App, Receive, Scope, Send, context_of, header
from service.errors import LameganError, Overloaded, ShuttingDown

WORK_ROUTES = frozenset(("/enhance", "/assess", "/score"))
INFO_ROUTES = frozenset(("/capabilities", "/models"))
HEALTH_ROUTES = frozenset(("/health/live", "/health/ready"))
METRICS_ROUTE = "/metrics"
PAGE_ROUTES = frozenset(("/", "/docs", "/openapi.json"))
PAGE_FILES = "/page/"
ROUTES = (*WORK_ROUTES, *INFO_ROUTES, *HEALTH_ROUTES, METRICS_ROUTE, *PAGE_ROUTES, PAGE_FILES)
"""Every path there is, by who may ask for it; logs and metrics name no other."""


@dataclass(frozen=True, slots=True)
class AdmissionRules:
    """Who needs a key, and how much is let in.

    Attributes:
        protect_metrics, protect_page: whether these need a key where keys are used at all.
        max_in_flight: work requests being received or answered at once.
    """

    protect_metrics: bool
    protect_page: bool
    max_in_flight: int


class Admission:
    """ASGI middleware: keys, rates, sizes, shutdown and overload, in that order."""

    def __init__(
        self,
        app: App,
        rules: AdmissionRules,
        keys: ApiKeys | None,
        rate: RateLimit,
        reader: BodyReader,
        pool: WorkerPool,
    ) -> None:
        """`keys` None: no key is asked for."""
        self._app = app
        self._rules = rules
        self._keys = keys
        self._rate = rate
        self._reader = reader
        self._pool = pool
        self._draining = False
        self.in_flight = 0

    def drain(self) -> None:
        """Take no new work from now on; what is under way is finished."""
        self._draining = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request through, or respond with why not."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        works = scope["path"] in WORK_ROUTES and scope["method"] == "POST"
        try:
            self._check_key(scope)
            if works:
                self._check_work(scope)
        except LameganError as error:
            await send_problem(send, context_of(scope), error)
            return
        self.in_flight += works
        try:
            await self._app(scope, receive, send)
        finally:
            self.in_flight -= works

    def _check_key(self, scope: Scope) -> None:
        path = scope["path"]
        if self._keys is not None and self.needs_key(path):
            check = self._keys.check_browser if _is_page(path) else self._keys.check
            context_of(scope).key = check(header(scope, b"authorization"))

    def _check_work(self, scope: Scope) -> None:
        if self._draining:
            raise ShuttingDown("The service is shutting down.")
        self._rate.take(context_of(scope).key or "")
        self._reader.check_declared(header(scope, b"content-length"))
        self._pool.check_room()
        if self.in_flight >= self._rules.max_in_flight:
            raise Overloaded("Too many requests are under way.", limit=self._rules.max_in_flight)

    def needs_key(self, path: str) -> bool:
        """Whether requests for `path` must bring a key."""
        if self._keys is None or path in HEALTH_ROUTES:
            return False
        if path == METRICS_ROUTE:
            return self._rules.protect_metrics
        if _is_page(path):
            return self._rules.protect_page
        return True


def _is_page(path: str) -> bool:
    return path in PAGE_ROUTES or path.startswith(PAGE_FILES)
