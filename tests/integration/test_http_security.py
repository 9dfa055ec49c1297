"""Keys, rates, CORS, and what a stranger must not get, over a live server."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from service.api.limits.api_keys import key_line
from service.commands.main import app
from service.errors import ConfigurationError
from service.settings import read_settings
from tests import models
from tests.live import LiveService, encoded, scene, wait_until

PNG = encoded(scene(96, 80))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root: Path = tmp_path_factory.mktemp("models")
    models.install(root, models.identity())
    return root


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, str, str]:
    """A keys file with two keys, and the keys."""
    (first, first_line), (second, second_line) = key_line("camera-1"), key_line("camera-2")
    path = tmp_path / "keys"
    path.write_text(f"# cameras\n{first_line}\n\n{second_line}\n")
    return path, first, second


@pytest.fixture
def keyed(root: Path, keys: tuple[Path, str, str]) -> Iterator[LiveService]:
    with LiveService(root, keys_file=keys[0]) as live:
        yield live


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def test_several_keys_open_and_everything_else_is_401(keyed: LiveService, keys: tuple[Path, str, str]) -> None:
    _, first, second = keys
    for key in (first, second):
        assert keyed.http.post("/enhance", content=PNG, headers=bearer(key)).status_code == 200
    for headers in (
        {},
        bearer("wrong"),
        {"authorization": "Bearer"},
        {"authorization": f"Basic {first}"},
        {"authorization": first},
    ):
        answer = keyed.http.post("/enhance", content=PNG, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
        assert answer.headers["www-authenticate"].startswith("Bearer")
    for path in ("/capabilities", "/models"):
        assert keyed.http.get(path).status_code == 401
        assert keyed.http.get(path, headers=bearer(first)).status_code == 200


def test_health_needs_no_key(keyed: LiveService) -> None:
    assert keyed.http.get("/health/live").status_code == 200
    assert keyed.http.get("/health/ready").status_code == 200


@pytest.mark.parametrize("protected", [False, True])
def test_metrics_and_docs_follow_their_settings(root: Path, keys: tuple[Path, str, str], protected: bool) -> None:
    with LiveService(root, keys_file=keys[0], protect_metrics=protected, protect_page=protected) as live:
        for path in ("/metrics", "/docs", "/openapi.json", "/page/docs.css"):
            assert live.http.get(path).status_code == (401 if protected else 200)
            assert live.http.get(path, headers=bearer(keys[1])).status_code == 200


def test_a_browser_opens_protected_pages_with_the_key_as_password_and_work_still_wants_bearer(
    root: Path, keys: tuple[Path, str, str]
) -> None:
    with LiveService(root, keys_file=keys[0], protect_page=True, protect_metrics=True) as live:
        for path in ("/", "/docs", "/openapi.json", "/page/page.js"):
            refused = live.http.get(path)
            assert refused.headers["www-authenticate"] == 'Basic realm="lamegan", charset="UTF-8"'
            assert "challenge" not in refused.json()
            assert live.http.get(path, auth=("anyone", keys[1])).status_code == 200
            assert live.http.get(path, auth=("anyone", keys[1] + " ")).status_code == 200
            for wrong in (("anyone", "wrong"), (keys[1], ""), ("", "")):
                assert live.http.get(path, auth=wrong).status_code == 401
            for broken in ("Basic", "Basic !!!", "Basic /w==", "Basic " + "A" * 4000):
                assert live.http.get(path, headers={"authorization": broken}).status_code == 401
        for method, path in (
            *(("POST", path) for path in ("/enhance", "/score")),
            *(("GET", path) for path in ("/capabilities", "/models", "/metrics", "/absent")),
        ):
            answer = live.http.request(method, path, content=PNG, auth=("anyone", keys[1]))
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"].startswith("Bearer")


def test_a_revoked_key_stops_and_a_new_one_starts_working_without_a_restart(
    keyed: LiveService, keys: tuple[Path, str, str]
) -> None:
    path, first, second = keys
    fresh, line = key_line("camera-3")
    partial = path.with_suffix(".new")
    partial.write_text("\n".join([path.read_text().splitlines()[3], line]) + "\n")
    partial.replace(path)
    wait_until(lambda: keyed.http.get("/models", headers=bearer(fresh)).status_code == 200)
    assert keyed.http.get("/models", headers=bearer(first)).status_code == 401
    assert keyed.http.get("/models", headers=bearer(second)).status_code == 200


def test_a_keys_file_that_breaks_keeps_the_old_keys_and_one_that_goes_lets_nobody_in(
    keyed: LiveService, keys: tuple[Path, str, str], caplog: pytest.LogCaptureFixture
) -> None:
    path, first, _ = keys
    path.write_text("this is not a key line\n")
    wait_until(lambda: keyed.service.keys is not None and keyed.http.get("/models").status_code == 401)
    wait_until(lambda: keyed.http.get("/models", headers=bearer(first)).status_code == 200 and faulty(keyed))
    (told,) = [
        record
        for record in caplog.records
        if record.name == "service.api.limits.api_keys" and record.levelname == "ERROR"
    ]
    assert "Line 1 of the keys file is not name:sha256." in told.getMessage()
    path.unlink()
    wait_until(lambda: keyed.http.get("/models", headers=bearer(first)).status_code == 401)


def test_an_emptied_keys_file_lets_nobody_in(keyed: LiveService, keys: tuple[Path, str, str]) -> None:
    path, first, _ = keys
    path.write_text("# none left\n")
    wait_until(lambda: keyed.http.get("/models", headers=bearer(first)).status_code == 401)


def faulty(live: LiveService) -> bool:
    return live.service.keys is not None and live.service.keys.fault is not None


@pytest.mark.parametrize("text", ["", "# nothing\n", "name:abc\n", "näme:" + "0" * 64, "a b:" + "0" * 64])
def test_a_keys_file_without_a_sound_key_stops_the_start(root: Path, tmp_path: Path, text: str) -> None:
    (tmp_path / "keys").write_text(text)
    with pytest.raises(ConfigurationError), LiveService(root, keys_file=tmp_path / "keys"):
        pass


def test_the_keys_file_holds_no_key(keys: tuple[Path, str, str]) -> None:
    path, first, second = keys
    assert first not in path.read_text()
    assert second not in path.read_text()


def test_new_key_prints_a_line_that_opens(root: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["new-key", "ward-7"])
    assert result.exit_code == 0
    match = re.search(r"once\): (\S+)", result.stderr)
    assert match
    (tmp_path / "keys").write_text(result.stdout)
    with LiveService(root, keys_file=tmp_path / "keys") as live:
        assert live.http.get("/models", headers=bearer(match[1])).status_code == 200


def test_a_key_over_its_rate_is_429_and_the_others_are_not(root: Path, keys: tuple[Path, str, str]) -> None:
    with LiveService(root, keys_file=keys[0], rate_per_key_per_s=0.01) as live:
        assert live.http.post("/enhance", content=PNG, headers=bearer(keys[1])).status_code == 200
        answer = live.http.post("/enhance", content=PNG, headers=bearer(keys[1]))
        assert (answer.status_code, answer.json()["code"]) == (429, "rate-limited")
        assert 1 <= int(answer.headers["retry-after"]) <= 100
        assert live.http.post("/enhance", content=PNG, headers=bearer(keys[2])).status_code == 200


def test_an_open_address_without_keys_is_refused_unless_the_operator_insists(keys: tuple[Path, str, str]) -> None:
    for host in ("0.0.0.0", "::", "192.168.1.5", "example.org"):
        with pytest.raises(ConfigurationError, match="LAMEGAN_ALLOW_ANONYMOUS"):
            read_settings(host=host)
        assert read_settings(host=host, allow_anonymous=True).host == host
        assert read_settings(host=host, keys_file=keys[0]).host == host
    for host in ("127.0.0.1", "localhost", "::1"):
        assert read_settings(host=host).host == host


def test_browsers_of_other_origins_are_let_in_only_where_configured(root: Path, brightening: LiveService) -> None:
    origin = {"origin": "https://clinic.example"}
    preflight = {
        **origin,
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization, x-requested-with, sentry-trace, traceparent",
    }
    assert "access-control-allow-origin" not in brightening.http.get("/models", headers=origin).headers
    assert brightening.http.options("/enhance", headers=preflight).status_code == 405
    with LiveService(root, cors_origins="https://clinic.example") as live:
        allowed = live.http.options("/enhance", headers=preflight)
        assert allowed.status_code == 200
        assert allowed.headers["access-control-allow-origin"] == "https://clinic.example"
        answer = live.http.post("/enhance", content=PNG, headers=origin)
        assert "LaSSIM" in answer.headers["access-control-expose-headers"]
        refused = live.http.post("/enhance", content=b"", headers=origin)
        assert refused.status_code == 400
        assert refused.headers["access-control-allow-origin"] == "https://clinic.example"
        stranger = live.http.get("/models", headers={"origin": "https://evil.example"})
        assert "access-control-allow-origin" not in stranger.headers


@pytest.mark.parametrize(
    "asked",
    [
        {"origin": "https://evil.example"},
        {"access-control-request-method": "DELETE"},
    ],
    ids=["origin", "method"],
)
def test_a_refused_preflight_is_a_problem_document_and_counted_under_its_code(
    root: Path, asked: dict[str, str]
) -> None:
    preflight = {"origin": "https://clinic.example", "access-control-request-method": "POST", **asked}
    with LiveService(root, cors_origins="https://clinic.example") as live:
        refused = live.http.options("/enhance", headers=preflight)
        assert (refused.status_code, refused.json()["code"]) == (400, "bad-request")
        assert refused.headers["content-type"] == "application/problem+json"
        assert refused.headers["x-request-id"] == refused.json()["request_id"]
        assert "access-control-allow-origin" not in refused.headers
        text = live.http.get("/metrics").text
    series = 'lamegan_requests_total{code="bad-request",method="OPTIONS",route="/enhance",status="400"} 1.0'
    assert series in text


def test_pages_carry_security_headers(brightening: LiveService) -> None:
    headers = brightening.http.get("/docs").headers
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert "frame-ancestors 'none'" in headers["content-security-policy"]


def test_the_metrics_port_serves_metrics_alone(root: Path) -> None:
    port = free_port()
    with LiveService(root, metrics_port=port) as live:
        assert live.http.get("/metrics").status_code == 404
        text = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text
        assert "lamegan_model_info" in text


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_the_environment_is_where_settings_come_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "LAMEGAN_PORT", "8123")
    assert read_settings().port == 8123
