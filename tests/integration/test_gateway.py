"""The gateway between real DICOM software: DCMTK sends, Orthanc stores, and what arrives is what has to."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pydicom
import pytest
from dicomweb_client.api import DICOMwebClient

from tests import dicom_files as objects
from tests import models
from tests.live import decoded, wait_until

PATIENCE_S = 240.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Orthanc:
    """A real Orthanc with its DICOMweb plug-in, on free ports, that knows the gateway as LAMEGAN."""

    def __init__(self, folder: Path, gateway_port: int) -> None:
        self.http_port, self.dicom_port = free_port(), free_port()
        folder.mkdir()
        plugins = [*Path("/usr/share/orthanc/plugins").glob("libOrthancDicomWeb.so*")]
        assert plugins, "orthanc-dicomweb is not installed"
        (folder / "orthanc.json").write_text(
            json.dumps(
                {
                    "Name": "test",
                    "StorageDirectory": str(folder / "storage"),
                    "IndexDirectory": str(folder / "storage"),
                    "HttpPort": self.http_port,
                    "DicomPort": self.dicom_port,
                    "DicomAet": "ORTHANC",
                    "DicomAlwaysAllowStore": True,
                    "DicomAlwaysAllowFind": True,
                    "DicomModalities": {"lamegan": ["LAMEGAN", "127.0.0.1", gateway_port]},
                    "RemoteAccessAllowed": False,
                    "AuthenticationEnabled": False,
                    "ConcurrentJobs": 2,
                    "Plugins": [str(plugins[0])],
                    "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
                }
            )
        )
        self._folder = folder
        self.url = f"http://127.0.0.1:{self.http_port}"
        self.web = f"{self.url}/dicom-web"
        self.http = httpx.Client(base_url=self.url, timeout=60, trust_env=False)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self._folder / "log").open("ab") as log:
            self.process = subprocess.Popen(["Orthanc", str(self._folder / "orthanc.json")], stdout=log, stderr=log)
        wait_until(self._answers, PATIENCE_S)

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(60)
            self.process = None
        self.http.close()

    def _answers(self) -> bool:
        try:
            return self.http.get("/system").status_code == 200
        except httpx.HTTPError:
            return False

    def instances(self) -> list[bytes]:
        return [self.http.get(f"/instances/{one}/file").content for one in self.http.get("/instances").json()]


class Gateway:
    """`lamegan gateway` in a process of its own."""

    def __init__(self, folder: Path, models_dir: Path, port: int, rest: str, **listen: object) -> None:
        self.port, self.monitor_port, self.folder = port, free_port(), folder
        self.file = folder / "gateway.toml"
        self.spool = folder / "spool"
        self.log = folder / "gateway.log"
        folder.mkdir(exist_ok=True)
        given = {"ae_title": "LAMEGAN", "port": port, "allowed_calling": ["STORESCU"], **listen}
        lines = "\n".join(f"{name} = {json.dumps(value)}" for name, value in given.items())
        self.file.write_text(
            f"[listen]\n{lines}\n[spool]\nfolder = {json.dumps(str(self.spool))}\nleast_free_bytes = 1000000\n"
            f"[monitor]\nport = {self.monitor_port}\n{rest}"
        )
        self._environment = {
            **os.environ,
            "LAMEGAN_MODELS_DIR": str(models_dir),
            "LAMEGAN_MODEL": "tiny",
            "LAMEGAN_DEVICE": "cpu",
        }
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.log.touch()
        before = self.log.read_text().count("gateway started")
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self._command(), env=self._environment, stderr=log, stdout=log)
        running = self.process
        wait_until(
            lambda: running.poll() is not None or self.log.read_text().count("gateway started") > before, PATIENCE_S
        )
        assert running.poll() is None, self.log.read_text()

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(60)

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(120)

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        given = [*self._command()[:4], *arguments, "--config", str(self.file)]
        return subprocess.run(given, env=self._environment, capture_output=True, text=True, check=False)

    def status(self) -> dict[str, Any]:
        answer = httpx.get(f"http://127.0.0.1:{self.monitor_port}/gateway.json", timeout=60, trust_env=False)
        told: dict[str, Any] = answer.json()
        return told

    def page(self, path: str) -> str:
        return httpx.get(f"http://127.0.0.1:{self.monitor_port}{path}", timeout=60, trust_env=False).text

    def count(self, state: str) -> int:
        return int(self.status()["objects"][state]["count"])

    def _command(self) -> list[str]:
        return [sys.executable, "-m", "service.commands.main", "gateway", "--config", str(self.file)]


def send(port: int, *files: Path, calling: str = "STORESCU", called: str = "LAMEGAN") -> int:
    command = ["storescu", "-R", "-aet", calling, "-aec", called, "-xe", "127.0.0.1", str(port), *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    sys.stderr.write(done.stderr)  # pytest shows it where the test fails
    return done.returncode


@pytest.fixture(scope="module")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    models.install(folder, models.brighten())
    return folder


def study_files(folder: Path, count: int = 3) -> list[Path]:
    """A study of `count` endoscopic images in one series."""
    folder.mkdir(exist_ok=True)
    files = []
    for seed in range(1, count + 1):
        made = objects.endoscopic(seed, StudyInstanceUID="2.25.4711", SeriesInstanceUID="2.25.4712")
        files.append(folder / f"{seed}.dcm")
        files[-1].write_bytes(objects.as_file(made))
    return files


def retrieved(orthanc: Orthanc) -> set[str]:
    """SOP instance UIDs of what WADO-RS gives for the study."""
    client = DICOMwebClient(url=orthanc.web)
    return {str(one.SOPInstanceUID) for one in client.retrieve_study("2.25.4711")}


def dimse(orthanc: Orthanc, confirm: str = "auto") -> str:
    return (
        '[[destination]]\nname = "pacs"\nkind = "dimse"\nae_title = "ORTHANC"\nhost = "127.0.0.1"\n'
        f'port = {orthanc.dicom_port}\nconfirm = "{confirm}"\n[work]\nfirst_wait_s = 0.5\nlongest_wait_s = 2\n'
    )


def stow(orthanc: Orthanc) -> str:
    return (
        f'[[destination]]\nname = "web"\nkind = "stow"\nurl = "{orthanc.web}"\n'
        "[work]\nfirst_wait_s = 0.5\nlongest_wait_s = 2\n"
    )


@contextmanager
def running(*parts: Orthanc | Gateway) -> Iterator[None]:
    try:
        for part in parts:
            part.start()
        yield
    finally:
        for part in reversed(parts):
            part.stop()


@pytest.mark.parametrize("way", ["commitment", "look", "stow"])
def test_a_study_sent_to_the_gateway_arrives_enhanced_in_orthanc_once(
    way: str, tmp_path: Path, models_dir: Path
) -> None:
    port = free_port()
    orthanc = Orthanc(tmp_path / "orthanc", port)
    rest = stow(orthanc) if way == "stow" else dimse(orthanc, way)
    gateway = Gateway(tmp_path / "gateway", models_dir, port, rest)
    files = study_files(tmp_path / "study")
    originals = [path.read_bytes() for path in files]
    with running(orthanc, gateway):
        echo = ["echoscu", "-aet", "STORESCU", "-aec", "LAMEGAN", "127.0.0.1", str(port)]
        assert subprocess.run(echo, check=False).returncode == 0
        assert send(orthanc.dicom_port, *files, called="ORTHANC") == 0
        before = set(orthanc.instances())
        senders = [
            subprocess.Popen(
                ["storescu", "-aet", "STORESCU", "-aec", "LAMEGAN", "127.0.0.1", str(port), *map(str, files)]
            )
            for _ in range(2)
        ]
        assert [sender.wait(PATIENCE_S) for sender in senders] == [0, 0]
        for _ in range(3):
            assert send(port, *files) == 0
        wait_until(lambda: gateway.count("done") == len(files), PATIENCE_S)
        stored = [pydicom.dcmread(BytesIO(body)) for body in orthanc.instances()]
        found = orthanc.http.get("/dicom-web/studies/2.25.4711/instances").json()
        assert len(found) == len(stored) == 3 * len(files)
        derived = [one for one in stored if one.Modality == "ES" and one.ImageType[0] == "DERIVED"]
        reports = [one for one in stored if one.Modality == "SR"]
        assert len(derived) == len(reports) == len(files)
        sources = {one.SOPInstanceUID: one for one in (pydicom.dcmread(BytesIO(body)) for body in originals)}
        for one in derived:
            source = sources[one.SourceImageSequence[0].ReferencedSOPInstanceUID]
            assert np.abs(one.pixel_array.astype(int) - source.pixel_array).max() <= 13
            assert one.PatientName == source.PatientName
        assert len(before) == len(files)
        assert before <= set(orthanc.instances())  # the originals are bit for bit what they were
        for body in originals:
            assert body[-len(sources[pydicom.dcmread(BytesIO(body)).SOPInstanceUID].PixelData) :] in b"".join(before)
        assert retrieved(orthanc) == {one.SOPInstanceUID for one in stored}
        for one in derived:
            (found,) = orthanc.http.post("/tools/lookup", content=str(one.SOPInstanceUID)).json()
            shown = orthanc.http.get(f"/instances/{found['ID']}/preview", headers={"Accept": "image/png"})
            assert np.array_equal(decoded(shown.content), one.pixel_array)
        told = [gateway.command("status").stdout, gateway.command("status", "--json").stdout]
        told += [gateway.page(path) for path in ("/gateway", "/metrics", "/gateway.json")]
    assert 'lamegan_gateway_received_total{outcome="duplicate"}' in told[3]
    assert not list((gateway.spool / "objects").iterdir())
    for text in (gateway.log.read_text(), *told):
        assert objects.SENTINEL not in text


def test_what_comes_back_or_is_not_served_or_is_damaged_is_neither_enhanced_nor_lost(
    tmp_path: Path, models_dir: Path
) -> None:
    port = free_port()
    orthanc = Orthanc(tmp_path / "orthanc", port)
    rest = dimse(orthanc).replace("[work]", '[work]\nunserved = "forward"')
    gateway = Gateway(tmp_path / "gateway", models_dir, port, rest)
    (source,) = study_files(tmp_path / "study", 1)
    other = tmp_path / "ct.dcm"
    other.write_bytes(objects.as_file(objects.endoscopic(7, SOPClassUID="1.2.840.10008.5.1.4.1.1.2", Modality="CT")))
    damaged = tmp_path / "damaged.dcm"
    damaged.write_bytes(objects.as_file(objects.endoscopic(8, PixelData=b"\0\0")))
    with running(orthanc, gateway):
        assert send(port, source) == 0
        wait_until(lambda: gateway.count("done") == 1, PATIENCE_S)
        for number, body in enumerate(orthanc.instances()):
            (tmp_path / f"back{number}.dcm").write_bytes(body)
        assert send(port, *tmp_path.glob("back*.dcm"), other, damaged) == 0
        wait_until(
            lambda: (gateway.count("kept"), gateway.count("dead"), gateway.count("done")) == (2, 1, 2), PATIENCE_S
        )
        assert len(orthanc.instances()) == 3
        (letter,) = gateway.status()["dead"]
        assert letter["reason"] == "undecodable-image"
        grave = gateway.spool / "dead" / str(letter["id"])
        wait_until((grave / "original.dcm").exists, PATIENCE_S)  # the row says `dead` before the files are moved
        assert send(port, source, calling="STRANGER") != 0
        assert send(port, source, called="SOMEBODY") != 0
        retried = gateway.command("retry")
        assert retried.returncode == 0, retried.stderr
        assert retried.stdout.startswith("1 dead")
        wait_until(lambda: gateway.count("dead") == 1, PATIENCE_S)
        wait_until(lambda: 'associations_total{outcome="rejected"} 2.0' in gateway.page("/metrics"), PATIENCE_S)
        assert {one["reason"] for one in gateway.status()["kept"]} == {"own-output"}


def test_a_pacs_that_is_down_gets_everything_when_it_is_back(tmp_path: Path, models_dir: Path) -> None:
    port = free_port()
    orthanc = Orthanc(tmp_path / "orthanc", port)
    gateway = Gateway(tmp_path / "gateway", models_dir, port, dimse(orthanc))
    files = study_files(tmp_path / "study")
    with running(gateway):
        assert send(port, *files) == 0
        wait_until(lambda: gateway.count("enhanced") == len(files), PATIENCE_S)
        wait_until(lambda: 'destination_up{destination="pacs"} 0.0' in gateway.page("/metrics"), PATIENCE_S)
        gateway.kill()
        gateway.start()
        with running(orthanc):
            wait_until(lambda: gateway.count("done") == len(files), PATIENCE_S)
            assert len(orthanc.instances()) == 2 * len(files)
            assert 'destination_up{destination="pacs"} 1.0' in gateway.page("/metrics")


def test_a_watched_dicomweb_server_gets_its_images_enhanced(tmp_path: Path, models_dir: Path) -> None:
    port = free_port()
    orthanc = Orthanc(tmp_path / "orthanc", port)
    watch = f'[watch]\nurl = "{orthanc.web}"\nquery = {{ModalitiesInStudy = "ES"}}\nevery_s = 0.5\n'
    gateway = Gateway(tmp_path / "gateway", models_dir, port, stow(orthanc) + watch)
    files = study_files(tmp_path / "study", 2)
    with running(orthanc, gateway):
        assert send(orthanc.dicom_port, *files, called="ORTHANC") == 0
        wait_until(lambda: gateway.count("done") == len(files), PATIENCE_S)
        assert len(orthanc.instances()) == 3 * len(files)


def test_a_full_disk_refuses_associations_and_keeps_what_it_has(tmp_path: Path, models_dir: Path) -> None:
    port = free_port()
    orthanc = Orthanc(tmp_path / "orthanc", port)
    gateway = Gateway(tmp_path / "gateway", models_dir, port, dimse(orthanc))
    gateway.file.write_text(
        gateway.file.read_text().replace(
            "least_free_bytes = 1000000", f"least_free_bytes = {shutil.disk_usage(tmp_path).total}"
        )
    )
    with running(gateway):
        assert send(port, *study_files(tmp_path / "study", 1)) != 0
        assert 'associations_total{outcome="full"} 1.0' in gateway.page("/metrics")
        assert gateway.count("received") == 0
