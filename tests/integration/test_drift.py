"""Drift as Prometheus computes it from a real service: equal to NumPy's, and told apart by cause."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest

from service.drift.measures import MEASURES, Measure
from service.drift.reference import SiteReference, write_reference
from service.drift.statistics import Comparison, compare
from tests import models
from tests.conftest import ROOT
from tests.live import Image, LiveService, encoded, scene, wait_until
from tests.prometheus import Prometheus

PHOTOS = 130
"""A few above the hundred below which the rules say nothing."""


def usual(seed: int) -> Image:
    """A photo of the usual camera: some are sharper, some lighter."""
    rng = np.random.default_rng(seed)
    photo = scene(96, 72, seed)
    grain = rng.normal(0, rng.uniform(2, 9), photo.shape)
    return np.clip(photo * rng.uniform(0.7, 1.1) + grain, 0, 255).round().astype(np.uint8)


def blurred(seed: int) -> Image:
    """The same by a camera with a dirty lens."""
    return cv2.GaussianBlur(usual(seed), (0, 0), 2.5)


USUAL = [encoded(usual(seed)) for seed in range(PHOTOS)]
BLURRED = [encoded(blurred(seed)) for seed in range(PHOTOS)]


def dashboard_queries(board: str) -> list[str]:
    """Every query of a dashboard, its variables filled in."""
    panels = json.loads((ROOT / "docker" / "grafana" / "dashboards" / f"{board}.json").read_text())["panels"]
    queries = [target["expr"] for panel in panels for target in panel.get("targets", ())]
    return [query.replace("$__rate_interval", "1m").replace("$model", ".+") for query in queries]


def counts_of(exposition: str, measure: Measure, digest: str) -> tuple[int, ...]:
    """Photos per bucket of a measure in the service's metrics, by differences of the cumulative buckets."""
    label = f',model_digest="{digest}"' if measure.per_model else ""
    lines = [line for line in exposition.splitlines() if line.startswith(f"lamegan_{measure.name}_bucket")]
    cumulative = [int(float(line.split()[-1])) for line in lines if label in line]
    return tuple(np.diff([0, *cumulative]).tolist())


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> SiteReference:
    """A reference of the usual photos, enhanced by the usual model."""
    root = tmp_path_factory.mktemp("reference-models")
    digest = models.install(root, models.brighten(12)).file.sha256
    with LiveService(root, policy="annotate") as live:
        for photo in USUAL:
            live.http.post("/enhance", content=photo).raise_for_status()
        text = live.http.get("/metrics").text
    counts = {name: counts_of(text, measure, digest) for name, measure in MEASURES.items()}
    assert all(sum(found) == PHOTOS for found in counts.values())
    more = {name: tuple(10 * count for count in found) for name, found in counts.items()}
    return SiteReference(name="site", version="1.0.0", model_digest=digest, made="2026-01-01", counts=more)


@contextmanager
def watched(
    tmp_path: Path, reference: SiteReference, photos: Sequence[bytes], *, worse: bool = False
) -> Iterator[tuple[LiveService, Prometheus]]:
    """A service that Prometheus scrapes and that was sent `photos`; `worse`: by a model that moves what it sees."""
    model = models.warp() if worse else models.brighten(12)
    digest = models.install(tmp_path / "models", model).file.sha256
    write_reference(reference.model_copy(update={"model_digest": digest}), tmp_path / "references")
    with (
        LiveService(tmp_path / "models", policy="annotate", references_dir=tmp_path / "references") as live,
        Prometheus(tmp_path / "prometheus", lamegan=[f"127.0.0.1:{live.port}"]) as prometheus,
    ):
        wait_until(lambda: bool(prometheus.query("lamegan_lassim_count == 0")))  # counting begins at nothing
        for photo in photos:
            live.http.post("/enhance", content=photo).raise_for_status()
        seen = f'lamegan_lassim_count{{model_digest="{digest}"}} == {len(photos)}'
        wait_until(lambda: bool(prometheus.query(seen)))
        wait_until(lambda: len(prometheus.query('lamegan:measure_js:bits{window="1h"}')) == len(MEASURES))
        yield live, prometheus


@pytest.fixture(scope="module")
def steady(
    tmp_path_factory: pytest.TempPathFactory, reference: SiteReference
) -> Iterator[tuple[LiveService, Prometheus]]:
    """A site where nothing changed: most photos are those of the reference."""
    photos = USUAL[: PHOTOS - 20] + BLURRED[:10]
    with watched(tmp_path_factory.mktemp("steady"), reference, photos) as (live, prometheus):
        yield live, prometheus


def test_the_photos_of_the_reference_raise_no_alert_and_the_numbers_are_numpys(
    steady: tuple[LiveService, Prometheus], reference: SiteReference
) -> None:
    live, prometheus = steady
    digest = live.service.store.card("tiny/1.0.0").file.sha256
    text = live.http.get("/metrics").text
    for name, measure in MEASURES.items():
        wanted = compare(counts_of(text, measure, digest), reference.counts[name], measure.middles)
        wait_until(lambda: _same(prometheus, name, wanted))  # noqa: B023  (waited for within the loop)
    assert prometheus.firing() <= {"LameganUncalibrated"}  # the tests' model is


@pytest.mark.parametrize("board", ["operations", "model"])
def test_every_query_of_every_dashboard_returns_data(board: str, steady: tuple[LiveService, Prometheus]) -> None:
    live, prometheus = steady
    assert live.http.post("/enhance", content=b"no photo").status_code >= 400
    queries = dashboard_queries(board)
    assert len(queries) >= 15
    for query in queries:
        wait_until(lambda: bool(prometheus.query(query)))  # noqa: B023


def test_a_blurred_camera_fires_the_input_alert_and_not_the_models(tmp_path: Path, reference: SiteReference) -> None:
    with watched(tmp_path, reference, BLURRED) as (_, prometheus):
        wait_until(lambda: "LameganInputChanged" in prometheus.firing())
        assert prometheus.firing() - {"LameganUncalibrated"} == {"LameganInputChanged"}
        assert prometheus.values('lamegan:measure_shift:zscore{measure="input_sharpness",window="1h"}')[()] < -4.5


def test_a_worse_model_fires_the_fidelity_alert_and_not_the_inputs(tmp_path: Path, reference: SiteReference) -> None:
    with watched(tmp_path, reference, USUAL, worse=True) as (_, prometheus):
        wait_until(lambda: "LameganFidelityDropped" in prometheus.firing())
        assert not any(name.startswith("LameganInput") for name in prometheus.firing())


def _same(prometheus: Prometheus, name: str, wanted: Comparison) -> bool:
    """Whether every number of a measure is NumPy's to 1e-6, in each window."""
    for series, number in (
        ("js:bits", wanted.js_bits),
        ("psi:nats", wanted.psi),
        ("mean:value", wanted.mean),
        ("shift:deviations", wanted.deviations),
    ):
        found = prometheus.values(f'lamegan:measure_{series}{{measure="{name}"}}', "window")
        if set(found) != {("10m",), ("1h",), ("1d",), ("4d",)}:
            return False
        if any(abs(value - number) > 1e-6 for value in found.values()):
            return False
    return True
