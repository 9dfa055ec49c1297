"""What arrives on the wire beside plain requests: wishes for other protocols, what is no HTTP, and HEAD."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from email.message import Message
from http.client import parse_headers
from pathlib import Path
from typing import Self

import pytest

from tests import models
from tests.integration.command import command
from tests.live import PATIENCE_S, LiveService, encoded, scene, wait_until

PNG = encoded(scene(96, 80))
WISH = (
    b"Connection: Upgrade, HTTP2-Settings\r\nHost: x\r\nHTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\n"
    b"X-Empty:\r\nUpgrade: h2c\r\nUser-Agent: Java-http-client/17.0.2\r\n"
)
"""What java.net.http.HttpClient adds to its first request on a connection, and a header without a value."""

INNER = b"GET /models HTTP/1.1\r\nHost: x\r\n\r\n"


def wishing(body: bytes, extra: bytes = b"") -> bytes:
    """POST /enhance with a wish for HTTP/2, headers `extra` and `body`."""
    return b"POST /enhance HTTP/1.1\r\n%s%sContent-Length: %d\r\n\r\n%s" % (WISH, extra, len(body), body)


class Client:
    """A connection, and the responses that come in over it."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), PATIENCE_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self._socket.makefile("rb")
        self.send = self._socket.sendall

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._socket.close()

    def answer(self, *, body: bool = True) -> tuple[int, Message, bytes]:
        """Status, headers and body of the next response; without `body` only its head."""
        status = int(self._file.readline().split()[1])
        headers = parse_headers(self._file)
        return status, headers, self._file.read(int(headers["content-length"])) if body else b""

    def end(self) -> bytes:
        """What still comes once this side has said that it sends no more."""
        self._socket.shutdown(socket.SHUT_WR)
        return self._file.read()


def chunked(body: bytes) -> bytes:
    """POST /enhance with a wish for HTTP/2, in chunks whose trailer wishes again."""
    head = b"POST /enhance HTTP/1.1\r\n%sTransfer-Encoding: chunked\r\n\r\n" % WISH
    return head + b"%x\r\n%s\r\n0\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n" % (len(body), body)


@pytest.mark.parametrize("pieces", ["one", "head first", "cut in the head", "cut in the body", "bytes"])
@pytest.mark.parametrize("make", [wishing, chunked])
def test_a_wish_for_another_protocol_is_ignored_and_the_request_served(
    brightening: LiveService, make: Callable[[bytes], bytes], pieces: str
) -> None:
    request = make(PNG)
    head = request.index(b"\r\n\r\n") + 4
    cuts = {
        "one": [],
        "head first": [head],
        "cut in the head": [head - 90, head - 30, head - 3],
        "cut in the body": [head + 3, head + 100],
        "bytes": range(1, head + 20),
    }[pieces]
    expected = brightening.http.post("/enhance", content=PNG).content
    with Client(brightening.port) as client:
        for start, end in zip([0, *cuts], [*cuts, len(request)], strict=True):
            client.send(request[start:end])
        status, _, body = client.answer()
        assert (status, body == expected) == (200, True)
        client.send(INNER)  # the connection goes on
        assert client.answer()[0] == 200


def test_the_body_of_a_request_with_a_wish_is_never_taken_for_a_request(brightening: LiveService) -> None:
    for request in (wishing(INNER), chunked(INNER)):
        with Client(brightening.port) as client:
            client.send(request)
            status, _, body = client.answer()
            assert (status, json.loads(body)["code"]) == (415, "unsupported-type")
            assert client.end() == b""  # one response and no other


def test_requests_behind_one_another_are_all_answered_in_order_whatever_they_wish(brightening: LiveService) -> None:
    plain = b"POST /score?map=no HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
    get = b"GET /health/live HTTP/1.1\r\n%s\r\n" % WISH
    with Client(brightening.port) as client:
        client.send(wishing(PNG) + plain + get + wishing(b"") + chunked(PNG) + INNER)
        statuses = [client.answer()[0] for _ in range(6)]
    assert statuses == [200, 422, 200, 400, 200, 200]


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
def test_a_wish_of_a_client_that_wants_no_second_request_is_ignored_too(
    brightening: LiveService, version: bytes
) -> None:
    request = wishing(PNG).replace(b"Connection: ", b"Connection: close, ").replace(b"HTTP/1.1", b"HTTP/" + version)
    with Client(brightening.port) as client:
        client.send(request)
        assert client.answer()[0] == 200
        assert client.end() == b""


def test_a_websocket_is_not_opened(brightening: LiveService) -> None:
    key = b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    with Client(brightening.port) as client:
        client.send(
            b"GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n%s\r\n" % key
        )
        assert client.answer()[0] == 200


def test_a_tunnel_is_refused_once_and_what_follows_is_not_read(brightening: LiveService) -> None:
    with Client(brightening.port) as client:
        client.send(b"CONNECT elsewhere:80 HTTP/1.1\r\nHost: x\r\n\r\n" + INNER)
        assert client.answer()[0] == 400
        assert client.end() == b""


def test_what_is_no_request_has_an_id_a_log_line_and_a_count(tmp_path: Path) -> None:
    models.install(tmp_path / "models", models.identity())
    with command(tmp_path / "models", tmp_path / "log") as running:
        port = int(running.ready_url().rpartition(":")[2])
        with Client(port) as client:
            client.send(b"this is no HTTP\r\n\r\n")
            status, headers, body = client.answer()
        problem = json.loads(body)
        assert (status, problem["code"]) == (400, "bad-request")
        assert headers["x-request-id"] == problem["request_id"]
        assert headers["x-content-type-options"] == "nosniff"
        with Client(port) as client:
            client.send(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
            text = client.answer()[2].decode()
        series = 'lamegan_requests_total{code="bad-request",method="other",route="unmatched",status="400"} 1.0'
        assert series in text
        wait_until(lambda: any(event.get("request_id") == problem["request_id"] for event in running.events()))
        (line,) = [event for event in running.events() if event.get("request_id") == problem["request_id"]]
        assert (line["event"], line["route"], line["status"]) == ("request", "unmatched", 400)
        assert "this is no HTTP" not in (tmp_path / "log").read_text()


@pytest.mark.parametrize(
    "path",
    ["/", "/docs", "/openapi.json", "/page/page.js", "/capabilities", "/models", "/health/live", "/health/ready"],
)
def test_head_answers_the_headers_of_get_and_no_body(brightening: LiveService, path: str) -> None:
    get, head = brightening.http.get(path), brightening.http.head(path)
    assert (head.status_code, head.content) == (200, b"")
    differing = {"date", "x-request-id"}
    assert [pair for pair in head.headers.items() if pair[0] not in differing] == [
        pair for pair in get.headers.items() if pair[0] not in differing
    ]
    with Client(brightening.port) as client:  # really nothing after the head, and the connection goes on
        client.send(b"HEAD %s HTTP/1.1\r\nHost: x\r\n\r\n" % path.encode() + INNER)
        assert client.answer(body=False)[0] == 200
        assert client.answer()[0] == 200


def test_head_of_what_get_does_not_find_or_take_is_an_error_without_a_body(brightening: LiveService) -> None:
    assert brightening.http.head("/metrics").status_code == 200
    for path, status in (("/nowhere", 404), ("/enhance", 405), ("/models?x=1", 422)):
        head = brightening.http.head(path)
        assert (head.status_code, head.content) == (status, b"")
        assert head.headers["content-type"] == "application/problem+json"
    assert brightening.http.post("/models").headers["allow"] == "GET, HEAD"
    assert brightening.http.head("/enhance").headers["allow"] == "POST"


def test_head_is_counted_as_such_and_described_nowhere(brightening: LiveService) -> None:
    brightening.http.head("/models")
    series = 'lamegan_requests_total{code="ok",method="HEAD",route="/models",status="200"}'
    assert series in brightening.http.get("/metrics").text
    paths = brightening.http.get("/openapi.json").json()["paths"]
    assert not any("head" in operations for operations in paths.values())
