"""Overload, hang-ups and slow senders, over a live server. Nothing here measures time; benchmarks/ does."""

from __future__ import annotations

import re
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from time import sleep

import httpx
import pytest

from benchmarks.load import load, post
from service.api import http_protocol
from tests import models
from tests.integration.command import Command, command
from tests.live import PATIENCE_S, LiveService, encoded, frozen, scene, wait_until

PNG = encoded(scene(96, 80))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    models.install(tmp_path / "models", models.identity())
    return tmp_path / "models"


@pytest.fixture
def small(root: Path) -> Iterator[LiveService]:
    """One worker, two may wait."""
    with LiveService(root, workers=1, queue_capacity=2) as live:
        yield live


def request_bytes(body: bytes, length: int | None = None) -> bytes:
    head = f"POST /enhance HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body) if length is None else length}\r\n\r\n"
    return head.encode() + body


def connect(live: LiveService) -> socket.socket:
    return socket.create_connection(("127.0.0.1", live.port), PATIENCE_S)


def test_far_more_load_than_it_can_do_ends_in_answers_and_refusals_alone(small: LiveService) -> None:
    outcomes: Counter[int] = Counter()
    codes: Counter[str] = Counter()
    waits: list[int] = []
    lock = threading.Lock()

    def ask() -> None:
        with httpx.Client(base_url=small.url, timeout=PATIENCE_S, trust_env=False) as client:
            for _ in range(25):
                answer = client.post("/enhance", content=PNG)
                with lock:
                    outcomes[answer.status_code] += 1
                    if answer.status_code == 429:
                        codes[answer.json()["code"]] += 1
                        waits.append(int(answer.headers["retry-after"]))

    askers = [threading.Thread(target=ask) for _ in range(12)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join(PATIENCE_S)
    assert set(outcomes) == {200, 429}
    assert outcomes.total() == 300
    assert set(codes) == {"overloaded"}
    assert min(waits) >= 1
    assert small.service.pool.busy == 0
    assert small.service.gate.in_flight == 0


def test_clients_that_hang_up_free_their_slots(small: LiveService) -> None:
    with frozen(small) as go:
        for _ in range(4):  # more often than there are slots
            with ExitStack() as clients:
                for _ in range(3):
                    clients.enter_context(connect(small)).sendall(request_bytes(PNG))
                wait_until(lambda: small.service.pool.busy == 3)
            wait_until(lambda: small.service.pool.busy == 0)
        wait_until(lambda: small.service.gate.in_flight == 0)
        go.set()
    assert small.http.post("/enhance", content=PNG).status_code == 200


def test_a_client_that_hangs_up_while_sending_leaves_nothing_behind(small: LiveService) -> None:
    client = connect(small)
    client.sendall(request_bytes(PNG[:50], length=len(PNG)))
    wait_until(lambda: small.service.gate.in_flight == 1)
    client.close()
    wait_until(lambda: small.service.gate.in_flight == 0)
    assert small.service.pool.busy == 0


def test_slow_senders_hold_nobody_up(small: LiveService) -> None:
    slow = [connect(small) for _ in range(20)]  # more than workers and queue together
    for client in slow:
        client.sendall(request_bytes(PNG[:50], length=len(PNG)))
    wait_until(lambda: small.service.gate.in_flight == 20)
    assert small.service.pool.busy == 0
    for _ in range(3):
        assert small.http.post("/enhance", content=PNG).status_code == 200
    slow[0].sendall(PNG[50:])
    assert slow[0].recv(12) == b"HTTP/1.1 200"
    for client in slow:
        client.close()


def test_a_body_that_never_ends_is_408(root: Path) -> None:
    with LiveService(root, body_timeout_s=0.2) as live, connect(live) as client:
        client.sendall(request_bytes(PNG[:50], length=len(PNG)))
        assert client.recv(12) == b"HTTP/1.1 408"


def test_too_many_uploads_at_once_are_429_and_the_memory_is_given_back(root: Path) -> None:
    with LiveService(root, body_memory_bytes=len(PNG) + 1000, max_body_bytes=len(PNG)) as live:
        with connect(live) as slow:
            slow.sendall(request_bytes(PNG[:-10], length=len(PNG)))
            wait_until(lambda: live.service.gate.in_flight == 1)
            wait_until(lambda: live.http.post("/enhance", content=PNG).status_code == 429)
        wait_until(lambda: live.service.gate.in_flight == 0)
        assert live.http.post("/enhance", content=PNG).status_code == 200


def test_too_many_requests_under_way_are_429(root: Path) -> None:
    with LiveService(root, max_in_flight=2) as live:
        slow = [connect(live) for _ in range(2)]
        for client in slow:
            client.sendall(request_bytes(b"", length=10))
        wait_until(lambda: live.service.gate.in_flight == 2)
        assert live.http.post("/enhance", content=PNG).status_code == 429
        for client in slow:
            client.close()
        wait_until(lambda: live.service.gate.in_flight == 0)


def test_a_refused_client_reads_its_refusal_and_may_go_on_with_the_same_connection(small: LiveService) -> None:
    with frozen(small) as go, connect(small) as client:
        busy = [connect(small) for _ in range(3)]
        for other in busy:
            other.sendall(request_bytes(PNG))
        wait_until(lambda: small.service.pool.busy == 3)
        client.sendall(request_bytes(PNG))
        assert client.recv(65536).startswith(b"HTTP/1.1 429")
        go.set()
        wait_until(lambda: small.service.pool.busy == 0)
        client.sendall(request_bytes(PNG))
        assert client.recv(12) == b"HTTP/1.1 200"
        for other in busy:
            other.close()


def test_after_jobs_are_measured_a_wait_past_the_deadline_is_refused_on_arrival(root: Path) -> None:
    with LiveService(root, workers=1, queue_capacity=50, deadline_s=10) as live:
        pool = live.service.pool
        with frozen(live) as go:
            pool._job_s = 2.0  # as if jobs had been measured to take this long
            with ExitStack() as connections:
                busy = [connections.enter_context(connect(live)) for _ in range(3)]
                for waiting, other in enumerate(busy):
                    other.sendall(request_bytes(PNG))
                    # The first must run before the third comes: three waiting would be one too many.
                    wait_until(lambda waiting=waiting: (pool.depth, pool.busy) == (waiting, waiting + 1))
                # 4 s of waiting and 2 s of work: past half of 10 s
                answer = live.http.post("/enhance", content=PNG)
                assert (answer.status_code, answer.headers["retry-after"]) == (429, "4")
                go.set()
                for other in busy:
                    assert other.recv(12) == b"HTTP/1.1 200"


@pytest.mark.parametrize(
    "sent", [b"", b"POST /enhance HTTP/1.1\r\nHost:", b"\r\n\r\n"], ids=["nothing", "half a head", "blanks"]
)
def test_a_connection_that_never_sends_a_request_is_closed(
    small: LiveService, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(http_protocol, "HEAD_TIMEOUT_S", 0.1)
    with connect(small) as client:
        client.sendall(sent)
        assert client.recv(100) == b""


def test_a_head_that_never_ends_is_cut_off(small: LiveService) -> None:
    with connect(small) as client:
        client.sendall(b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 20_000)
        assert client.recv(12) == b"HTTP/1.1 400"


def test_a_head_within_the_limit_may_come_in_pieces(small: LiveService) -> None:
    head = b"GET /health/live HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 8_000  # 48 kB of 64
    with connect(small) as client:
        for start in range(0, len(head), 4096):
            client.sendall(head[start : start + 4096])
            sleep(0.005)
        client.sendall(b"\r\n")
        assert client.recv(12) == b"HTTP/1.1 200"


def test_more_connections_than_allowed_are_told_so(small: LiveService, monkeypatch: pytest.MonkeyPatch) -> None:
    assert small.http.get("/health/live").status_code == 200
    monkeypatch.setattr(http_protocol, "MAX_CONNECTIONS", 1)  # the line above holds one
    with connect(small) as client:
        assert client.recv(12) == b"HTTP/1.1 429"


@pytest.mark.load
def test_ten_times_more_load_than_it_can_do_leaves_a_service_that_is_well(root: Path) -> None:
    """The figures (waits of refusals, throughput kept) are benchmarks/service.py's; here nothing may go wrong."""
    with (
        command(root, root.parent / "log", LAMEGAN_QUEUE_CAPACITY="8") as running,
        httpx.Client(base_url=running.ready_url(), timeout=PATIENCE_S, trust_env=False) as client,
    ):
        address, request = post(str(client.base_url), PNG, "image/png")
        saturated = load(address, request, seconds=5, clients=4, rate=None)
        before = resident_bytes(running)
        rate = 10 * len(saturated.seconds[200]) / 5
        tally = load(address, request, seconds=20, clients=48, rate=rate)
        assert set(tally.seconds) == {200, 429}
        assert tally.broken == 0
        assert len(tally.seconds[429]) > len(tally.seconds[200])
        assert resident_bytes(running) < before + 100_000_000
        wait_until(lambda: "lamegan_queue_depth 0.0" in client.get("/metrics").text)
        assert client.post("/enhance", content=PNG).status_code == 200


def resident_bytes(running: Command) -> int:
    """Memory that the process holds now (Linux: VmRSS)."""
    match = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{running.process.pid}/status").read_text())
    assert match
    return int(match[1]) * 1024
