"""Traces of a real service, read by a collector that speaks OTLP over HTTP."""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from service.composition import Service
from service.errors import ConfigurationError
from service.monitoring.tracing import MOST_STAGES, Tracing, signal_url, start_tracing, tracer_provider
from service.settings import read_settings
from tests import models
from tests.live import LiveService, encoded, scene

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = "00f067aa0ba902b7"
NAME = "Sentinella"
STAGES = ["decode", "queue", "infer", "transfer", "score", "encode"]


class Collector:
    """What came in: requests as they were, and their spans."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.paths: list[str] = []
        self.endpoint = ""

    @property
    def spans(self) -> list[Any]:
        requests = [ExportTraceServiceRequest.FromString(body) for body in self.bodies]
        scopes = [scope for one in requests for resource in one.resource_spans for scope in resource.scope_spans]
        return [span for scope in scopes for span in scope.spans]

    def roots(self) -> list[Any]:
        return [span for span in self.spans if " " in span.name]

    def children(self, root: Any) -> list[Any]:
        return [span for span in self.spans if span.parent_span_id == root.span_id]


@pytest.fixture(autouse=True)
def no_variables_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_TRACES_SAMPLER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector on a free port."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            collector.paths.append(self.path)
            collector.bodies.append(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        collector.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            yield collector
        finally:
            server.shutdown()
            thread.join()


def facts(span: Any) -> dict[str, object]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in span.attributes}


@pytest.mark.parametrize("processes", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_photo_has_a_span_below_its_callers_and_one_for_each_stage(tmp_path: Path, processes: int) -> None:
    models.install(tmp_path, models.brighten(12))
    with collecting() as collector:
        with LiveService(tmp_path, otel_endpoint=collector.endpoint, processes=processes) as live:
            sent = {"traceparent": f"00-{TRACE}-{CALLER}-01", "tracestate": f"vendor={NAME}", "user-agent": NAME}
            photo = {"file": (f"{NAME}.png", encoded(scene()))}
            answer = live.http.post("/enhance", files=photo, headers=sent)
            live.http.get("/capabilities").raise_for_status()
        assert answer.status_code == 200
        (root,) = collector.roots()
        stages = collector.children(root)
        assert set(collector.paths) == {"/v1/traces"}
        assert len(collector.spans) == 1 + len(stages)
    assert root.name == "POST /enhance"
    assert (root.trace_id.hex(), root.parent_span_id.hex()) == (TRACE, CALLER)
    assert answer.headers["traceparent"] == f"00-{TRACE}-{root.span_id.hex()}-01"
    assert facts(root).items() >= {"http.route": "/enhance", "http.response.status_code": 200}.items()
    assert {span.name for span in stages} == set(STAGES)
    for span in stages:
        assert facts(span).keys() == {"lamegan.own_seconds"}
        assert root.start_time_unix_nano - 1e9 < span.start_time_unix_nano <= span.end_time_unix_nano
        assert span.end_time_unix_nano < root.end_time_unix_nano + 1e9
    assert all(NAME.encode() not in body for body in collector.bodies)


def test_the_stages_of_a_trace_are_those_that_the_answer_is_timed_by(tmp_path: Path) -> None:
    models.install(tmp_path, models.brighten(12))
    with collecting() as collector:
        with LiveService(tmp_path, otel_endpoint=collector.endpoint) as live:
            answer = live.http.post("/enhance", content=encoded(scene()), headers={"accept": "application/json"})
        stages = collector.children(collector.roots()[0])
    for stage, shown in answer.json()["timing_ms"].items():
        own = sum(float(str(facts(span)["lamegan.own_seconds"])) for span in stages if span.name == stage)
        assert own * 1000 == pytest.approx(shown, abs=0.02), stage


def test_a_score_an_assessment_and_a_refusal_are_traced_too(tmp_path: Path) -> None:
    models.install(tmp_path, models.identity())
    photo = encoded(scene())
    with collecting() as collector:
        with LiveService(tmp_path, otel_endpoint=collector.endpoint) as live:
            scored = live.http.post("/score", files={"output": photo, "input": photo})
            assessed = live.http.post("/assess", content=photo)
            refused = live.http.post("/enhance", content=photo[: len(photo) // 2])
        by_name = {root.name: root for root in collector.roots()}
        score, assessment, refusal = (by_name[f"POST {route}"] for route in ("/score", "/assess", "/enhance"))
        stages = [[span.name for span in collector.children(root)] for root in (score, refusal, assessment)]
    assert scored.status_code == 200
    assert sorted(stages[0]) == ["decode", "decode", "encode", "queue", "score"]
    assert assessed.status_code == 200
    assert sorted(stages[2]) == ["decode", "queue", "score"]
    assert refused.status_code == facts(refusal)["http.response.status_code"]
    assert facts(refusal)["error.type"] == refused.json()["code"]
    assert sorted(stages[1]) == ["decode", "queue"]
    assert refused.headers["traceparent"].split("-")[2] == refusal.span_id.hex()
    assert score.trace_id != refusal.trace_id


@pytest.mark.parametrize("sent", ["", "00-0-0-01", f"00-{TRACE}-{CALLER}", f"00-{'0' * 32}-{CALLER}-01", NAME * 99])
def test_a_malformed_traceparent_begins_a_trace_of_its_own(sent: str) -> None:
    with collecting() as collector:
        tracing = start_tracing(collector.endpoint, "1")
        assert tracing
        trace = tracing.begin("POST", "/enhance", sent)
        trace.end(200, "ok", "id", ())
        tracing.close()
        (root,) = collector.roots()
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-0[0-9]", trace.traceparent)
    assert trace.trace_id != TRACE
    assert root.parent_span_id == b""


def test_a_caller_that_does_not_sample_is_obeyed() -> None:
    with collecting() as collector:
        tracing = start_tracing(collector.endpoint, "1", exemplars=True)
        assert tracing
        trace = tracing.begin("POST", "/enhance", f"00-{TRACE}-{CALLER}-00")
        trace.end(200, "ok", "id", [("decode", 1, 2, 0.0)])
        tracing.close()
        assert not collector.bodies
    assert trace.traceparent.startswith(f"00-{TRACE}-")
    assert trace.traceparent.endswith("-00")
    assert trace.exemplar is None


def test_a_trace_is_bounded_and_says_what_it_leaves_out() -> None:
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    kept = InMemorySpanExporter()
    tracing = Tracing(tracer_provider(kept, "1"))
    tracing.begin("POST", "/enhance", None).end(200, "ok", "id", [("score", 1, 2, 0.0)] * (MOST_STAGES + 3))
    tracing.close()
    *stages, root = kept.get_finished_spans()
    assert len(stages) == MOST_STAGES
    assert root.attributes
    assert root.attributes["lamegan.stages_left_out"] == 3


def test_exemplars_name_the_trace_where_asked_for(tmp_path: Path) -> None:
    models.install(tmp_path, models.identity())
    accept = {"accept": "application/openmetrics-text; version=1.0.0"}
    with collecting() as collector:
        for exemplars in (True, False):
            with LiveService(tmp_path, otel_endpoint=collector.endpoint, otel_exemplars=exemplars) as live:
                answer = live.http.post("/enhance", content=encoded(scene()))
                trace_id = answer.headers["traceparent"].split("-")[1]
                metrics = live.http.get("/metrics", headers=accept)
                plain = live.http.get("/metrics")
            assert metrics.headers["content-type"].startswith("application/openmetrics-text") is exemplars
            marked = re.search(
                rf'lamegan_request_seconds_bucket.*route="/enhance".* # {{trace_id="{trace_id}"}}', metrics.text
            )
            assert bool(marked) is exemplars
            assert plain.headers["content-type"].startswith("text/plain")
            assert trace_id not in plain.text


def test_without_being_asked_there_is_no_trace(tmp_path: Path) -> None:
    models.install(tmp_path, models.identity())
    with LiveService(tmp_path) as live:
        answer = live.http.post(
            "/enhance", content=encoded(scene()), headers={"traceparent": f"00-{TRACE}-{CALLER}-01"}
        )
        assert live.service.tracing is None
    assert "traceparent" not in answer.headers


def test_opentelemetrys_own_variable_asks_too(monkeypatch: pytest.MonkeyPatch) -> None:
    with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint)
        tracing = start_tracing(None, "1")
        assert tracing
        tracing.begin("POST", "/score", None).end(503, "not-ready", "id", ())
        tracing.close()
        assert collector.paths == ["/v1/traces"]


def test_a_collector_that_is_gone_costs_no_request(tmp_path: Path) -> None:
    models.install(tmp_path, models.identity())
    with LiveService(tmp_path, otel_endpoint="http://127.0.0.1:9") as live:
        assert live.http.post("/enhance", content=encoded(scene())).status_code == 200


def test_asked_for_and_absent_is_said_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models.install(tmp_path, models.identity())
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'lamegan\[otel\]'"):
        Service(read_settings(models_dir=tmp_path, otel_endpoint="http://127.0.0.1:4318"))


def test_exemplars_without_traces_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="LAMEGAN_OTEL_ENDPOINT"):
        start_tracing(None, "1", exemplars=True)


def test_an_endpoint_may_name_the_path_of_traces_or_not() -> None:
    assert signal_url("http://collector:4318") == "http://collector:4318/v1/traces"
    assert signal_url("http://collector:4318/v1/traces/") == "http://collector:4318/v1/traces"
    assert signal_url("https://host/otlp/") == "https://host/otlp/v1/traces"
    with pytest.raises(ConfigurationError, match="LAMEGAN_OTEL_ENDPOINT"):
        read_settings(otel_endpoint="collector:4318")
