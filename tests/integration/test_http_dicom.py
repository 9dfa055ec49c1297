"""DICOM on POST /enhance and on the command line."""

from __future__ import annotations

import base64
import email
import email.policy
import json
import subprocess
import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest

from tests import dicom_files as objects
from tests import models
from tests.live import LiveService, decoded, encoded, scene

DICOM = {"Content-Type": "application/dicom"}


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveService]:
    folder = tmp_path_factory.mktemp("models")
    models.install(folder, models.brighten())
    with LiveService(folder, deadline_s=120) as service:
        yield service


@pytest.fixture(scope="module")
def withholding(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveService]:
    folder = tmp_path_factory.mktemp("models")
    models.install(folder, models.colour_shift(), floors=models.STRICT)
    with LiveService(folder, policy="withhold", deadline_s=120) as service:
        yield service


BODY = objects.as_file(objects.endoscopic())


def test_an_object_is_answered_by_the_derived_object_with_the_score_in_the_headers(live: LiveService) -> None:
    answer = live.http.post("/enhance", content=BODY, headers=DICOM)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/dicom"
    assert answer.headers["dicom-object"] == "image"
    assert answer.headers["lassim-verdict"] == "pass"
    made = pydicom.dcmread(BytesIO(answer.content))
    assert made.StudyInstanceUID == pydicom.dcmread(BytesIO(BODY)).StudyInstanceUID
    assert np.abs(made.pixel_array.astype(int) - scene(96, 64, 1)).max() <= 13
    assert live.http.post("/enhance", content=BODY).content == answer.content
    assert live.http.post("/enhance", files={"file": ("x.dcm", BODY, "application/dicom")}).content == answer.content


def test_image_and_report_come_together_where_accept_asks_for_both(live: LiveService) -> None:
    accept = {"Accept": 'multipart/related; type="application/dicom"'}
    answer = live.http.post("/enhance", content=BODY, headers={**DICOM, **accept})
    head = f"Content-Type: {answer.headers['content-type']}\r\n\r\n".encode()
    message = email.message_from_bytes(head + answer.content, policy=email.policy.HTTP)
    image, report = (part.get_payload(decode=True) for part in message.iter_parts())
    assert pydicom.dcmread(BytesIO(image)).Modality == "ES"
    assert pydicom.dcmread(BytesIO(report)).Modality == "SR"


def test_json_holds_image_and_report(live: LiveService) -> None:
    answer = live.http.post("/enhance", content=BODY, headers={**DICOM, "Accept": "application/json"}).json()
    assert answer["image"]["media_type"] == answer["report"]["media_type"] == "application/dicom"
    image, report = (base64.b64decode(answer[name]["base64"]) for name in ("image", "report"))
    assert pydicom.dcmread(BytesIO(image)).Modality == "ES"
    assert pydicom.dcmread(BytesIO(report)).Modality == "SR"
    assert (answer["image"]["width"], answer["image"]["height"]) == (96, 64)


def test_an_image_format_asked_for_gives_the_first_frame_as_a_photo(live: LiveService) -> None:
    answer = live.http.post("/enhance?format=png", content=objects.as_file(objects.multi_frame()), headers=DICOM)
    assert answer.headers["content-type"] == "image/png"
    assert decoded(answer.content).shape == (64, 96, 3)


def test_what_is_withheld_answers_with_the_report(withholding: LiveService) -> None:
    answer = withholding.http.post("/enhance", content=BODY, headers=DICOM)
    assert answer.headers["lassim-verdict"] == "withheld"
    assert answer.headers["dicom-object"] == "report"
    assert pydicom.dcmread(BytesIO(answer.content)).Modality == "SR"
    told = withholding.http.post("/enhance", content=BODY, headers={**DICOM, "Accept": "application/json"}).json()
    assert base64.b64decode(told["image"]["base64"]) == BODY


def test_bytes_and_declared_type_have_to_agree(live: LiveService) -> None:
    for content, declared in ((BODY, "image/png"), (encoded(scene()), "application/dicom")):
        answer = live.http.post("/enhance", content=content, headers={"Content-Type": declared})
        assert (answer.status_code, answer.json()["code"]) == (415, "unsupported-type")
    assert "application/dicom" in live.http.get("/capabilities").json()["formats"]["input"]


def lamegan(models_dir: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "service.commands.main", *map(str, arguments)],
        env={"LAMEGAN_MODELS_DIR": str(models_dir), "LAMEGAN_MODEL": "tiny", "LAMEGAN_DEVICE": "cpu"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_line_takes_an_object_and_a_folder_of_objects_and_photos(tmp_path: Path, live: LiveService) -> None:
    inputs, outputs = tmp_path / "in", tmp_path / "out"
    (inputs / "study").mkdir(parents=True)
    (inputs / "study" / "IM0001").write_bytes(objects.as_file(objects.photographic(2)))
    (inputs / "x.dcm").write_bytes(BODY)
    (inputs / "other.dcm").write_bytes(objects.as_file(objects.endoscopic(SOPClassUID="1.2.840.10008.5.1.4.1.1.2")))
    one = lamegan(live.settings.models_dir, "enhance", inputs / "x.dcm", tmp_path / "y.dcm")
    assert one.returncode == 0, one.stderr
    assert pydicom.dcmread(tmp_path / "y.dcm").ImageType[0] == "DERIVED"
    assert pydicom.dcmread(tmp_path / "y.report.dcm").Modality == "SR"
    many = lamegan(live.settings.models_dir, "enhance", inputs, outputs, "--json")
    assert many.returncode == 1
    assert {path.relative_to(outputs).as_posix() for path in outputs.rglob("*.dcm")} == {
        *("x.dcm", "x.report.dcm", "study/IM0001.dcm", "study/IM0001.report.dcm"),
    }
    facts = {Path(image["input"]).name: image for image in json.loads(many.stdout)["images"]}
    assert facts["x.dcm"]["verdict"] == "pass"
    assert "CT Image Storage" in facts["other.dcm"]["error"]
    assert objects.SENTINEL not in many.stdout + many.stderr
    beside = lamegan(live.settings.models_dir, "enhance", inputs / "x.dcm")
    assert beside.returncode == 0
    assert (inputs / "x.enhanced.dcm").exists()
    assert (inputs / "x.report.enhanced.dcm").exists()
    shown = lamegan(live.settings.models_dir, "enhance", inputs / "x.dcm", tmp_path / "y.png")
    assert shown.returncode == 0, shown.stderr
    assert decoded((tmp_path / "y.png").read_bytes()).shape == (64, 96, 3)
