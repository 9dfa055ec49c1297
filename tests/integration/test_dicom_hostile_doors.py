"""Mutated DICOM objects through every door: HTTP, the command line, C-STORE to the gateway. None crashes, none is lost.

The reader itself takes all 2,000 in `tests/unit/test_dicom_hostile.py`; 2,000 come here by LAMEGAN_TEST_MUTATIONS.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from pynetdicom import AE

from service.dicom.conversion import DicomEnhancer
from service.engine.engine import EngineOptions
from service.pipeline import Enhancer
from service.registry.store import ModelStore
from service.serving.single_model import SingleModel
from tests import dicom_files as objects
from tests import models
from tests.gateway_parts import PATIENCE_S, Pacs, running, send_raw, to
from tests.live import LiveService, wait_until
from tests.mutated_dicom import how_many, mutations, seeds

COUNT = how_many(in_ci=300)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("models")
    models.install(folder, models.identity())
    return folder


@pytest.fixture(scope="module")
def enhancer(models_dir: Path) -> Iterator[DicomEnhancer]:
    with SingleModel(ModelStore(models_dir, None), "tiny", EngineOptions("cpu", False, 1), as_default=True) as one:
        yield DicomEnhancer(Enhancer(one))


def test_over_http_each_is_enhanced_or_refused_in_our_own_words(models_dir: Path) -> None:
    told: dict[int, int] = {}
    with LiveService(models_dir, deadline_s=120, max_pixels=1_000_000) as live:
        for body in mutations(COUNT):
            answer = live.http.post("/enhance", content=body, headers={"Content-Type": "application/dicom"})
            told[answer.status_code] = told.get(answer.status_code, 0) + 1
            if answer.status_code != 200:
                assert answer.headers["content-type"] == "application/problem+json"
                assert objects.SENTINEL not in answer.text
        assert live.http.get("/health/ready").status_code == 200
    assert sum(told.values()) == COUNT
    assert told.keys() <= {200, 400, 413, 415, 422}, told
    assert {200, 422} <= told.keys()


def test_on_the_command_line_each_is_enhanced_or_refused_by_name(tmp_path: Path, models_dir: Path) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    for number, body in enumerate(mutations(COUNT)):
        (source / f"{number:04}.dcm").write_bytes(body)
    environment = {"LAMEGAN_MODELS_DIR": str(models_dir), "LAMEGAN_MODEL": "tiny", "LAMEGAN_DEVICE": "cpu"}
    command = [sys.executable, "-m", "service.commands.main", "enhance", str(source), str(target), "--json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    told = {Path(one["input"]).name: one for one in json.loads(done.stdout)["images"]}
    assert len(told) == COUNT
    enhanced = {name for name, one in told.items() if not one.get("error")}
    assert {path.name for path in target.glob("*.dcm") if ".report" not in path.name} == enhanced
    assert "Traceback" not in done.stderr
    assert objects.SENTINEL not in done.stdout + done.stderr


def test_through_the_gateway_each_is_delivered_kept_or_a_dead_letter(tmp_path: Path, enhancer: DicomEnhancer) -> None:
    pacs, kinds, heads = Pacs(), [], []
    for body in seeds():
        whole = pydicom.dcmread(BytesIO(body))
        kinds.append((whole.SOPClassUID, whole.file_meta.TransferSyntaxUID))
        heads.append(132 + 12 + int(whole.file_meta.FileMetaInformationGroupLength))
    try:
        with running(tmp_path / "spool", to(pacs), enhancer=enhancer) as gateway:
            for kind in range(len(kinds)):
                entity = AE("SENDER")
                entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = PATIENCE_S
                entity.add_requested_context(*kinds[kind])
                association = entity.associate("127.0.0.1", gateway.port, ae_title="LAMEGAN")
                for number, body in enumerate(mutations(COUNT)):
                    if number % len(kinds) == kind:
                        dataset = body[heads[kind] :] or b"\0\0"  # without any there is no C-STORE
                        assert send_raw(association, kinds[kind][0], f"2.25.{number + 1}", dataset) == 0
                association.release()
            wait_until(lambda: sum(map(gateway.count, ("done", "kept", "dead"))) == COUNT, 4 * PATIENCE_S)
            assert gateway.count("done") > 0
            assert gateway.count("dead") > 0
            spool = gateway.gateway.spool
            reasons = {reason for _, reason in spool.set_aside_reasons()}
            assert reasons <= {"undecodable-image", "unsupported-type", "missing-image", "image-dimensions"}
            for one in spool.objects(("kept", "dead"), COUNT):
                wait_until(lambda one=one: len(spool.body(one.id)) == one.bytes, PATIENCE_S)  # type: ignore[misc]
    finally:
        pacs.stop()
