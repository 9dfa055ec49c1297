"""What the compose profile `pacs` runs, with its configuration files as they are: Debian's Orthanc and the gateway."""

from __future__ import annotations

import email
import json
import os
import shutil
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
import pytest
import yaml

from tests import dicom_files as objects
from tests.conftest import ROOT

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
SCRIPT = Path(__file__).with_name("pacs_profile.sh")


def test_the_profile_mounts_what_is_tested_here() -> None:
    orthanc, gateway = COMPOSE["orthanc"], COMPOSE["gateway"]
    assert "./docker/orthanc.json:/etc/orthanc-trial/orthanc.json:ro" in orthanc["volumes"]
    assert [one["target"] for one in orthanc["secrets"]] == ["/etc/orthanc-trial/users.json"]
    assert "./docker/gateway.toml:/etc/lamegan/gateway.toml:ro" in gateway["volumes"]
    assert gateway["environment"]["LAMEGAN_GATEWAY_FILE"] == "/etc/lamegan/gateway.toml"
    assert {"pacs"} <= {*orthanc["networks"]} & {*gateway["networks"]}
    dockerfile = (ROOT / "docker" / "orthanc.Dockerfile").read_text()
    assert 'CMD ["Orthanc", "/etc/orthanc-trial"]' in dockerfile
    assert "\nUSER 10002:10002\n" in dockerfile
    storage = json.loads((ROOT / "docker" / "orthanc.json").read_text())["StorageDirectory"]
    assert f"orthanc:{storage}" in orthanc["volumes"]


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root")
def test_an_object_sent_to_the_profile_is_found_enhanced_in_its_orthanc(tmp_path: Path) -> None:
    for seed in (1, 2):
        made = objects.endoscopic(seed, StudyInstanceUID="2.25.4711", SeriesInstanceUID="2.25.4712")
        (tmp_path / f"{seed}.dcm").write_bytes(objects.as_file(made))
    (tmp_path / "etc-orthanc-trial").mkdir()
    shutil.copy(ROOT / "docker" / "orthanc.json", tmp_path / "etc-orthanc-trial")
    (tmp_path / "etc-orthanc-trial" / "users.json").write_text('{"RegisteredUsers": {"trial": "trial"}}')
    shutil.copy(ROOT / "docker" / "gateway.toml", tmp_path)
    tmp_path.chmod(0o755)
    isolated = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child"]
    command = [*isolated, "sh", SCRIPT, tmp_path, ROOT, sys.executable]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    logs = "".join(path.read_text(errors="replace") for path in tmp_path.glob("*.log"))
    assert done.returncode == 0, done.stderr + logs
    assert (tmp_path / "stranger").read_text() == "401"
    found = json.loads((tmp_path / "qido.json").read_text())
    classes = sorted(one["00080016"]["Value"][0] for one in found)
    endoscopic, report = "1.2.840.10008.5.1.4.1.1.77.1.1", "1.2.840.10008.5.1.4.1.1.88.34"
    assert classes == [endoscopic] * 4 + [report] * 2
    derived = [one for one in parts((tmp_path / "wado.multipart").read_bytes()) if one.ImageType[0] == "DERIVED"]
    assert len(derived) == 2
    assert {one.SourceImageSequence[0].ReferencedSOPInstanceUID for one in derived} == {"2.25.9001", "2.25.9002"}
    told = json.loads((tmp_path / "status.json").read_text())
    assert told["faults"] == []


def parts(multipart: bytes) -> list[Any]:
    """The image objects of a WADO-RS response."""
    boundary = multipart.split(b"\r\n", 1)[0].removeprefix(b"--").decode()
    head = f'Content-Type: multipart/related; boundary="{boundary}"\r\n\r\n'.encode()
    bodies = [part.get_payload(decode=True) for part in email.message_from_bytes(head + multipart).walk()]
    read = [pydicom.dcmread(BytesIO(body)) for body in bodies if body]
    return [one for one in read if "ImageType" in one]
