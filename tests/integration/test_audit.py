"""The audit log of a live service: a line a photo, and what happens when it cannot be written."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from service.monitoring.audit import log_files, verify
from tests import models
from tests.live import LiveService, encoded, scene

PNG = encoded(scene(96, 72))
FULL = Path("/dev/full")


def test_every_photo_has_a_line_with_digests_score_and_verdict_and_nothing_personal(tmp_path: Path) -> None:
    models.install(tmp_path / "models", models.brighten(12))
    with LiveService(tmp_path / "models", audit_dir=tmp_path / "audit") as live:
        files = {"file": ("JANE-DOE-19700101.png", PNG, "image/png")}
        answer = live.http.post("/enhance", files=files, headers={"x-request-id": "abc-1"})
        live.http.post("/enhance", content=b"no photo")
        digest = live.service.store.card("tiny/1.0.0").file.sha256
    (path,) = log_files(tmp_path / "audit")
    (line,) = map(json.loads, path.read_text().splitlines())
    assert line["model_digest"] == digest
    assert line["input_sha256"] == hashlib.sha256(PNG).hexdigest()
    assert line["output_sha256"] == hashlib.sha256(answer.content).hexdigest()
    assert f"{line['lassim']:.4f}" == answer.headers["lassim"]
    assert line["verdict"] == answer.headers["lassim-verdict"]
    assert "JANE" not in path.read_text()
    assert verify(tmp_path / "audit").faults == ()


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full here")
@pytest.mark.parametrize(("required", "status"), [(True, 503), (False, 200)])
def test_a_full_disk_refuses_photos_or_serves_them_by_setting_and_says_so(
    tmp_path: Path, required: bool, status: int
) -> None:
    models.install(tmp_path / "models", models.identity())
    with LiveService(tmp_path / "models", audit_dir=tmp_path / "audit", audit_required=required) as live:
        audit = live.service.audit
        assert audit is not None
        whole = audit._file
        with FULL.open("wb", buffering=0) as full:
            audit._file = full.fileno()
            try:
                answer = live.http.post("/enhance", content=PNG)
            finally:
                audit._file = whole
        assert answer.status_code == status
        if required:
            assert answer.json()["code"] == "audit-unavailable"
            assert int(answer.headers["retry-after"]) > 0
        assert "lamegan_audit_failures_total 1.0" in live.http.get("/metrics").text
        assert live.http.post("/enhance", content=PNG).status_code == 200
    assert verify(tmp_path / "audit").lines == 1
    assert verify(tmp_path / "audit").faults == ()
