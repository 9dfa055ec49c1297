"""The comparison with other servers: it runs, everybody gives the same pixels, and README.md says what was measured."""

from __future__ import annotations

import re
import socket
import threading
import tomllib
from pathlib import Path

import pytest

from benchmarks.load import Client, load, post
from benchmarks.peers import run, table
from benchmarks.peers.catalogue import OURS, PEERS, Peer
from benchmarks.peers.running import running
from benchmarks.service import photo
from tests.conftest import ROOT

AT_HAND = [peer for peer in PEERS if peer.environment in ("", "fastapi")]
"""Those that need no environment of their own: plain FastAPI runs in the tests' too."""


@pytest.fixture
def python() -> Path:
    return PEERS[0].python(None) or Path()


@pytest.mark.parametrize("peer", AT_HAND, ids=lambda peer: peer.name)
def test_a_small_comparison_runs_and_the_answers_are_the_same_pixels(peer: Peer, python: Path) -> None:
    sent = photo(96, 80)
    ours = _answer(PEERS[0], python, sent)
    assert ours.startswith(b"\xff\xd8")
    assert _answer(peer, python, sent) == ours


def _answer(peer: Peer, python: Path, sent: bytes) -> bytes:
    with running(peer, python, sent, cores=1, model="lamegan-fast") as server:
        assert server.memory_mb() > 10
        assert server.cpu_s() > 0
        address, _ = post(server.url, sent)
        tally = load(address, peer.request(server.url, sent), seconds=0.3, clients=2, rate=None)
        assert set(tally.seconds) == {200}
        assert tally.broken == 0
        return server.first


def test_in_an_open_loop_waits_count_from_when_a_request_was_due(python: Path) -> None:
    sent = photo(96, 80)
    with running(PEERS[0], python, sent, cores=1, model="lamegan-fast") as server:
        address, request = post(server.url, sent)
        tally = load(address, request, seconds=0.5, clients=1, rate=2000)
    waits = [wait for found in tally.seconds.values() for wait in found]
    assert len(waits) <= 1000
    assert len(waits) > 1
    assert waits == sorted(waits)  # one client cannot send 2,000 a second: each request waits for all before it too


def test_a_body_is_as_long_as_content_length_says_whatever_other_headers_end_with_that_name() -> None:
    body = b"p" * 1_000_000  # does not come in one piece
    head = b"HTTP/1.1 200 OK\r\nInference-Header-Content-Length: 2\r\nContent-Length: 1000000\r\n\r\n"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = Client(listener.getsockname(), b"GET / HTTP/1.1\r\n\r\n")

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                for _ in range(2):
                    connection.recv(1000)
                    connection.sendall(head + body)

        server = threading.Thread(target=serve)
        server.start()
        assert [client.ask(), client.ask()] == [(200, body), (200, body)]
        server.join()
        client.close()


@pytest.mark.parametrize("peer", ["bentoml", "fastapi", "litserve", "pytriton", "ray"])
def test_a_peers_environment_holds_all_that_the_work_needs(peer: str) -> None:
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    names = {re.split(r"[\[<>=;]", one)[0].lower() for one in wanted if "sys_platform !=" not in one}
    lines = (ROOT / f"benchmarks/peers/requirements/{peer}.txt").read_text(encoding="utf-8").splitlines()
    assert names <= {line.partition("==")[0].lower().replace("_", "-") for line in lines}


def test_a_run_in_parts_keeps_the_turns_done_before(tmp_path: Path) -> None:
    kept, peer = run.Kept(tmp_path / "turns.json"), PEERS[0]
    kept.add(peer, "digest", {"start_s": 1.0})
    again = run.Kept(tmp_path / "turns.json")
    again.add(peer, "digest", {"start_s": 2.0})
    assert [turn["start_s"] for turn in run.Kept(tmp_path / "turns.json").turns[peer.name]] == [1.0, 2.0]
    with pytest.raises(SystemExit, match="other pixels"):
        again.add(peer, "another", {})


def test_readme_quotes_the_recorded_figures_losses_too() -> None:
    block = table.table(table.read())
    assert block in (ROOT / "README.md").read_text(encoding="utf-8"), "run python -m benchmarks.peers.table"
    for peer in table.read()["figures"]["servers"]:
        assert next(one.label for one in PEERS if one.name == peer) in block


def test_ours_is_held_against_the_best_of_the_others() -> None:
    def server(per_s: float, cpu_ms: float) -> dict[str, object]:
        loaded = {"done_per_s": per_s, "cpu_ms": cpu_ms, "by_status": {"200": {"count": 5, "p50_ms": 1, "p99_ms": 2}}}
        shared = {"broken": 0, "waits_ms": {"200": [1.0, 20_000.0]}}
        one = {f"clients {clients}": {**loaded, **shared} for clients in run.CLIENTS}
        rest = {"start_s": 1, "idle_mb": 2, "busy_mb": 3, "load_average": 0.5}
        return {"480x272": one, "open": {**loaded, **shared}, "overload": {**loaded, **shared}, **rest}

    turns = {OURS: [server(30, 20)], "fastapi-threads": [server(20, 25)], "ray": [server(40, 16)]}
    figures = run.figures_of(turns, ["480x272"])
    assert figures["ours_over_the_best_peer"]["480x272, clients 8"] == 0.75
    assert figures["ours_processor_over_the_best_peer"]["480x272, clients 8"] == 1.25
    assert figures["servers"][OURS]["overload"]["kept"] == 0.5  # half of the responses came too late for anybody
