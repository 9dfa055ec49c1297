"""The outermost middleware: every request passes here first and every response last.

It gives each request an id, turns every failure into a problem document, adds the headers all responses share, writes
the one log line, the request metrics and the trace, and reads off what a refused client is still sending, so that the
client gets to see the refusal. HEAD is answered as GET would be; the server sends the headers alone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from dataclasses import replace

from service.api.problems import ProblemAnswer, problem_answer, send_problem
from service.api.request_context import (
    SCOPE_KEY,
    App,
    Message,
    Receive,
    RequestContext,
    Scope,
    Send,
    header,
    request_id,
)
from service.api.sub_path import SubPath
from service.errors import InternalError, LameganError
from service.monitoring.logs import exception_facts, get_logger
from service.monitoring.metrics import Metrics
from service.monitoring.tracing import Tracing

_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
REFUSED_WITHOUT_WORK = frozenset(
    ("unauthorized", "body-too-large", "body-timeout", "overloaded", "rate-limited", "shutting-down", "not-ready")
)

LINGER_S = 2.0
LINGER_BYTES = 1 << 20
"""After refusing a request whose body is still coming, at most this long and this much of it is read and dropped."""

UNFORESEEN = InternalError("Something went wrong here; quote the request id when asking for help.")
SHARED_HEADERS = ((b"x-content-type-options", b"nosniff"),)

UNMATCHED = "unmatched"
"""The route of requests that are for none, and of what is not a request."""

TRACED = ("/enhance", "/score", "/assess")
"""Routes whose requests have a span, where traces are asked for."""


class RequestLog:
    """The outermost ASGI application."""

    def __init__(
        self,
        app: App,
        metrics: Metrics,
        routes: Iterable[str],
        place: SubPath | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        """`routes` may be named in logs and metrics; one that ends in / stands for what is directly in it.

        `place` is where a proxy shows the service; None: at the root. `tracing` None: no traces.
        """
        self._app = app
        self._place = place or SubPath()
        self._metrics = metrics
        self._tracing = tracing
        self._routes = frozenset(routes)
        self._log = get_logger("lamegan.http")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the lifespan."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope = self._place.enter(scope)
        context = RequestContext(request_id(header(scope, b"x-request-id")), self._route(scope["path"]))
        if self._tracing is not None and context.route in TRACED:
            method = _known(scope["method"])
            context.trace = self._tracing.begin(method, context.route, header(scope, b"traceparent"))
            context.facts["trace_id"] = context.trace.trace_id
        scope[SCOPE_KEY] = context
        exchange = _Exchange(scope, receive, send, context)
        self._metrics.in_flight.inc()
        try:
            await self._app(_head_as_get(scope), exchange.receive, exchange.send)
        except LameganError as error:
            await exchange.refuse(error)
        except Exception as error:  # whatever it is, the client gets a problem document and the log gets the place
            self._log.error("unforeseen", request_id=context.loggable_id, **exception_facts(error))
            await exchange.refuse(UNFORESEEN)
        finally:
            self._metrics.in_flight.dec()
            self._record(context, scope["method"], exchange.status, exchange.bytes_in)
        await exchange.end()

    def turn_away(self, error: LameganError) -> ProblemAnswer:
        """The response to what never became a request, recorded like any other."""
        context = RequestContext(request_id(None), UNMATCHED)
        answer = problem_answer(error, context.request_id)
        context.code = answer.code
        self._record(context, "none", answer.status, bytes_in=0)
        shared = {name.decode(): value.decode() for name, value in _shared_headers(context)}
        return replace(answer, headers=answer.headers | shared)

    def _route(self, path: str) -> str:
        if path in self._routes:
            return path
        folder = path[: path.rfind("/") + 1]
        return folder if folder != "/" and folder in self._routes else UNMATCHED

    def _record(self, context: RequestContext, method: str, status: int, bytes_in: int) -> None:
        """Log and count one response; `status` 0: the client was gone before."""
        seconds = time.monotonic() - context.arrived
        method = _known(method)
        code = context.code if status else "client-gone"
        self._metrics.requests.labels(context.route, method, str(status or 499), code).inc()
        exemplar = context.trace.exemplar if context.trace else None
        self._metrics.request_seconds.labels(context.route).observe(seconds, exemplar)
        if context.trace is not None:
            context.trace.end(status or 499, code, context.loggable_id, tuple(context.stages))
        if code in REFUSED_WITHOUT_WORK:
            self._metrics.refusals.labels(code).inc()
        log = self._log.debug if context.route.startswith(("/health", "/metrics")) else self._log.info
        log(
            "request",
            request_id=context.loggable_id,
            method=method,
            route=context.route,
            status=status,
            code=code,
            ms=round(seconds * 1000, 1),
            bytes_in=bytes_in,
            key=context.key,
            **context.facts,
        )


class _Exchange:
    """One request's receive and send, watched."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, context: RequestContext) -> None:
        self.context = context
        self.status = 0
        self.bytes_in = 0
        self._scope = scope
        self._receive = receive
        self._send = send
        self._body_done = False
        self._gone = False
        self._last: Message | None = None

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self._gone = True
            self._body_done = True
        else:
            self.bytes_in += len(message.get("body", b""))
            self._body_done = not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            await self._send({**message, "headers": [*message.get("headers", ()), *self._shared_headers()]})
        elif message.get("more_body", False) or not self._lingers():
            await self._send(message)
        else:  # the whole response goes out now, its end once the client had a chance to read it
            await self._send({**message, "more_body": True})
            self._last = {"type": "http.response.body", "body": b"", "more_body": False}

    async def refuse(self, error: LameganError) -> None:
        """Answer with the problem document of `error`, unless a response has begun."""
        if self.status or self._gone:
            return
        await send_problem(self.send, self.context, error)

    async def end(self) -> None:
        """End a response that was held open, after reading off what the client still sends."""
        if self._last is None:
            return
        try:
            async with asyncio.timeout(LINGER_S):
                before = self.bytes_in
                while not self._body_done and self.bytes_in - before < LINGER_BYTES:
                    await self.receive()
        except TimeoutError:
            pass
        await self._send(self._last)

    def _lingers(self) -> bool:
        return not self._body_done and self._scope["method"] in ("POST", "PUT", "PATCH")

    def _shared_headers(self) -> list[tuple[bytes, bytes]]:
        headers = _shared_headers(self.context)
        declared = header(self._scope, b"content-length") or ""
        if self._lingers() and not (declared.isdecimal() and int(declared) <= LINGER_BYTES):
            headers.append((b"connection", b"close"))  # the rest of such a body is not worth reading
        return headers


def _shared_headers(context: RequestContext) -> list[tuple[bytes, bytes]]:
    traced = [(b"traceparent", context.trace.traceparent.encode())] if context.trace else []
    return [(b"x-request-id", context.request_id.encode()), *SHARED_HEADERS, *traced]


def _known(method: str) -> str:
    return method if method in _METHODS else "other"


def _head_as_get(scope: Scope) -> Scope:
    """`scope` with HEAD turned into GET; the server keeps its own, and so knows to leave the body out."""
    return {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope
