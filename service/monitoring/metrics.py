"""Every metric of the service, in one registry that the composition root makes; names by Prometheus conventions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from threading import Thread
from typing import Any

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
    start_http_server,
)
from prometheus_client.exposition import choose_encoder

from service.drift.measures import (
    CONTRAST_BUCKETS,
    LASSIM_BUCKETS,
    LIGHT_BUCKETS,
    MEGAPIXEL_BUCKETS,
    SHARPNESS_BUCKETS,
    WORST_BUCKETS,
)
from service.monitoring.gpu import gpu_memory_bytes
from service.monitoring.served_models import ModelFacts, ServedModels

METRICS_MEDIA_TYPE: str = CONTENT_TYPE_LATEST
REQUEST_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0)
VERDICTS = ("pass", "constrained", "withheld")
STAGE_BUCKETS_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
BATCH_BUCKETS = (1, 2, 3, 4, 6, 8, 12, 16, 32, 64)
DELTA_E_BUCKETS = (0.5, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0, 50.0)
SHARE_BUCKETS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


class Metrics:
    """The service's metrics; one object a process, made by the composition root."""

    def __init__(self, exemplars: bool = False) -> None:
        """Declare every metric; `exemplars`: scrapers that ask for OpenMetrics, which can hold them, get it."""
        self._exemplars = exemplars
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        made: dict[str, Any] = {"registry": registry}
        by_model = ["model_digest"]
        self.requests = Counter("lamegan_requests", "Requests answered.", ["route", "method", "status", "code"], **made)
        self.request_seconds = Histogram(
            "lamegan_request_seconds", "Arrival to answer.", ["route"], buckets=REQUEST_BUCKETS_S, **made
        )
        self.in_flight = Gauge("lamegan_requests_in_flight", "Requests being received or answered.", **made)
        self.refusals = Counter("lamegan_refusals", "Requests refused without work.", ["reason"], **made)
        self.stage_seconds = Histogram(
            "lamegan_stage_seconds", "Where the time of a request goes.", ["stage"], buckets=STAGE_BUCKETS_S, **made
        )
        self.batch_size = Histogram("lamegan_batch_size", "Images in one run.", buckets=BATCH_BUCKETS, **made)
        self.queue_depth = Gauge("lamegan_queue_depth", "Accepted requests waiting for a worker.", **made)
        self.queue_capacity = Gauge("lamegan_queue_capacity", "Accepted requests that may wait.", **made)
        self.lassim = Histogram(
            "lamegan_lassim", "LaSSIM of delivered images.", by_model, buckets=LASSIM_BUCKETS, **made
        )
        self.lassim_worst = Histogram(
            "lamegan_lassim_worst", "Worst place of each delivered image.", by_model, buckets=WORST_BUCKETS, **made
        )
        self.delta_e = Histogram(
            "lamegan_delta_e_mean", "Mean CIEDE2000 to the input.", by_model, buckets=DELTA_E_BUCKETS, **made
        )
        self.verdicts = Counter("lamegan_verdicts", "Verdicts of the guardrail.", [*by_model, "verdict"], **made)
        self.blend_share = Histogram(
            "lamegan_blend_share", "Share of the input blended back.", by_model, buckets=SHARE_BUCKETS, **made
        )
        self._input_quality(made)
        self.audit_failures = Counter(
            "lamegan_audit_failures", "Photos whose line in the audit log could not be written.", **made
        )
        self.ready = Gauge("lamegan_ready", "1 when the service is ready for requests.", **made)
        self.gpu_wanted = Gauge("lamegan_gpu_wanted", "1 when the settings ask for a GPU.", **made)
        self.reloads = Counter("lamegan_model_reloads", "Reloads of the models, by outcome.", ["outcome"], **made)
        self.model_info = Gauge(
            "lamegan_model_info",
            "1 for each model in service, with the provider that runs it.",
            ["name", "version", "model_digest", "provider"],
            **made,
        )
        self.model_eight_bit = Gauge(
            "lamegan_model_eight_bit",
            "1 for a model in service whose eight-bit variant runs, 0 for one that runs in float32.",
            by_model,
            **made,
        )
        self.model_uncalibrated = Gauge(
            "lamegan_model_uncalibrated",
            "1 for a model in service whose guardrail is not calibrated, so that built-in thresholds hold; else 0.",
            by_model,
            **made,
        )
        for outcome in ("succeeded", "failed"):
            self.reloads.labels(outcome)
        gpu = Gauge("lamegan_gpu_memory_used_bytes", "Memory used on the first GPU; 0 without one.", **made)
        gpu.set_function(gpu_memory_bytes)

    def _input_quality(self, made: Mapping[str, Any]) -> None:
        """Histograms of the photos themselves, so that a new camera is told from a worse model."""
        self.input_sharpness = Histogram(
            "lamegan_input_sharpness",
            "Mean absolute Laplacian of the working image's luminance, grey levels.",
            buckets=SHARPNESS_BUCKETS,
            **made,
        )
        self.input_exposure = Histogram(
            "lamegan_input_exposure", "Mean luminance of the input, 0 to 1.", buckets=LIGHT_BUCKETS, **made
        )
        self.input_contrast = Histogram(
            "lamegan_input_contrast",
            "Standard deviation of the input's luminance, 0 to 1.",
            buckets=CONTRAST_BUCKETS,
            **made,
        )
        self.input_megapixels = Histogram(
            "lamegan_input_megapixels", "Size of the input.", buckets=MEGAPIXEL_BUCKETS, **made
        )

    def follow_models(self, facts: Callable[[], Iterable[ModelFacts]]) -> None:
        """Expose the reference distributions of whatever `facts` returns at each scrape, the default model first."""
        self.registry.register(ServedModels(facts))

    def name_models(self, models: Iterable[ModelFacts]) -> None:
        """Say which models are in service, and forget those that no longer are."""
        self.model_info.clear()
        self.model_uncalibrated.clear()
        self.model_eight_bit.clear()
        for model in models:
            self.model_uncalibrated.labels(model.digest).set(not model.calibrated)
            self.model_eight_bit.labels(model.digest).set(model.precision == "int8")
            self._start_at_zero(model.digest)
            self.model_info.labels(model.name, model.version, model.digest, model.provider).set(1)

    def _start_at_zero(self, digest: str) -> None:
        """Make the series of a model before its first photo, which a rate would not see otherwise."""
        for histogram in (self.lassim, self.lassim_worst, self.delta_e, self.blend_share):
            histogram.labels(digest)
        for verdict in VERDICTS:
            self.verdicts.labels(digest, verdict)

    def exposition(self, accept: str = "") -> tuple[bytes, str]:
        """The metrics as a scraper with this Accept header reads them, and their media type."""
        if not self._exemplars:
            return generate_latest(self.registry), METRICS_MEDIA_TYPE
        generate, media_type = choose_encoder(accept)
        return generate(self.registry), media_type

    def serve(self, host: str, port: int) -> Callable[[], None]:
        """Serve scrapes on a port of their own; what is returned stops it."""
        server, thread = start_http_server(port, host, self.registry)

        def stop() -> None:
            server.shutdown()
            server.server_close()
            if isinstance(thread, Thread):
                thread.join()

        return stop
