"""/metrics as Prometheus reads it: clean by its own tool, and true."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.drift.measures import LASSIM_BUCKETS
from service.registry.card import read_card
from tests import models
from tests.live import LiveService, encoded, scene

PNG = encoded(scene(160, 120))


@pytest.fixture
def live(tmp_path: Path) -> Iterator[LiveService]:
    models.install(tmp_path, models.brighten(12), "tiny", "1.0.0")
    models.install(tmp_path, models.identity(), "tiny", "2.0.0")
    models.install(tmp_path, models.noise(), "other", "1.0.0", floors=models.STRICT)
    with LiveService(tmp_path) as service:
        yield service


def value(text: str, series: str) -> float:
    """The value of exactly this series."""
    match = re.search(rf"^{re.escape(series)} (\S+)$", text, re.MULTILINE)
    assert match, f"no series {series}"
    return float(match[1])


def test_promtool_finds_nothing(live: LiveService) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not here (Debian package prometheus)")
    live.http.post("/enhance", content=PNG)
    live.http.post("/enhance", content=b"")
    text = live.http.get("/metrics").content
    checked = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, check=False)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


def test_requests_stages_scores_and_inputs_are_counted(live: LiveService) -> None:
    for _ in range(3):
        assert live.http.post("/enhance", content=PNG).status_code == 200
    assert live.http.post("/enhance?model=other&policy=withhold", content=PNG).headers["lassim-verdict"] == "withheld"
    live.http.post("/enhance?quality=0", content=PNG)
    live.http.get("/wp-login.php")
    live.http.get("/page/page.js")
    live.http.get("/page/made-up")
    text = live.http.get("/metrics").text
    route = 'method="POST",route="/enhance"'
    assert value(text, f'lamegan_requests_total{{code="ok",{route},status="200"}}') == 4
    assert value(text, f'lamegan_requests_total{{code="invalid-parameter",{route},status="422"}}') == 1
    unmatched = 'lamegan_requests_total{code="not-found",method="GET",route="unmatched",status="404"}'
    assert value(text, unmatched) == 1
    assert value(text, 'lamegan_requests_total{code="ok",method="GET",route="/page/",status="200"}') == 1
    assert value(text, 'lamegan_requests_total{code="not-found",method="GET",route="/page/",status="404"}') == 1
    assert value(text, 'lamegan_request_seconds_count{route="/enhance"}') == 5
    for stage in ("decode", "queue", "infer", "transfer", "score", "encode"):
        assert value(text, f'lamegan_stage_seconds_count{{stage="{stage}"}}') == 4
    assert value(text, "lamegan_batch_size_count") >= 4
    tiny = live.service.store.card("tiny/2.0.0").file.sha256
    other = live.service.store.card("other/1.0.0").file.sha256
    assert value(text, f'lamegan_lassim_count{{model_digest="{tiny}"}}') == 3
    assert value(text, f'lamegan_verdicts_total{{model_digest="{tiny}",verdict="pass"}}') == 3
    assert value(text, f'lamegan_verdicts_total{{model_digest="{other}",verdict="withheld"}}') == 1
    assert value(text, f'lamegan_blend_share_sum{{model_digest="{other}"}}') == 1
    for quality in ("sharpness", "exposure", "contrast", "megapixels"):
        assert value(text, f"lamegan_input_{quality}_count") == 4
    assert value(text, "lamegan_queue_capacity") == live.settings.queue_capacity
    assert value(text, "lamegan_queue_depth") == 0
    assert value(text, "lamegan_ready") == 1
    assert value(text, "lamegan_gpu_wanted") == 0
    assert value(text, "process_resident_memory_bytes") > 0


def test_the_reference_distribution_has_the_buckets_of_the_scores(live: LiveService) -> None:
    live.http.post("/enhance", content=PNG)
    text = live.http.get("/metrics").text
    card = live.service.store.card("tiny/2.0.0")
    assert card.lassim.reference is not None
    digest = card.file.sha256
    bounds = {
        name: re.findall(rf'^{name}_bucket{{le="([^"]+)",model_digest="{digest}"}}', text, re.MULTILINE)
        for name in ("lamegan_lassim", "lamegan_lassim_reference")
    }
    assert bounds["lamegan_lassim"] == bounds["lamegan_lassim_reference"]
    assert [float(bound) for bound in bounds["lamegan_lassim"]] == [*LASSIM_BUCKETS, float("inf")]
    total = value(text, f'lamegan_lassim_reference_bucket{{le="+Inf",model_digest="{digest}"}}')
    assert total == sum(card.lassim.reference.counts)


def test_models_in_service_are_named_with_their_provider_and_reloads_are_counted(live: LiveService) -> None:
    def info(reference: str) -> str:
        card = read_card(live.settings.models_dir / reference / "card.json")
        return (
            f'lamegan_model_info{{model_digest="{card.file.sha256}",name="{card.name}",provider="cpu",'
            f'version="{card.version}"}}'
        )

    text = live.http.get("/metrics").text
    assert value(text, info("tiny/2.0.0")) == 1
    assert value(text, info("other/1.0.0")) == 1
    assert info("tiny/1.0.0") not in text
    assert value(text, 'lamegan_model_reloads_total{outcome="succeeded"}') == 2
    live.service.store.activate("tiny/1.0.0")
    live.service.load_models()
    text = live.http.get("/metrics").text
    assert value(text, info("tiny/1.0.0")) == 1
    assert info("tiny/2.0.0") not in text
    assert value(text, 'lamegan_model_reloads_total{outcome="succeeded"}') == 3
    assert value(text, 'lamegan_model_reloads_total{outcome="failed"}') == 0
