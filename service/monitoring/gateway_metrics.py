"""Metrics of the DICOM gateway, in a registry of their own: it is a process of its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from service.drift.measures import LASSIM_BUCKETS

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric


class SpoolFacts(Protocol):
    """What a scrape asks of the spool."""

    def counts(self) -> Mapping[Any, tuple[int, float]]:
        """Objects by state, and when the oldest of each was received."""

    def backlog(self) -> dict[tuple[str, str], tuple[int, int]]:
        """Deliveries by destination and state, and how many were refused before."""

    def set_aside_reasons(self) -> Mapping[tuple[str, str], int]:
        """Objects kept or dead, by state and reason."""

    def bytes_held(self) -> int:
        """Bytes of the originals held."""

    def free_bytes(self) -> int:
        """Bytes free on the file system."""


class _SpoolCollector(Collector):
    """Series of the spool at the moment of a scrape."""

    def __init__(self, spool: SpoolFacts) -> None:
        self._spool = spool

    def collect(self) -> Iterable[Metric]:
        objects = GaugeMetricFamily("lamegan_gateway_objects", "Objects in the spool's index.", labels=["state"])
        since = GaugeMetricFamily(
            "lamegan_gateway_oldest_timestamp_seconds",
            "When the oldest object in this state was received; 0 without any.",
            labels=["state"],
        )
        for state, (count, oldest) in self._spool.counts().items():
            objects.add_metric([state], count)
            since.add_metric([state], oldest)
        deliveries = GaugeMetricFamily(
            "lamegan_gateway_deliveries_waiting", "Deliveries in the index.", labels=["destination", "state"]
        )
        for (destination, state), (count, _) in self._spool.backlog().items():
            deliveries.add_metric([destination, state], count)
        held = GaugeMetricFamily(
            "lamegan_gateway_spool_bytes", "Bytes of originals held.", value=self._spool.bytes_held()
        )
        free = GaugeMetricFamily(
            "lamegan_gateway_spool_free_bytes", "Bytes free on the spool's file system.", value=self._spool.free_bytes()
        )
        aside = GaugeMetricFamily(
            "lamegan_gateway_set_aside", "Objects kept or dead, by reason.", labels=["state", "reason"]
        )
        for (state, reason), count in self._spool.set_aside_reasons().items():
            aside.add_metric([state, reason], count)
        yield from (objects, since, deliveries, aside, held, free)


class GatewayMetrics:
    """The gateway's metrics; one object a process."""

    def __init__(self, least_free_bytes: int = 0) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._received = Counter(
            "lamegan_gateway_received", "Objects sent to the gateway.", ["outcome"], registry=registry
        )
        self._associations = Counter(
            "lamegan_gateway_associations", "Associations asked of the gateway.", ["outcome"], registry=registry
        )
        self._finished = Counter(
            "lamegan_gateway_processed", "What became of objects in the gateway.", ["outcome"], registry=registry
        )
        self._delivered = Counter(
            "lamegan_gateway_deliveries", "Deliveries.", ["destination", "outcome"], registry=registry
        )
        self._faults = Counter(
            "lamegan_gateway_faults",
            "Refused associations (place `listener`), failures of a destination, and a clock that moved, by reason.",
            ["place", "reason"],
            registry=registry,
        )
        self._up = Gauge(
            "lamegan_gateway_destination_up",
            "1 if the destination could be reached the last time; `watch` is the watched server.",
            ["destination"],
            registry=registry,
        )
        self._lassim = Histogram(
            "lamegan_gateway_lassim", "LaSSIM of enhanced objects.", buckets=LASSIM_BUCKETS, registry=registry
        )
        self._verdicts = Counter(
            "lamegan_gateway_verdicts", "Verdicts of the guardrail.", ["model_digest", "verdict"], registry=registry
        )
        least = Gauge(
            "lamegan_gateway_spool_least_free_bytes", "Free space below which nothing is taken.", registry=registry
        )
        least.set(least_free_bytes)
        for outcome in ("stored", "duplicate", "full", "invalid"):
            self._received.labels(outcome)
        for outcome in ("accepted", "rejected", "full", "tls", "too-many-connections"):
            self._associations.labels(outcome)
        for outcome in ("enhanced", "forwarded", "kept", "dead", "retried"):
            self._finished.labels(outcome)

    def expect_faults(self, place: str, reasons: Iterable[str]) -> None:
        """Expose these at zero, so that the first one is an increase."""
        for reason in reasons:
            self._faults.labels(place, reason)

    def fault(self, place: str, reason: str) -> None:
        """Count one fault."""
        self._faults.labels(place, reason).inc()

    def follow(self, spool: SpoolFacts) -> None:
        """Expose the spool's state at each scrape."""
        self.registry.register(_SpoolCollector(spool))

    def received(self, outcome: str) -> None:
        """Count one C-STORE."""
        self._received.labels(outcome).inc()

    def association(self, outcome: str) -> None:
        """Count one association."""
        self._associations.labels(outcome).inc()

    def finished(self, outcome: str) -> None:
        """Count what became of one object."""
        self._finished.labels(outcome).inc()

    def delivered(self, destination: str, outcome: str) -> None:
        """Count one delivery."""
        self._delivered.labels(destination, outcome).inc()

    def reached(self, destination: str, *, up: bool) -> None:
        """Say whether a destination could be reached."""
        self._up.labels(destination).set(up)

    def judged(self, lassim: float, model_digest: str, verdict: str) -> None:
        """Count one enhanced object."""
        self._lassim.observe(lassim)
        self._verdicts.labels(model_digest, verdict).inc()

    def exposition(self) -> bytes:
        """The metrics as Prometheus reads them."""
        return generate_latest(self.registry)
