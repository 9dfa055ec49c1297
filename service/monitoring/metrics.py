"""Every metric of the service, in one registry that the composition root makes; names by Prometheus conventions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from threading import Thread
from typing import TYPE_CHECKING, Any

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
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector

from service.monitoring.gpu import gpu_memory_bytes

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

METRICS_MEDIA_TYPE: str = CONTENT_TYPE_LATEST
REQUEST_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0)
STAGE_BUCKETS_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
BATCH_BUCKETS = (1, 2, 3, 4, 6, 8, 12, 16, 32, 64)
WORST_BUCKETS = (-0.5, 0.0, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0)
DELTA_E_BUCKETS = (0.5, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0, 50.0)
SHARE_BUCKETS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
SHARPNESS_BUCKETS = (0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0)
LIGHT_BUCKETS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7, 0.8, 0.9)
CONTRAST_BUCKETS = (0.02, 0.04, 0.06, 0.08, 0.1, 0.12, 0.15, 0.18, 0.21, 0.25, 0.3, 0.4)
MEGAPIXEL_BUCKETS = (0.1, 0.15, 0.3, 0.5, 1.0, 2.1, 4.0, 8.3, 12.5, 25.0, 50.0)


@dataclass(frozen=True, slots=True)
class ReferenceDistribution:
    """LaSSIM of a model on held-out images: bucket bounds, and counts with one more for +Inf (not cumulative)."""

    digest: str
    upper_bounds: tuple[float, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What the metrics say of a served model."""

    name: str
    version: str
    digest: str
    provider: str
    calibrated: bool
    reference: ReferenceDistribution | None = None


class _ServedModels(Collector):
    """Series that follow the models in service at the moment of a scrape."""

    def __init__(self, facts: Callable[[], Iterable[ModelFacts]]) -> None:
        self._facts = facts

    def collect(self) -> Iterable[Metric]:
        family = HistogramMetricFamily(
            "lamegan_lassim_reference",
            "LaSSIM on the held-out images of the model card, in the buckets of lamegan_lassim.",
            labels=["model_digest"],
        )
        for model in self._facts():
            if model.reference is not None:
                family.add_metric([model.digest], *_cumulative(model.reference))
        yield family


def _cumulative(reference: ReferenceDistribution) -> tuple[list[tuple[str, float]], float]:
    """Cumulative buckets as they are exposed, and a sum that takes each image at its bucket's upper bound."""
    total, weighted, buckets = 0, 0.0, []
    for bound, count in zip((*reference.upper_bounds, float("inf")), reference.counts, strict=True):
        total += count
        weighted += count * min(bound, 1.0)
        buckets.append(("+Inf" if bound == float("inf") else repr(float(bound)), float(total)))
    return buckets, weighted


class Metrics:
    """The service's metrics; one object a process, made by the composition root."""

    def __init__(self, lassim_buckets: tuple[float, ...]) -> None:
        """Declare every metric; `lassim_buckets` are those of the model cards' reference distributions."""
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
            "lamegan_lassim", "LaSSIM of delivered images.", by_model, buckets=lassim_buckets, **made
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
        self.ready = Gauge("lamegan_ready", "1 when the service is ready for requests.", **made)
        self.gpu_wanted = Gauge("lamegan_gpu_wanted", "1 when the settings ask for a GPU.", **made)
        self.reloads = Counter("lamegan_model_reloads", "Reloads of the models, by outcome.", ["outcome"], **made)
        self.model_info = Gauge(
            "lamegan_model_info",
            "1 for each model in service, with the provider that runs it.",
            ["name", "version", "model_digest", "provider"],
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
        """Expose the reference distribution of whatever `facts` answers at each scrape."""
        self.registry.register(_ServedModels(facts))

    def name_models(self, models: Iterable[ModelFacts]) -> None:
        """Say which models are in service, and forget those that no longer are."""
        self.model_info.clear()
        self.model_uncalibrated.clear()
        for model in models:
            self.model_uncalibrated.labels(model.digest).set(not model.calibrated)
            self.model_info.labels(model.name, model.version, model.digest, model.provider).set(1)

    def exposition(self) -> bytes:
        """The metrics as Prometheus reads them."""
        return generate_latest(self.registry)

    def serve(self, host: str, port: int) -> Callable[[], None]:
        """Answer scrapes on a port of their own; the answer stops it."""
        server, thread = start_http_server(port, host, self.registry)

        def stop() -> None:
            server.shutdown()
            server.server_close()
            if isinstance(thread, Thread):
                thread.join()

        return stop
