"""Series that follow the models in service: their reference distributions, and the buckets these are in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from service.drift.measures import MEASURES

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What the metrics say of a served model.

    Attributes:
        references: photos per bucket (not cumulative) of each measure that has a reference.
        reference_name: where these are from: `card`, or `name/version` of a site's own reference.
    """

    name: str
    version: str
    digest: str
    provider: str
    calibrated: bool
    references: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    reference_name: str = "card"
    precision: str = "float32"


class ServedModels(Collector):
    """The references of the models in service at the moment of a scrape."""

    def __init__(self, facts: Callable[[], Iterable[ModelFacts]]) -> None:
        """`facts` returns the models, the default one first: photos are compared with its reference."""
        self._facts = facts

    def collect(self) -> Iterable[Metric]:
        """Every series, made anew."""
        models = list(self._facts())
        yield _histogram(models)
        yield _bucket_middles()
        yield from _shares(models)


def _histogram(models: Iterable[ModelFacts]) -> Metric:
    family = HistogramMetricFamily(
        "lamegan_lassim_reference",
        "LaSSIM on the reference's photos, in the buckets of lamegan_lassim.",
        labels=["model_digest"],
    )
    bounds = (*MEASURES["lassim"].upper_bounds, float("inf"))
    for model in models:
        if counts := model.references.get("lassim"):
            family.add_metric([model.digest], *_cumulative(bounds, counts))
    return family


def _bucket_middles() -> Metric:
    family = GaugeMetricFamily(
        "lamegan_bucket_middle",
        "The value that stands for a histogram's bucket (lower, upper] in a mean.",
        labels=["measure", "lower", "upper"],
    )
    for measure in MEASURES.values():
        for (lower, upper), middle in zip(measure.edges, measure.middles, strict=True):
            family.add_metric([measure.name, _bound(lower), _bound(upper)], middle)
    return family


def _shares(models: Iterable[ModelFacts]) -> Iterable[Metric]:
    shares = GaugeMetricFamily(
        "lamegan_reference_share",
        "Share of the reference's photos in a bucket (lower, upper].",
        labels=["measure", "model_digest", "lower", "upper"],
    )
    photos = GaugeMetricFamily(
        "lamegan_reference_photos", "Photos in the reference.", labels=["measure", "model_digest"]
    )
    info = GaugeMetricFamily(
        "lamegan_reference_info",
        "1 for the reference of each model: card, or name/version of the site's own.",
        labels=["model_digest", "reference"],
    )
    for place, model in enumerate(models):
        if model.references:
            info.add_metric([model.digest, model.reference_name], 1)
        for name, counts in model.references.items():
            measure = MEASURES[name]
            if not measure.per_model and place > 0:
                continue  # photos are not told apart by model: one reference for all, the default model's
            digest = model.digest if measure.per_model else ""
            photos.add_metric([name, digest], sum(counts))
            for (lower, upper), count in zip(measure.edges, counts, strict=True):
                shares.add_metric([name, digest, _bound(lower), _bound(upper)], count / sum(counts))
    return shares, photos, info


def _cumulative(bounds: Iterable[float], counts: Iterable[int]) -> tuple[list[tuple[str, float]], float]:
    """Cumulative buckets as they are exposed, and a sum that takes each photo at its bucket's upper bound."""
    total, weighted, buckets = 0, 0.0, []
    for bound, count in zip(bounds, counts, strict=True):
        total += count
        weighted += count * min(bound, 1.0)
        buckets.append((_bound(bound), float(total)))
    return buckets, weighted


def _bound(value: float) -> str:
    """A bucket's bound as the label `le` has it."""
    return str(floatToGoString(value))  # type: ignore[no-untyped-call]
