"""Starts a server, waits for its first right response, weighs it, and stops it with all its children."""

from __future__ import annotations

import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.load import Client
from benchmarks.peers.catalogue import ROOT, Peer

START_S = 90.0
STOP_S = 20.0
POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class Running:
    """A server at work.

    Attributes:
        url: where it listens.
        start_s: from its start to its first response.
        first: that response's photo.
        process: its first process.
    """

    url: str
    start_s: float
    first: bytes
    process: psutil.Process

    def cpu_s(self) -> float:
        """Processor seconds that all its processes have used: what a busy neighbour cannot inflate much."""
        total = 0.0
        for process in self._family():
            try:
                times = process.cpu_times()
            except psutil.NoSuchProcess:
                continue
            total += times.user + times.system
        return total

    def threads(self) -> int:
        """Threads of all its processes."""
        return sum(process.num_threads() for process in self._family())

    def _family(self) -> list[psutil.Process]:
        return [self.process, *self.process.children(recursive=True)]

    def memory_mb(self) -> float:
        """Resident memory of all its processes, what they share counted once (PSS)."""
        total = 0
        for process in self._family():
            try:
                total += process.memory_full_info().pss
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        return total / 1e6


@contextmanager
def running(
    peer: Peer, python: Path, photo: bytes, *, cores: int, model: str, within: Sequence[str] = ()
) -> Iterator[Running]:
    """`peer`, started with `python`, from its first response to the end of the block.

    `within` is put before its command, to start it under a limit.
    """
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryFile() as log:
        started = time.monotonic()
        process = subprocess.Popen(
            [*within, str(python), *peer.command(port, cores)],
            cwd=ROOT,
            env=peer.environ(cores, model),
            stdout=log,
            stderr=log,
        )
        try:
            first = _first_answer(peer, port, peer.request(url, photo), process)
            yield Running(url, time.monotonic() - started, first, psutil.Process(process.pid))
        except BaseException:
            log.seek(0)
            print(log.read()[-4000:].decode(errors="replace"))
            raise
        finally:
            _stop(process)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _first_answer(peer: Peer, port: int, request: bytes, process: subprocess.Popen[bytes]) -> bytes:
    client = Client(("127.0.0.1", port), request, timeout_s=START_S)
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"{peer.label} ended at its start")
        try:
            status, body = client.ask()
        except (OSError, ValueError):  # not up yet, or a response of its own making without a length
            status, body = 0, b""
        if status == 200:
            client.close()
            return peer.answer(body)
        client.close()
        time.sleep(POLL_S)
    raise RuntimeError(f"{peer.label} did not answer")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Stop what was started and all its children."""
    try:
        family = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        family = []
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    _, alive = psutil.wait_procs(family, timeout=5)
    for child in alive:
        child.kill()
