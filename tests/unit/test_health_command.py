"""`lamegan health`: whom it asks, and what it says when there is no sound response."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest
from typer.testing import CliRunner, Result

from service.commands.health import own_url
from service.commands.main import app
from service.errors import CommandError


def health(*arguments: str) -> Result:
    """The command as the shell runs it."""
    return CliRunner().invoke(app, ["health", *arguments])


class Ready(BaseHTTPRequestHandler):
    """Says yes."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/health/ready" else 404)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


class Six(HTTPServer):
    """Serves IPv6."""

    address_family = socket.AF_INET6


@contextmanager
def serving(kind: type[HTTPServer], host: str) -> Iterator[int]:
    try:
        server = kind((host, 0), Ready)
    except OSError:
        pytest.skip(f"this machine has no {host}")
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def saying(answer: bytes) -> Iterator[str]:
    """The address of a peer that says `answer` to the first who calls; a response in HTTP it never ends."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def talk() -> None:
            with listener.accept()[0] as peer:
                peer.recv(65536)
                peer.sendall(answer)
                if answer.startswith(b"HTTP"):
                    peer.recv(1)

        thread = Thread(target=talk)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread.join()


@pytest.mark.parametrize(
    ("kind", "host", "bound"),
    [
        (HTTPServer, "127.0.0.1", "127.0.0.1"),
        (HTTPServer, "127.0.0.2", "127.0.0.2"),
        (HTTPServer, "0.0.0.0", "0.0.0.0"),
        (HTTPServer, "localhost", "127.0.0.1"),
        (Six, "::1", "::1"),
        (Six, "::", "::1"),
    ],
)
def test_the_configured_host_is_asked(
    kind: type[HTTPServer], host: str, bound: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(kind, bound) as port:
        monkeypatch.setenv("LAMEGAN_HOST", host)
        monkeypatch.setenv("LAMEGAN_PORT", str(port))
        result = health()
    assert (result.exit_code, result.stdout) == (0, "ready\n")


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("0.0.0.0", "http://127.0.0.1:8000"),
        ("::", "http://[::1]:8000"),
        ("fd00::2", "http://[fd00::2]:8000"),
        ("throat.example", "http://throat.example:8000"),
    ],
)
def test_every_address_means_loopback_and_ipv6_is_bracketed(host: str, url: str) -> None:
    assert own_url(host, 8000) == url


@pytest.mark.parametrize(
    "url",
    [
        *("http://[::1", "http://", "http://:8000", "http://host:port", "http://host:99999", "http://a b"),
        *(
            "http://h\u00f6st\udce9",
            "http://[throat]",
            "http://host\n",
            "http://h\x7f",
            "host:8000",
            "http://.x",
            "ftp://host",
        ),
    ],
)
def test_what_is_no_address_is_refused_in_one_sentence(url: str) -> None:
    result = health("--url", url)
    assert isinstance(result.exception, CommandError)
    assert "address" in result.exception.detail


@pytest.mark.parametrize("timeout_s", ["-1", "0", "inf", "nan", "-inf", "1e10"])
def test_a_timeout_that_is_none_is_refused_in_one_sentence(timeout_s: str) -> None:
    result = health("--url", "http://127.0.0.1:9", "--timeout-s", timeout_s)
    assert isinstance(result.exception, CommandError)
    assert result.exception.detail == "The timeout must be above 0 and at most 3600 seconds."


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", "no response: what is there does not speak HTTP"),
        (b"", "no response: Remote end closed connection without response"),
        (b"HTTP/1.1 503 No\r\nContent-Length: 9\r\n\r\n{", "no response: timed out"),
    ],
)
def test_an_answer_that_is_none_is_told_from_silence(answer: bytes, said: str) -> None:
    with saying(answer) as url:
        result = health("--url", url, "--timeout-s", "0.3")
    assert (result.exit_code, result.stdout) == (1, f"{said}\n")
