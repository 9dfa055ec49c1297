"""The peers: how each is started, and how a photo is posted to it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.load import post

ROOT = Path(__file__).resolve().parents[2]
OURS, OURS_BY_PROCESSES = "lamegan", "lamegan-processes"
OWN = (OURS, OURS_BY_PROCESSES)

THREADS = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
"""Environment of a peer: the libraries read it when they are imported."""


@dataclass(frozen=True, slots=True)
class Peer:
    """One server.

    Attributes:
        name: in the results.
        label: in the table.
        environment: folder of its virtual environment; empty: that of the benchmark itself.
        command: its arguments after the interpreter, for a port and a number of cores.
        variables: environment variables beside those of all peers.
        request: the bytes of a POST of a photo to a URL.
        answer: the photo in the body of a response.
    """

    name: str
    label: str
    environment: str
    command: Callable[[int, int], list[str]]
    variables: Callable[[int], dict[str, str]] = lambda cores: {"PEERS_PROCESSES": str(cores)}
    request: Callable[[str, bytes], bytes] = lambda url, photo: post(url, photo)[1]
    answer: Callable[[bytes], bytes] = lambda body: body

    def python(self, environments: Path | None) -> Path | None:
        """Its interpreter; None if its environment was not made."""
        if not self.environment:
            return Path(sys.executable)
        found = (environments or Path("/nowhere")) / self.environment / "bin" / "python"
        return found if found.exists() else None

    def environ(self, cores: int, model: str) -> dict[str, str]:
        """Its whole environment."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("LAMEGAN_", "PEERS_"))}
        threads = {} if self.name in OWN else THREADS
        given = {"PYTHONPATH": str(ROOT), "PEERS_MODEL": model, "LAMEGAN_MODEL": model, **threads}
        return {**kept, **given, **self.variables(cores)}


def _module(name: str) -> Callable[[int, int], list[str]]:
    return lambda port, _cores: ["-m", f"benchmarks.peers.servers.{name}", "--port", str(port)]


def _bentoml(port: int, _cores: int) -> list[str]:
    where = "benchmarks.peers.servers.bentoml_app:Photos"
    return ["-m", "bentoml", "serve", where, "--port", str(port), "--host", "127.0.0.1"]


def _kserve(url: str, photo: bytes) -> bytes:
    """A POST in KServe's protocol with binary tensors (extension of Triton's)."""
    facts = {
        "inputs": [
            {
                "name": "photo",
                "shape": [len(photo)],
                "datatype": "UINT8",
                "parameters": {"binary_data_size": len(photo)},
            }
        ],
        "outputs": [{"name": "enhanced", "parameters": {"binary_data": True}}],
    }
    head = json.dumps(facts).encode()
    request = post(url, head + photo, "application/octet-stream", "/v2/models/enhance/infer")[1]
    return request.replace(b"\r\n", b"\r\nInference-Header-Content-Length: %d\r\n" % len(head), 1)


def _from_kserve(body: bytes) -> bytes:
    """The tensor behind the JSON, whose end is where its braces balance."""
    facts, end = json.JSONDecoder().raw_decode(body.decode("latin-1"))
    size = facts["outputs"][0]["parameters"]["binary_data_size"]
    return body[end : end + size]


def _serve(port: int, _cores: int) -> list[str]:
    return ["-m", "service.commands.main", "serve", "--port", str(port)]


def _patient(_cores: int) -> dict[str, str]:
    """Room for 64 clients, who wait as long as they do elsewhere: the others have no bound, or one of 60 s."""
    return {"LAMEGAN_QUEUE_CAPACITY": "64", "LAMEGAN_DEADLINE_S": "60"}


PEERS = (
    Peer(OURS, "LaMEGAN", "", _serve, _patient),  # as it starts by default
    Peer(
        OURS_BY_PROCESSES,
        "LaMEGAN, processes",
        "",
        lambda port, cores: [*_serve(port, cores), "--workers", str(cores)],
        _patient,
    ),
    Peer(
        "fastapi-threads",
        "FastAPI, threads",
        "fastapi",
        _module("fastapi_app"),
        lambda cores: {"PEERS_STREAMS": str(cores)},
    ),
    Peer(
        "fastapi-processes",
        "FastAPI, processes",
        "fastapi",
        lambda port, cores: [*_module("fastapi_app")(port, cores), "--processes", str(cores)],
    ),
    Peer("litserve", "LitServe", "litserve", _module("litserve_app")),
    Peer("bentoml", "BentoML", "bentoml", _bentoml),
    Peer(
        "ray",
        "Ray Serve",
        "ray",
        _module("ray_app"),
        # Ray makes its workers as nice as can be, so that any other work on the machine would stop it.
        lambda cores: {"PEERS_PROCESSES": str(cores), "RAY_worker_niceness": "0"},
    ),
    Peer("pytriton", "Triton (PyTriton)", "pytriton", _module("pytriton_app"), request=_kserve, answer=_from_kserve),
)
