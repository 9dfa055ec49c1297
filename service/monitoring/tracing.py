"""Traces by OpenTelemetry (extra `otel`), off unless asked for: a span for a request and one for each of its stages.

A span says which route answered what and how long each stage took; no image, file name, option, header or address.
The caller's `traceparent` is taken up; its `tracestate`, which holds whatever a client writes, is not.

Source: W3C Trace Context, https://www.w3.org/TR/trace-context/; OpenTelemetry semantic conventions for HTTP spans.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from threading import Thread
from typing import TYPE_CHECKING

from service.errors import ConfigurationError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span, Tracer

STANDARD_VARIABLES = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
"""OpenTelemetry's own variables, any of which turns traces on too."""

SIGNAL_PATH = "/v1/traces"
"""Path of traces at an OTLP/HTTP collector."""

MOST_STAGES = 64
"""Spans of stages in one trace; a DICOM object with many frames has more stages than anybody looks at."""

CLOSE_S = 5.0
"""How long the last spans may take to leave when the service stops; a collector that is gone holds nothing up."""

StageTime = tuple[str, int, int, float]
"""Name of a stage, its start and end (Unix time in nanoseconds), and the seconds that are its own."""


class RequestTrace:
    """The span of one request while it is under way."""

    def __init__(self, tracer: Tracer, span: Span, exemplars: bool) -> None:
        self._tracer = tracer
        self._span = span
        context = span.get_span_context()
        self.trace_id = f"{context.trace_id:032x}"
        self.traceparent = f"00-{self.trace_id}-{context.span_id:016x}-{context.trace_flags:02x}"
        """Header that names this span to the caller."""
        self.exemplar: dict[str, str] | None = (
            {"trace_id": self.trace_id} if exemplars and context.trace_flags.sampled else None
        )
        """What the latency histogram keeps of this request; None: nothing."""

    def end(self, status: int, code: str, request_id: str, stages: Iterable[StageTime]) -> None:
        """End the span with its result and a child span for each of `stages`."""
        from opentelemetry.trace import StatusCode, set_span_in_context  # noqa: PLC0415  (optional)

        kept = list(stages)
        span, parent = self._span, set_span_in_context(self._span)
        for name, began_ns, ended_ns, own_s in kept[:MOST_STAGES]:
            stage = self._tracer.start_span(
                name, parent, start_time=began_ns, attributes={"lamegan.own_seconds": round(own_s, 6)}
            )
            stage.end(ended_ns)
        span.set_attribute("http.response.status_code", status)
        span.set_attribute("lamegan.request_id", request_id)
        if len(kept) > MOST_STAGES:
            span.set_attribute("lamegan.stages_left_out", len(kept) - MOST_STAGES)
        if code != "ok":
            span.set_attribute("error.type", code)
        if status >= 500:
            span.set_status(StatusCode.ERROR)
        span.end()


class Tracing:
    """Starts the spans of requests and sends them on; `close` sends the last."""

    def __init__(self, provider: TracerProvider, exemplars: bool = False) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("lamegan")
        self._exemplars = exemplars

    def begin(self, method: str, route: str, traceparent: str | None) -> RequestTrace:
        """The span of a request that arrives now, below the caller's where `traceparent` is well-formed."""
        from opentelemetry.context import Context  # noqa: PLC0415  (optional)
        from opentelemetry.trace import SpanKind  # noqa: PLC0415
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

        carrier = {} if traceparent is None else {"traceparent": traceparent}
        span = self._tracer.start_span(
            f"{method} {route}",
            TraceContextTextMapPropagator().extract(carrier, Context()),
            SpanKind.SERVER,
            {"http.request.method": method, "http.route": route},
        )
        return RequestTrace(self._tracer, span, self._exemplars)

    def close(self) -> None:
        """Send what is left, for `CLOSE_S` at most."""
        last = Thread(target=self._provider.shutdown, name="last-spans", daemon=True)
        last.start()
        last.join(CLOSE_S)


def start_tracing(endpoint: str | None, version: str, exemplars: bool = False) -> Tracing | None:
    """Traces for the OTLP/HTTP collector at `endpoint`, or where OpenTelemetry's variables say; None: not asked for.

    Raises:
        ConfigurationError: OpenTelemetry is asked for and absent, or exemplars are without traces.
    """
    if not endpoint and not any(os.environ.get(name) for name in STANDARD_VARIABLES):
        if exemplars:
            raise ConfigurationError("LAMEGAN_OTEL_EXEMPLARS needs traces: set LAMEGAN_OTEL_ENDPOINT.")
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415  (optional)
    except ImportError as error:
        raise ConfigurationError(
            "Traces are asked for (LAMEGAN_OTEL_ENDPOINT or OTEL_EXPORTER_OTLP_ENDPOINT) but OpenTelemetry is not "
            "installed: pip install 'lamegan[otel]'."
        ) from error
    exporter = OTLPSpanExporter(endpoint=signal_url(endpoint) if endpoint else None)
    return Tracing(tracer_provider(exporter, version), exemplars)


def signal_url(endpoint: str) -> str:
    """Where traces go at the collector `endpoint`, which may name their path already."""
    base = endpoint.rstrip("/")
    return base if base.endswith(SIGNAL_PATH) else base + SIGNAL_PATH


def tracer_provider(exporter: SpanExporter, version: str) -> TracerProvider:
    """What makes spans and sends them in batches; the sampler is OpenTelemetry's variables' choice."""
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415  (optional)
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    name = os.environ.get("OTEL_SERVICE_NAME") or "lamegan"
    resource = Resource.create({"service.name": name, "service.version": version})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider
