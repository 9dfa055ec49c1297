"""Worker processes behind one service: the same responses, one place for limits and metrics, and no crash spreads."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from service.pipeline import processes
from service.pipeline.enhancer import QUIET_S
from service.pipeline.processes import ProcessEnhancer
from tests import models
from tests.live import PATIENCE_S, LiveService, encoded, scene, wait_until

PHOTOS = [encoded(scene(96 + 8 * index, 80, seed=index)) for index in range(4)]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    models.install(root, models.brighten())
    return root


@pytest.fixture(scope="module")
def live(root: Path) -> Iterator[LiveService]:
    with LiveService(root, processes=2) as live:
        yield live


def pids(live: LiveService) -> list[int]:
    assert isinstance(live.service.enhancer, ProcessEnhancer)
    return [process._process.pid or 0 for process in live.service.enhancer._processes]


def ask(live: LiveService, photo: bytes, **headers: str) -> httpx.Response:
    return httpx.post(f"{live.url}/enhance", content=photo, headers=headers, timeout=PATIENCE_S, trust_env=False)


def test_a_photo_that_is_alone_is_said_to_be(live: LiveService, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[bool] = []
    ask_process = processes._Process.ask

    def noted(process: processes._Process, message: processes._Load | processes._Make) -> object:
        if isinstance(message, processes._Make):
            told.append(message.alone)
            time.sleep(0.2)  # so that photos sent together are under way together
        return ask_process(process, message)

    monkeypatch.setattr(processes._Process, "ask", noted)
    time.sleep(2 * QUIET_S)
    ask(live, PHOTOS[0])
    assert told == [True]
    with ThreadPoolExecutor(2) as crowd:
        list(crowd.map(lambda photo: ask(live, photo), PHOTOS[:2]))
    assert told[1:].count(False) >= 1
    ask(live, PHOTOS[0])
    assert not told[-1]  # it follows two at once, and may be between them and the next


def test_processes_answer_as_threads_do_byte_for_byte(live: LiveService, root: Path) -> None:
    kept = ("lassim", "lassim-worst", "lassim-verdict", "lassim-blend", "model", "model-digest", "content-type")
    with LiveService(root) as threads, ThreadPoolExecutor(4) as crowd:
        for one, other in zip(
            crowd.map(lambda photo: ask(live, photo), PHOTOS),
            crowd.map(lambda photo: ask(threads, photo), PHOTOS),
            strict=True,
        ):
            assert one.status_code == 200
            assert one.content == other.content
            assert {name: one.headers[name] for name in kept} == {name: other.headers[name] for name in kept}
        facts = [ask(service, PHOTOS[0], accept="application/json").json() for service in (live, threads)]
    for one_facts in facts:
        one_facts.pop("timing_ms"), one_facts.pop("request_id")
    assert facts[0] == facts[1]


def test_what_cannot_be_read_is_the_same_problem(live: LiveService) -> None:
    answer = ask(live, PHOTOS[0][:200])
    assert (answer.status_code, answer.json()["code"]) == (422, "undecodable-image")


def test_one_place_counts_what_all_processes_did(live: LiveService) -> None:
    def counted() -> float:
        text = live.http.get("/metrics").text
        return float(
            re.findall(r'^lamegan_requests_total{.*route="/enhance".*status="200".*} (\S+)$', text, re.MULTILINE)[0]
        )

    ask(live, PHOTOS[0])
    before = counted()
    for photo in PHOTOS:
        ask(live, photo)
    assert counted() == before + len(PHOTOS)


def test_a_process_that_ends_costs_its_own_photo_and_is_replaced(live: LiveService) -> None:
    before = pids(live)
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    statuses = [ask(live, PHOTOS[0]) for _ in range(4)]
    assert {answer.status_code for answer in statuses[:2]} == {500}
    assert {answer.json()["code"] for answer in statuses[:2]} == {"inference-failed"}
    assert {answer.status_code for answer in statuses[2:]} == {200}
    assert not set(before) & set(pids(live))


def test_an_activated_model_is_taken_up_by_every_process(tmp_path: Path) -> None:
    models.install(tmp_path, models.identity())
    with LiveService(tmp_path, processes=2) as live:
        assert ask(live, PHOTOS[0]).headers["model"] == "tiny/1.0.0"
        models.install(tmp_path, models.brighten(), version="1.1.0")
        live.service.store.activate("tiny/1.1.0")
        live.service.reload()
        wait_until(lambda: live.service.model_pool.default == "tiny/1.1.0")
        for _ in range(4):
            answer = ask(live, PHOTOS[0])
            assert (answer.status_code, answer.headers["model"]) == (200, "tiny/1.1.0")


def test_the_processes_end_with_the_service(root: Path) -> None:
    with LiveService(root, processes=2) as live:
        started = pids(live)
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in started))
