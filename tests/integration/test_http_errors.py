"""Every row of the error table, over a live server: status, code, and a problem document that tells no secrets."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from service.errors import HTTP_STATUS
from tests import models
from tests.live import PATIENCE_S, LiveService, encoded, frozen, scene, wait_until

PNG = encoded(scene(96, 80))
MULTIPART = {"content-type": "multipart/form-data; boundary=b"}


def assert_problem(answer: httpx.Response, code: str) -> dict[str, Any]:
    """The response is the problem document of `code`, complete and consistent."""
    status, title = HTTP_STATUS[code]
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert problem["type"] == f"tag:lamegan,2026:problem:{code}"
    assert problem["title"] == title
    assert problem["status"] == status
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert problem["detail"].endswith(".")
    assert "Traceback" not in answer.text
    assert "/work" not in answer.text
    return problem


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveService]:
    root: Path = tmp_path_factory.mktemp("models")
    models.install(root, models.poisoned(), "tiny")
    limits = {"max_body_bytes": 200_000, "max_pixels": 1_000_000, "queue_capacity": 2, "workers": 1, "deadline_s": 15}
    with LiveService(root, **limits) as live:
        yield live


@pytest.mark.parametrize(
    "request_facts",
    [
        {"content": b""},
        {"content": b"", "headers": {"content-type": "image/png"}},
        {"content": b"", "headers": MULTIPART},
        {"files": {"file": b""}},
        {"content": b"--b--\r\n", "headers": MULTIPART},
    ],
    ids=["nothing", "empty png", "empty multipart", "empty file", "no parts"],
)
def test_no_image_is_400(service: LiveService, request_facts: dict[str, Any]) -> None:
    assert_problem(service.http.post("/enhance", **request_facts), "missing-image")


def test_a_declared_body_over_the_limit_is_413_before_it_is_sent(service: LiveService) -> None:
    with socket.create_connection(("127.0.0.1", service.port), PATIENCE_S) as client:
        client.sendall(b"POST /enhance HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n")
        answer = client.recv(65536)
    assert answer.startswith(b"HTTP/1.1 413 ")
    problem = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert (problem["code"], problem["limit"], problem["actual"]) == ("body-too-large", 200_000, 99_999_999)


def test_a_streamed_body_over_the_limit_is_413_while_it_streams(service: LiveService) -> None:
    sent: list[int] = []

    def endless() -> Iterator[bytes]:
        for _ in range(100):
            sent.append(1)
            yield b"x" * 20_000

    assert_problem(service.http.post("/enhance", content=endless()), "body-too-large")


@pytest.mark.parametrize(
    ("body", "declared"),
    [
        (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(50), "image/jp2"),
        (b"%PDF-1.7", "application/octet-stream"),
        (b"hello", "text/plain"),
        (PNG, "image/jpeg"),
        (PNG, "text/plain"),
        (b"file=a+name", "application/x-www-form-urlencoded"),
        (PNG, "multipart/mixed; boundary=b"),
    ],
)
def test_a_type_that_is_not_served_or_not_the_bytes_own_is_415(
    service: LiveService, body: bytes, declared: str
) -> None:
    bare = service.http.post("/enhance", content=body, headers={"content-type": declared})
    assert_problem(bare, "unsupported-type")
    part = service.http.post("/enhance", files={"file": ("a", body, declared)})
    assert_problem(part, "unsupported-type")


def test_a_damaged_dicom_object_is_422(service: LiveService) -> None:
    body = bytes(128) + b"DICM" + bytes(100)
    bare = service.http.post("/enhance", content=body, headers={"content-type": "application/dicom"})
    assert_problem(bare, "undecodable-image")


def test_a_compressed_body_is_415(service: LiveService) -> None:
    answer = service.http.post("/enhance", content=PNG, headers={"content-encoding": "gzip"})
    assert_problem(answer, "unsupported-type")


@pytest.mark.parametrize("body", [PNG[: len(PNG) // 2], PNG[:20], b"\xff\xd8\xff\xe0" + bytes(400)])
def test_an_image_that_cannot_be_decoded_is_422(service: LiveService, body: bytes) -> None:
    assert_problem(service.http.post("/enhance", content=body), "undecodable-image")


def test_too_many_pixels_are_422_by_the_header_alone(service: LiveService) -> None:
    header = bytearray(PNG)
    header[16:24] = (20_000).to_bytes(4, "big") * 2
    problem = assert_problem(service.http.post("/enhance", content=bytes(header)), "image-dimensions")
    assert (problem["limit"], problem["actual"]) == (1_000_000, 400_000_000)


@pytest.mark.parametrize("size", [(48, 300), (1, 1), (3000, 20)])
def test_an_image_too_small_to_score_is_422(service: LiveService, size: tuple[int, int]) -> None:
    assert_problem(service.http.post("/enhance", content=encoded(scene(*size))), "image-dimensions")
    files = {"output": encoded(scene(*size)), "input": encoded(scene(*size))}
    assert_problem(service.http.post("/score", files=files), "image-dimensions")


def test_images_of_two_sizes_are_422(service: LiveService) -> None:
    files = {"output": PNG, "input": encoded(scene(96, 82))}
    assert_problem(service.http.post("/score", files=files), "image-dimensions")


@pytest.mark.parametrize("name", ["absent", "tiny/9.9.9", "../../etc/passwd", "TINY", ""])
def test_an_unknown_model_is_404(service: LiveService, name: str) -> None:
    answer = service.http.post("/enhance", params={"model": name}, content=PNG)
    assert_problem(answer, "unknown-model")


@pytest.mark.parametrize(
    "query",
    [
        *("format=gif", "format=", "quality=0", "quality=101", "quality=best", "quality=1_0", "quality=%2B5"),
        *("policy=annotate", "policy=kind", "map=yes", "map=1", "unheard=of", "Format=png", "quality=5&unheard=of"),
    ],
)
def test_an_option_outside_its_values_or_unknown_is_422(service: LiveService, query: str) -> None:
    problem = assert_problem(service.http.post(f"/enhance?{query}", content=PNG), "invalid-parameter")
    assert "unheard" not in json.dumps(problem)


@pytest.mark.parametrize(
    "query",
    [
        *("policy=withhold&policy=constrain", "quality=50&quality=90", "map=true&map=true", "policy=withhold&policy"),
        *("unheard=of&unheard=of", "policy=withhold&model=tiny&p%6Flicy=constrain"),
    ],
)
@pytest.mark.parametrize("route", ["/enhance", "/score"])
def test_an_option_given_twice_is_422_for_one_would_be_ignored(service: LiveService, route: str, query: str) -> None:
    files = {"file": PNG} if route == "/enhance" else {"output": PNG, "input": PNG}
    problem = assert_problem(service.http.post(f"{route}?{query}", files=files), "invalid-parameter")
    assert problem["detail"] == "An option is given more than once."


def test_an_unknown_option_is_answered_with_those_that_this_route_knows(service: LiveService) -> None:
    enhance = service.http.post("/enhance?unheard=of", content=PNG)
    assert assert_problem(enhance, "invalid-parameter")["detail"].endswith(": format, map, model, policy, quality.")
    score = service.http.post("/score?format=png", files={"output": PNG, "input": PNG})
    assert assert_problem(score, "invalid-parameter")["detail"].endswith(" Known here: map.")


@pytest.mark.parametrize(
    "body",
    [
        b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\nx\r\n' * 2 + b"--b--\r\n",
        b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\ncut off',
        b"not multipart at all",
        b"--b\r\nno colon\r\n\r\n\r\n--b--\r\n",
        b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\n\r\n' * 80 + b"--b--\r\n",
    ],
    ids=["two files", "cut off", "not multipart", "bad header", "too many parts"],
)
def test_a_multipart_body_that_cannot_be_understood_is_422(service: LiveService, body: bytes) -> None:
    assert_problem(service.http.post("/enhance", content=body, headers=MULTIPART), "invalid-parameter")


def test_a_multipart_body_without_boundary_is_422(service: LiveService) -> None:
    answer = service.http.post("/enhance", content=b"--b--", headers={"content-type": "multipart/form-data"})
    assert_problem(answer, "invalid-parameter")


def test_a_second_file_where_one_is_expected_is_422(service: LiveService) -> None:
    for route, names in (("/enhance", ["file"]), ("/score", ["output", "input"])):
        for repeated in names:
            files = [(name, PNG) for name in (*names, repeated)]
            assert_problem(service.http.post(route, files=files), "invalid-parameter")


def test_scoring_asks_for_both_images(service: LiveService) -> None:
    assert_problem(service.http.post("/score", files={"output": PNG}), "missing-image")
    assert_problem(service.http.post("/score", files={"output": PNG, "file": PNG}), "missing-image")
    assert_problem(service.http.post("/score", content=PNG), "unsupported-type")


def test_a_full_queue_is_429_on_arrival_with_retry_after(service: LiveService) -> None:
    with frozen(service) as go:
        accepted = [
            threading.Thread(target=service.http.post, args=("/enhance",), kwargs={"content": PNG}) for _ in "123"
        ]
        for thread in accepted:
            thread.start()
        wait_until(lambda: service.service.pool.busy == 3)  # one runs, two wait: the queue is full
        answer = service.http.post("/enhance", content=PNG)
        problem = assert_problem(answer, "overloaded")
        assert int(answer.headers["retry-after"]) >= 1
        assert problem["retry_after_s"] >= 1
        assert not go.is_set()  # it was refused while the others still waited
        assert service.http.get("/health/live").status_code == 200
        go.set()
        for thread in accepted:
            thread.join(PATIENCE_S)
    assert service.http.post("/enhance", content=PNG).status_code == 200


def test_a_model_that_fails_is_500_and_the_next_request_still_works(service: LiveService) -> None:
    poison = np.full((80, 96, 3), models.POISON, np.uint8)
    assert_problem(service.http.post("/enhance", content=encoded(poison)), "inference-failed")
    assert service.http.post("/enhance", content=PNG).status_code == 200


def test_a_deadline_that_passes_is_504_and_its_slot_is_free_again(tmp_path: Path) -> None:
    models.install(tmp_path, models.identity())
    with LiveService(tmp_path, deadline_s=0.3, workers=1, queue_capacity=1) as live:
        with frozen(live) as go:
            running, waiting = [], []
            first = threading.Thread(target=lambda: running.append(live.http.post("/enhance", content=PNG)))
            first.start()
            wait_until(lambda: live.service.pool.busy == 1 and live.service.pool.depth == 0)
            second = threading.Thread(target=lambda: waiting.append(live.http.post("/enhance", content=PNG)))
            second.start()
            first.join(PATIENCE_S)
            second.join(PATIENCE_S)
            assert_problem(running[0], "deadline-exceeded")
            assert_problem(waiting[0], "deadline-exceeded")
            wait_until(lambda: live.service.pool.busy == 0)
            go.set()
        assert live.http.post("/enhance", content=PNG).status_code == 200


def test_an_unforeseen_failure_is_500_without_a_trace(service: LiveService, monkeypatch: pytest.MonkeyPatch) -> None:
    def stumble(_reference: str | None) -> None:
        raise RuntimeError("secret words")

    monkeypatch.setattr(service.service.model_pool, "check", stumble)
    answer = service.http.post("/enhance", content=PNG)
    assert_problem(answer, "internal-error")
    assert "secret" not in answer.text


@pytest.mark.parametrize("path", ["/nowhere", "/enhance/", "/page/../front.py", "/page/nothing.css", "/%2e%2e/etc"])
def test_an_unknown_route_is_404(service: LiveService, path: str) -> None:
    assert_problem(service.http.get(path), "not-found")


@pytest.mark.parametrize(("method", "path"), [("GET", "/enhance"), ("PUT", "/score"), ("DELETE", "/models")])
def test_a_method_that_a_route_does_not_take_is_405_and_says_which_it_takes(
    service: LiveService, method: str, path: str
) -> None:
    answer = service.http.request(method, path)
    assert_problem(answer, "method-not-allowed")
    assert answer.headers["allow"] == ("GET, HEAD" if path == "/models" else "POST")


def test_what_is_no_http_gets_a_problem_document_too(service: LiveService) -> None:
    with socket.create_connection(("127.0.0.1", service.port), PATIENCE_S) as client:
        client.sendall(b"GET / HTTP/9.9\r\nthis is not a header\r\n\r\n")
        head, _, body = client.recv(65536).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"application/problem+json" in head
    assert json.loads(body)["code"] == "bad-request"


def test_a_model_that_does_not_load_leaves_a_service_that_says_why(tmp_path: Path) -> None:
    models.install(tmp_path, models.identity())
    (tmp_path / "tiny/1.0.0/model.onnx").write_bytes(b"no model")
    with LiveService(tmp_path) as live:
        assert live.fatal[0].code == "model-corrupt"
        assert "tiny/1.0.0" in assert_problem(live.http.get("/health/ready"), "not-ready")["detail"]
        assert live.http.get("/health/live").status_code == 200
        assert_problem(live.http.post("/enhance", content=PNG), "not-ready")
