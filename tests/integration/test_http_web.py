"""What web clients and proxies send by their defaults: forms with extra fields, odd types, sub-paths, slow lines."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests import models
from tests.hostile import case
from tests.live import PATIENCE_S, LiveService, encoded, scene

PNG = encoded(scene(160, 120))


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveService]:
    root = tmp_path_factory.mktemp("models")
    models.install(root, models.identity())
    with LiveService(root) as live:
        yield live


@pytest.mark.parametrize("name", ["iphone.heic", "android.avif", "photo.jxl", "gif.gif", "twelve-bit.jpg", "rle8.bmp"])
def test_files_as_phones_and_cameras_write_them_are_served(service: LiveService, name: str) -> None:
    answer = service.http.post("/enhance", content=case(name))
    assert answer.status_code == 200
    assert answer.headers["content-type"] in ("image/jpeg", "image/png", "image/bmp")
    again = service.http.post("/enhance?format=png", files={"file": (name, case(name))})
    assert again.headers["content-type"] == "image/png"


def test_what_is_not_read_is_named_with_what_to_do(service: LiveService) -> None:
    problem = service.http.post("/enhance", content=case("jpegls.jls")).json()
    assert (problem["status"], problem["code"]) == (415, "unsupported-type")
    assert "JPEG-LS" in problem["detail"]
    assert "send the photo as PNG or TIFF" in problem["detail"]


def test_fields_that_uploaders_add_to_a_form_are_ignored(service: LiveService) -> None:
    dropzone = {"dzuuid": "d2a7", "dzchunkindex": "0", "dztotalfilesize": "123", "policy": "whatever"}
    answer = service.http.post("/enhance", data=dropzone, files={"file": ("a.png", PNG, "image/png")})
    assert answer.status_code == 200
    both = {"output": PNG, "input": PNG}
    assert service.http.post("/score", data=dropzone, files=both).status_code == 200


def test_a_single_file_may_have_any_name_and_a_text_field_of_that_name_is_none(service: LiveService) -> None:
    filepond = [("filepond", (None, b"{}")), ("filepond", ("a.png", PNG, "image/png"))]
    assert service.http.post("/enhance", files=filepond).status_code == 200
    two = [("photo", ("a.png", PNG)), ("other", ("b.png", PNG))]
    refused = service.http.post("/enhance", files=two)
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid-parameter")
    assert "send one, as the part file" in refused.json()["detail"]
    assert service.http.post("/enhance", files=[*two, ("file", ("c.png", PNG))]).status_code == 200


def test_a_form_without_a_file_is_a_missing_image(service: LiveService) -> None:
    answer = service.http.post("/enhance", files={"policy": (None, b"withhold")})
    assert (answer.status_code, answer.json()["code"]) == (400, "missing-image")


def test_a_preamble_before_the_first_boundary_is_passed_over(service: LiveService) -> None:
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n'
    for preamble in (b"", b"\r\n", b"This is a multi-part message in MIME format.\r\n"):
        body = preamble + head + PNG + b"\r\n--b--\r\n"
        answer = service.http.post(
            "/enhance", content=body, headers={"content-type": "multipart/form-data; boundary=b"}
        )
        assert answer.status_code == 200, preamble


@pytest.mark.parametrize("declared", ["application/x-www-form-urlencoded", "image/*", "image/x-png", ""])
def test_a_body_that_its_sender_does_not_name_is_taken_by_its_bytes(service: LiveService, declared: str) -> None:
    assert service.http.post("/enhance", content=PNG, headers={"content-type": declared}).status_code == 200


@pytest.mark.parametrize(
    ("suffix", "declared"), [(".tiff", "image/x-tiff"), (".bmp", "image/x-windows-bmp"), (".bmp", "image/x-ms-bmp")]
)
def test_older_names_of_a_type_are_understood(service: LiveService, suffix: str, declared: str) -> None:
    body = encoded(scene(96, 80), suffix)
    assert service.http.post("/enhance", content=body, headers={"content-type": declared}).status_code == 200


@pytest.mark.parametrize("tool", ["curl", "wget"])
def test_command_line_clients_succeed_by_their_defaults(service: LiveService, tool: str, tmp_path: Path) -> None:
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")
    sent, answer = tmp_path / "a.png", tmp_path / "out"
    sent.write_bytes(PNG)
    url = f"{service.url}/enhance"
    commands = {
        "curl": ["curl", "-sSf", "--noproxy", "*", "--data-binary", f"@{sent}", "-o", str(answer), url],
        "wget": ["wget", "-q", "--no-proxy", f"--post-file={sent}", "-O", str(answer), url],
    }
    subprocess.run(commands[tool], check=True)
    assert answer.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("query", "parameter"), [("map=true", "map"), ("quality=90", "quality")])
def test_an_option_that_would_be_ignored_is_an_error(service: LiveService, query: str, parameter: str) -> None:
    problem = service.http.post(f"/enhance?{query}", content=PNG).json()
    assert (problem["status"], problem["code"], problem["parameter"]) == (422, "invalid-parameter", parameter)


def test_a_slow_upload_that_keeps_coming_is_not_cut_off(tmp_path: Path) -> None:
    models.install(tmp_path, models.identity())
    with LiveService(tmp_path, body_timeout_s=0.5) as live:

        def drip() -> Iterator[bytes]:
            for at in range(0, len(PNG), len(PNG) // 10):
                time.sleep(0.1)
                yield PNG[at : at + len(PNG) // 10]

        assert live.http.post("/enhance", content=drip()).status_code == 200
        with socket.create_connection(("127.0.0.1", live.port), PATIENCE_S) as trickle:
            trickle.sendall(b"POST /enhance HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n\r\n")
            for _ in range(30):
                trickle.sendall(b"x")
                time.sleep(0.05)
            assert trickle.recv(12) == b"HTTP/1.1 408"


def test_below_a_path_everything_is_reached_and_named_with_it(tmp_path: Path) -> None:
    models.install(tmp_path, models.identity())
    with LiveService(tmp_path, root_path="/clinic/lamegan") as live:
        for prefix in ("", "/clinic/lamegan"):
            assert live.http.post(f"{prefix}/enhance", content=PNG).status_code == 200
            assert live.http.get(f"{prefix}/page/page.js").status_code == 200
            assert live.http.get(f"{prefix}/openapi.json").json()["servers"] == [{"url": "/clinic/lamegan"}]
        bare = live.http.get("/clinic/lamegan")
        assert (bare.status_code, bare.headers["location"]) == (308, "/clinic/lamegan/")
        assert live.http.get("/clinic/lameganfoo/models").status_code == 404
        assert 'route="/enhance"' in live.http.get("/metrics").text


def test_a_prefix_is_believed_of_trusted_proxies_alone(tmp_path: Path) -> None:
    models.install(tmp_path, models.identity())
    told = {"x-forwarded-prefix": "/lamegan"}
    with LiveService(tmp_path) as live:
        assert live.http.get("/openapi.json", headers=told).json()["servers"] == [{"url": "/lamegan"}]
        assert live.http.get("/lamegan/models", headers=told).status_code == 200
        assert live.http.get("/lamegan/models").status_code == 404
        for odd in ("//evil.example", "https://evil.example", "/a b", '/"><script>'):
            servers = live.http.get("/openapi.json", headers={"x-forwarded-prefix": odd}).json()["servers"]
            assert servers == [{"url": "/"}]
    with LiveService(tmp_path, trusted_proxies="10.0.0.0/8") as live:
        assert live.http.get("/openapi.json", headers=told).json()["servers"] == [{"url": "/"}]


def test_the_limits_that_capabilities_tell_are_those_of_the_formats_read(service: LiveService) -> None:
    facts = httpx.get(f"{service.url}/capabilities", trust_env=False).json()
    assert {"image/heic", "image/avif", "image/jxl", "image/gif"} <= set(facts["formats"]["input"])
    assert facts["limits"]["max_pixels"] == 64_000_000
