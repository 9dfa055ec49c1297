"""The gateway against `lamegan enhance` on the same DICOM objects: throughput, and whether its memory is flat.

    python -m benchmarks.gateway [--objects 1000] [--turns 5] [--destination storescp|orthanc]

Both take turns on equal parts of the objects with the shipped model. The command's start and loading are left out: its
rate is that between its first and its last image. The gateway's is that from the first C-STORE to the last confirmed
delivery, with one sender. The destination is on the same cores: `storescp` (DCMTK) throws away what it stores, and
costs next to nothing; `orthanc` stores it, and commits itself to it. Processor time of each is recorded. Memory is the
gateway's resident set after each turn.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import closing
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, VLEndoscopicImageStorage

from benchmarks.measure import record
from service.imaging.codecs import decode

ROOT = Path(__file__).resolve().parent.parent
PHOTO = (ROOT / "docs" / "samples" / "sample.jpg").read_bytes()
COMMAND = [sys.executable, "-m", "service.commands.main"]
SIZE = (480, 272)


def source_object(number: int, pixels: Any) -> bytes:
    """One endoscopic image; each differs by a grey level or two in one corner."""
    made = Dataset()
    made.SOPClassUID, made.SOPInstanceUID = VLEndoscopicImageStorage, f"2.25.{10_000 + number}"
    made.StudyInstanceUID, made.SeriesInstanceUID = "2.25.1", "2.25.2"
    made.Modality, made.PatientName, made.PatientID = "ES", "Phantom", "1"
    made.StudyDate = made.StudyTime = made.AccessionNumber = made.StudyID = made.ReferringPhysicianName = ""
    made.PatientBirthDate = made.PatientSex = made.Manufacturer = ""
    made.SeriesNumber = made.InstanceNumber = 1
    made.ImageType, made.LossyImageCompression = ["ORIGINAL", "PRIMARY"], "00"
    made.Rows, made.Columns, made.SamplesPerPixel, made.PlanarConfiguration = *pixels.shape[:2], 3, 0
    made.PhotometricInterpretation, made.PixelRepresentation = "RGB", 0
    made.BitsAllocated, made.BitsStored, made.HighBit = 8, 8, 7
    changed = pixels.copy()
    changed[:8, :8] = number % 256
    made.PixelData = changed.tobytes()
    made["PixelData"].VR = "OB"
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    buffer = BytesIO()
    pydicom.dcmwrite(buffer, made, enforce_file_format=True)
    return buffer.getvalue()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def command_rate(folder: Path, target: Path) -> tuple[float, float]:
    """Images a second of `lamegan enhance` on `folder`, between its first and its last, and the processor's seconds."""
    before = os.times()
    subprocess.run([*COMMAND, "enhance", str(folder), str(target)], check=True, capture_output=True)
    after = os.times()
    written = sorted(path.stat().st_mtime_ns for path in target.glob("*.dcm") if ".report" not in path.name)
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return (len(written) - 1) / ((written[-1] - written[0]) / 1e9), used


def start_destination(kind: str, folder: Path, port: int, gateway_port: int) -> subprocess.Popen[bytes]:
    """What the gateway delivers to."""
    if kind == "storescp":
        return subprocess.Popen(["storescp", "--ignore", "-aet", "SINK", str(port)])
    storage = str(folder / "orthanc")
    (folder / "orthanc.json").write_text(
        json.dumps(
            {
                "StorageDirectory": storage,
                "IndexDirectory": storage,
                "HttpServerEnabled": False,
                "DicomAet": "SINK",
                "DicomPort": port,
                "DicomAlwaysAllowStore": True,
                "DicomModalities": {"lamegan": ["LAMEGAN", "127.0.0.1", gateway_port]},
            }
        )
    )
    return subprocess.Popen(["Orthanc", str(folder / "orthanc.json")], stderr=subprocess.DEVNULL)


def processor_s(process: subprocess.Popen[bytes]) -> float:
    """Seconds of the processor that `process` has used."""
    times = psutil.Process(process.pid).cpu_times()
    return float(times.user + times.system)


class Gateway:
    """A running gateway and the destination behind it."""

    def __init__(self, folder: Path, destination: str) -> None:
        self.port, self._monitor, to = free_port(), free_port(), free_port()
        self._index = folder / "spool" / "index.sqlite"
        config = folder / "gateway.toml"
        config.write_text(
            f'[listen]\nport = {self.port}\nallowed_calling = ["*"]\n[spool]\nfolder = "{folder / "spool"}"\n'
            f"least_free_bytes = 1000000\n[monitor]\nport = {self._monitor}\n"
            f'[[destination]]\nname = "sink"\nkind = "dimse"\n'
            f'ae_title = "SINK"\nhost = "127.0.0.1"\nport = {to}\n'
            f'confirm = "{"store" if destination == "storescp" else "commitment"}"\n'
        )
        self.destination = start_destination(destination, folder, to, self.port)
        self.process = subprocess.Popen([*COMMAND, "gateway", "--config", str(config)], stderr=subprocess.DEVNULL)
        while not self._answers():
            time.sleep(0.2)

    def _answers(self) -> bool:
        try:
            self.done()
        except OSError:
            return False
        return True

    def done(self) -> int:
        """Objects that have arrived."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self._monitor}/gateway.json") as answer:
            return int(json.load(answer)["objects"]["done"]["count"])

    def rate(self, folder: Path) -> float:
        """Objects a second from the first C-STORE to the last delivery."""
        before, wanted, began = self.done(), len(list(folder.iterdir())), time.time()
        subprocess.run(["storescu", "+sd", "-aec", "LAMEGAN", "127.0.0.1", str(self.port), str(folder)], check=True)
        while self.done() < before + wanted:
            time.sleep(0.5)  # seldom, for the question costs time too; the index knows when the last one was done
        with closing(sqlite3.connect(self._index)) as index:
            (ended,) = index.execute("SELECT MAX(finished_at) FROM object").fetchone()
        return float(wanted / (ended - began))

    def memory_bytes(self) -> int:
        """The gateway's resident set."""
        return int(psutil.Process(self.process.pid).memory_info().rss)

    def stop(self) -> None:
        """End both."""
        for process in (self.process, self.destination):
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def turn_of(gateway: Gateway, folder: Path, target: Path) -> dict[str, float]:
    """Rates of both on the objects in `folder`, and the processor's seconds for one object, by who used them."""
    count = len(list(folder.iterdir()))
    parts = {"gateway": gateway.process, "destination": gateway.destination}
    before = {name: processor_s(process) for name, process in parts.items()}
    found = {"gateway": gateway.rate(folder)}
    used = {f"{name}_processor_s": (processor_s(process) - before[name]) / count for name, process in parts.items()}
    found["enhance"], command_s = command_rate(folder, target)
    return {**found, **used, "enhance_processor_s_with_start": command_s / count}


def figures_of(rates: list[dict[str, float]], memory: list[int], options: argparse.Namespace) -> dict[str, object]:
    """What is recorded after each turn; `memory` has the warm-up's in front."""
    ratios = sorted(one["gateway"] / one["enhance"] for one in rates)
    return {
        "objects": options.objects // options.turns * len(rates),
        "size": "x".join(map(str, SIZE)),
        "destination": options.destination,
        "turns": rates,
        "gateway_over_enhance": {"median": statistics.median(ratios), "low": ratios[0], "high": ratios[-1]},
        "gateway_rss_mib_after_each_turn": [one / 2**20 for one in memory],
        "gateway_rss_last_over_first_turn": memory[-1] / memory[1],
    }


def main() -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--objects", type=int, default=1000)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--destination", choices=["storescp", "orthanc"], default="storescp")
    options = parser.parse_args()
    name_of_figures = "gateway" if options.destination == "storescp" else f"gateway_{options.destination}"
    pixels = decode(PHOTO, max_pixels=10**8).pixels[: SIZE[1], : SIZE[0]]
    part = options.objects // options.turns
    rates: list[dict[str, float]] = []
    memory = []
    os.environ.setdefault("LAMEGAN_MODELS_DIR", str(ROOT / "models"))
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        gateway = Gateway(work, options.destination)
        try:
            for turn in range(options.turns + 1):  # the first is the warm-up
                folder = work / f"in{turn}"
                folder.mkdir()
                for number in range(part if turn else 10):
                    (folder / f"{number}.dcm").write_bytes(source_object(turn * part + number, pixels))
                found = turn_of(gateway, folder, work / f"out{turn}")
                memory.append(gateway.memory_bytes())
                if turn:
                    rates.append(found)
                    record(name_of_figures, figures_of(rates, memory, options))
                print(turn, {key: round(value, 3) for key, value in found.items()}, memory[-1] >> 20, "MiB", flush=True)
        finally:
            gateway.stop()


if __name__ == "__main__":
    np.seterr(all="raise")
    main()
