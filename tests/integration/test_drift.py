"""Drift as Prometheus computes it from a real service: equal to NumPy's, and told apart by cause."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest

from service.drift.measures import MEASURES, Measure
from service.drift.reference import SiteReference, read_reference, write_reference
from service.drift.statistics import Comparison, compare
from tests import models
from tests.conftest import ROOT
from tests.live import Image, LiveService, encoded, scene
from tests.prometheus import Prometheus, wait_until

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


OF_DRIFT = {
    "LameganFidelityDropped",
    "LameganFidelityChanged",
    "LameganInputChanged",
    "LameganWithheld",
    "LameganConstrained",
    "LameganDriftUnmeasured",
}
"""Alerts of what this module changes; those of speed and readiness say how busy the tests' machine is."""


def drift(*options: str | Path) -> tuple[int, str, str]:
    """Exit code, output and errors of `lamegan drift`."""
    command = [sys.executable, "-m", "service.commands.main", "drift", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def reference_file(live: LiveService) -> Path:
    """The reference that a service reads."""
    assert live.settings.references_dir
    (path,) = live.settings.references_dir.glob("*/*/reference.json")
    return path


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
    assert not prometheus.firing() & OF_DRIFT


def test_the_command_reads_the_same_numbers_from_prometheus_and_cron_sees_no_drift(
    steady: tuple[LiveService, Prometheus],
) -> None:
    live, prometheus = steady
    code, told, _ = drift(
        "--prometheus", prometheus.url, "--window", "1h", "--reference", reference_file(live), "--json"
    )
    found = json.loads(told)
    assert (code, found["drift"]) == (0, False)
    assert found["model_digest"] == live.service.store.card("tiny/1.0.0").file.sha256
    recorded = prometheus.values('lamegan:measure_js:bits{window="1h"}', "measure")
    assert {(name,) for name in found["measures"]} == set(recorded)
    for name, one in found["measures"].items():
        assert one["js_bits"] == pytest.approx(recorded[(name,)], abs=1e-6)


def test_a_reference_is_made_of_what_a_real_prometheus_kept(
    steady: tuple[LiveService, Prometheus], tmp_path: Path
) -> None:
    live, prometheus = steady
    digest = live.service.store.card("tiny/1.0.0").file.sha256
    options = ["--prometheus", prometheus.url, "--days", "1", "--model-digest", digest, "--name", "site"]
    command = [sys.executable, "-m", "model_training.cli", "reference", *options, "--out", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    made = read_reference(tmp_path / "site" / "1.0.0" / "reference.json")
    text = live.http.get("/metrics").text
    assert set(made.counts) == set(MEASURES)
    for name, measure in MEASURES.items():
        seen, kept = np.array(counts_of(text, measure, digest)), np.array(made.counts[name])
        # `increase` extends by up to half the scrapes' interval at both ends: with two scrapes it doubles. Shares hold.
        assert 0.95 <= kept.sum() / seen.sum() <= 2.05
        assert np.abs(kept - seen * kept.sum() / seen.sum()).max() <= 2, name


def test_the_command_tells_drift_by_exit_code_1_and_what_cannot_be_told_by_2(tmp_path: Path) -> None:
    (tmp_path / "first.csv").write_text("lassim\n" + "0.9\n0.95\n" * 700)
    (tmp_path / "now.csv").write_text("lassim\n" + "0.8\n0.85\n" * 100)
    made = ["--csv", tmp_path / "first.csv", "--model-digest", "a" * 64, "--name", "site", "--out", tmp_path]
    subprocess.run([sys.executable, "-m", "model_training.cli", "reference", *made], capture_output=True, check=True)
    reference = tmp_path / "site" / "1.0.0" / "reference.json"
    code, told, _ = drift("--csv", tmp_path / "now.csv", "--reference", reference)
    assert (code, "Drift in lassim." in told) == (1, True)
    code, told, _ = drift("--csv", tmp_path / "first.csv", "--reference", reference)
    assert (code, "No drift." in told) == (0, True)
    code, told, error = drift("--csv", tmp_path / "absent.csv", "--reference", reference)
    assert (code, told) == (2, "")
    assert error.startswith("lamegan: ")


@pytest.mark.parametrize("board", ["operations", "model"])
def test_every_query_of_every_dashboard_returns_data(board: str, steady: tuple[LiveService, Prometheus]) -> None:
    live, prometheus = steady
    assert live.http.post("/enhance", content=b"no photo").status_code >= 400
    queries = dashboard_queries(board)
    assert len(queries) >= 15
    for query in queries:
        wait_until(lambda: bool(prometheus.query(query)))  # noqa: B023


def test_a_blurred_camera_fires_the_input_alert_and_not_the_models(tmp_path: Path, reference: SiteReference) -> None:
    with watched(tmp_path, reference, BLURRED) as (live, prometheus):
        wait_until(lambda: "LameganInputChanged" in prometheus.firing())
        assert prometheus.firing() & OF_DRIFT == {"LameganInputChanged"}
        assert prometheus.values('lamegan:measure_shift:zscore{measure="input_sharpness",window="1h"}')[()] < -4.5
        options = ("--prometheus", prometheus.url, "--window", "1h", "--reference", reference_file(live))
        code, told, _ = drift(*options, "--plot", tmp_path / "drift.png")
        assert code == 1
        assert "input_sharpness" in told.splitlines()[-1]
        assert (tmp_path / "drift.png").read_bytes().startswith(b"\x89PNG")


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
