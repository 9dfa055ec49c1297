"""Real uploaders in a real browser, by their defaults: from another origin, and behind nginx with TLS below a path."""

from __future__ import annotations

import http.server
import ssl
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from service.api.limits.api_keys import key_line
from tests import models
from tests.hostile import case
from tests.integration.test_page import ARGUMENTS, CHROMIUM, DONE
from tests.live import LiveService, encoded, scene
from tests.nginx import nginx
from tests.web_packages import bundle, node_modules

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

PHOTO = encoded(scene(160, 120), ".jpg")
UPLOADERS = ("uppy", "dropzone", "filepond", "axiosForm", "axiosBody")
SEND = "([name, bytes, file, type, url]) => window.send(name, bytes, file, type, url)"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=30_000)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a page of another origin that has the uploaders."""
    folder = tmp_path_factory.mktemp("site")
    bundle("uploaders.js", folder / "uploaders.js")
    (folder / "index.html").write_text("<!doctype html><title>site</title><body><script src='uploaders.js'></script>")
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    handler.log_message = lambda *_: None  # type: ignore[attr-defined]
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("models")
    models.install(folder, models.brighten(6), floors=models.STRICT)
    return folder


def test_uploaders_succeed_from_another_origin_by_their_defaults(browser: Browser, site: str, root: Path) -> None:
    with LiveService(root, cors_origins=site) as live:
        page = browser.new_page()
        page.goto(site)
        for name in UPLOADERS:
            sent = page.evaluate(SEND, [name, list(PHOTO), "a.jpg", "image/jpeg", f"{live.url}/enhance"])
            assert sent["ok"], (name, sent)
        heic = page.evaluate(
            SEND, ["axiosForm", list(case("iphone.heic")), "a.heic", "image/heic", f"{live.url}/enhance"]
        )
        assert heic["ok"], heic
        page.close()


def test_uploaders_succeed_behind_nginx_with_tls_below_a_path(
    browser: Browser, site: str, root: Path, tmp_path: Path
) -> None:
    with LiveService(root, cors_origins=site) as live, nginx(tmp_path, live.port) as port:
        page = browser.new_page(ignore_https_errors=True)
        page.goto(site)
        for name in UPLOADERS:
            url = f"https://127.0.0.1:{port}/lamegan/enhance"
            sent = page.evaluate(SEND, [name, list(PHOTO), "a.jpg", "image/jpeg", url])
            assert sent["ok"], (name, sent)
        page.close()


def test_everything_works_behind_nginx_with_tls_below_a_path(browser: Browser, root: Path, tmp_path: Path) -> None:
    with LiveService(root) as live, nginx(tmp_path, live.port) as port:
        base = f"https://127.0.0.1:{port}/lamegan"
        photo = tmp_path / "a.jpg"
        photo.write_bytes(PHOTO)
        trusted = ssl.create_default_context(cafile=tmp_path / "cert.pem")
        with httpx.Client(verify=trusted, trust_env=False) as client:
            assert client.post(f"{base}/enhance", files={"file": PHOTO}).status_code == 200
            assert client.get(f"{base}/openapi.json").json()["servers"] == [{"url": "/lamegan"}]
            docs = client.get(f"{base}/docs").text
            assert 'href="page/docs.css"' in docs
        curl = ["curl", "-sSf", "--noproxy", "*", "--cacert", tmp_path / "cert.pem", "--data-binary", f"@{photo}"]
        subprocess.run([*curl, "-o", tmp_path / "curl.jpg", f"{base}/enhance"], check=True)
        assert (tmp_path / "curl.jpg").read_bytes().startswith(b"\xff\xd8")
        page = browser.new_page(ignore_https_errors=True)
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"{base}/")
        page.get_by_role("button", name="Try a drawn sample").click()
        expect(page.get_by_role("heading", level=2).locator("visible=true").first).to_have_text(DONE)
        assert all(url.startswith((f"{base}/", "blob:")) for url in asked), asked
        page.close()


def test_the_page_tells_a_proxy_s_refusal_from_the_service_s(browser: Browser, root: Path, tmp_path: Path) -> None:
    with LiveService(root) as live, nginx(tmp_path, live.port, limit="10k") as port:
        page = browser.new_page(ignore_https_errors=True)
        page.goto(f"https://127.0.0.1:{port}/lamegan/")
        alert = page.get_by_role("alert").get_by_role("heading")
        page.locator("#choose").set_input_files(
            {"name": "a.png", "mimeType": "image/png", "buffer": encoded(scene(480, 272))}
        )
        expect(alert).to_have_text("The photo is too large for a server on the way")
    page.get_by_role("button", name="Another photo").click()
    page.close()


WCAG = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")


def breaches(page: Page) -> list[Any]:
    """What axe-core finds wrong with the page as it is now: rule and first element of each."""
    page.evaluate((node_modules() / "axe-core" / "axe.min.js").read_text(encoding="utf-8"))
    run = "rules => axe.run(document, {runOnly: rules}).then(r => r.violations.map(v => [v.id, v.nodes[0].html]))"
    found: list[Any] = page.evaluate(run, WCAG)
    return found


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_on_the_page(browser: Browser, root: Path, scheme: Any) -> None:
    with LiveService(root) as live:
        context = browser.new_context(color_scheme=scheme, bypass_csp=True)
        page = context.new_page()
        page.goto(live.url)
        expect(page.get_by_text("Model tiny 1.0.0")).to_be_visible()
        assert breaches(page) == []
        photo = {"name": "a.jpg", "mimeType": "image/jpeg", "buffer": PHOTO}
        page.locator("#choose").set_input_files([photo, {**photo, "name": "b.jpg"}])
        expect(page.get_by_text("Photo 1 of 2: a.jpg")).to_be_visible()
        assert breaches(page) == []
        page.get_by_role("button", name="Larger").click()
        page.get_by_label("Most changed place").check()
        page.get_by_label("Heat map").check()
        expect(page.locator("#map")).to_be_visible()
        assert breaches(page) == [], "enlarged, with place and heat map"
        page.goto(f"{live.url}/docs")
        assert breaches(page) == []
        context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_on_a_refusal_and_where_a_key_is_asked_for(
    browser: Browser, root: Path, scheme: Any, tmp_path: Path
) -> None:
    key, line = key_line("clinic")
    (tmp_path / "keys").write_text(line + "\n")
    with LiveService(root, keys_file=tmp_path / "keys") as live:
        context = browser.new_context(color_scheme=scheme, bypass_csp=True)
        page = context.new_page()
        page.goto(live.url)
        expect(page.get_by_text("This service asks for a key")).to_be_visible()
        assert breaches(page) == []
        page.get_by_label("Key", exact=True).fill("wrong")
        page.keyboard.press("Enter")
        expect(page.get_by_text("That key is not valid here")).to_be_visible()
        assert breaches(page) == [], "after a wrong key"
        page.get_by_label("Key", exact=True).fill(key)
        page.keyboard.press("Enter")
        expect(page.get_by_text("Choose a photo")).to_be_visible()
        broken = {"name": "a.jpg", "mimeType": "image/jpeg", "buffer": b"words, not a picture"}
        page.locator("#choose").set_input_files(broken)
        expect(page.get_by_role("alert").get_by_role("heading")).to_have_text("This type is not supported")
        assert breaches(page) == [], "a refusal"
        context.close()
