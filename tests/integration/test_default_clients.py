"""requests, axios, wget and Java's HttpClient by their defaults, against the service and behind nginx with TLS."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import playwright
import pytest

from tests import models
from tests.live import LiveService, encoded, scene
from tests.nginx import nginx
from tests.web_packages import FOLDER, node_modules

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("default clients")]

NODE = Path(playwright.__file__).parent / "driver" / "node"
PHOTO = encoded(scene(160, 120), ".jpg")
RUN_S = 300
"""Longest wait for one program, on a machine that has much else to do."""
DIRECT = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}


@dataclass(frozen=True, slots=True)
class Place:
    """Where the service is, and how programs are told to trust its certificate.

    Attributes:
        url: the service's, without a trailing slash.
        folder: holds photo.jpg, cert.pem and trust.p12.
    """

    url: str
    folder: Path

    def run(self, *command: str | Path, fails: bool = False) -> str:
        """What a program prints on both channels.

        Raises:
            AssertionError: it fails, or was to fail and does not.
        """
        trusted = str(self.folder / "cert.pem")
        environment = {**DIRECT, "REQUESTS_CA_BUNDLE": trusted, "NODE_EXTRA_CA_CERTS": trusted}
        done = subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=RUN_S, check=False
        )
        said = done.stdout + done.stderr
        assert (done.returncode != 0) == fails, said
        return said


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Place]]:
    folder: Path = tmp_path_factory.mktemp("clients")
    (folder / "photo.jpg").write_bytes(PHOTO)
    (folder / "text.jpg").write_text("text")
    models.install(folder / "models", models.brighten(6), floors=models.STRICT)
    with LiveService(folder / "models") as live, nginx(folder, live.port) as port:
        keytool = shutil.which("keytool")
        assert keytool, "no JDK is installed (make system)"
        to_store = ("-keystore", folder / "trust.p12", "-storetype", "PKCS12", "-storepass", "changeit")
        subprocess.run(
            [keytool, "-importcert", "-noprompt", "-alias", "a", "-file", folder / "cert.pem", *to_store],
            check=True,
            capture_output=True,
        )
        yield {
            "itself": Place(live.url, folder),
            "behind nginx": Place(f"https://127.0.0.1:{port}/lamegan", folder),
        }


REQUESTS = """
import sys, requests
url, name = sys.argv[1:]
photo = lambda: open(name, "rb")
answers = [
    requests.post(url + "/enhance", files={"file": photo()}),
    requests.post(url + "/enhance", data=photo()),
    requests.post(url + "/enhance", data=photo().read()),
    requests.post(url + "/enhance", data=iter([photo().read()])),
    requests.post(url + "/assess", files={"file": photo()}),
    requests.post(url + "/score", files={"output": photo(), "input": photo()}),
]
for answer in answers:
    media = answer.headers["content-type"]
    print(answer.status_code, media, answer.json().get("code") if "json" in media else "")
"""


def post_by_requests(place: Place) -> None:
    image, facts = "200 image/jpeg", "200 application/json None"
    said = place.run(sys.executable, "-c", REQUESTS, place.url, "photo.jpg")
    assert [line.strip() for line in said.splitlines()] == [image, image, image, image, facts, facts]
    refused = place.run(sys.executable, "-c", REQUESTS, place.url, "text.jpg").splitlines()
    assert set(refused) == {"415 application/problem+json unsupported-type"}


def post_by_axios(place: Place) -> None:
    node_modules()
    axios = (NODE, FOLDER / "axios_post.cjs", f"{place.url}/enhance")
    assert place.run(*axios, "photo.jpg").splitlines() == ["200 image/jpeg pass"] * 2
    assert place.run(*axios, "text.jpg").splitlines() == ["415 application/problem+json unsupported-type"] * 2


def post_by_wget(place: Place) -> None:
    wget = ("wget", "--no-config", "--ca-certificate", "cert.pem", "--tries", "1")
    out = place.folder / "wget.jpg"
    place.run(*wget, "--post-file", "photo.jpg", "-O", out, f"{place.url}/enhance")
    assert out.read_bytes().startswith(b"\xff\xd8")
    out.unlink()
    refused = ("--content-on-error", "--post-file", "text.jpg", "-O", out, f"{place.url}/enhance")
    assert "415" in place.run(*wget, *refused, fails=True)
    assert b'"unsupported-type"' in out.read_bytes()


def post_by_java(place: Place) -> None:
    trusting = f"-Djavax.net.ssl.trustStore={place.folder / 'trust.p12'}"
    java = ("java", trusting, "-Djavax.net.ssl.trustStorePassword=changeit", FOLDER / "Client.java")
    out = place.folder / "java.jpg"
    said = place.run(*java, f"{place.url}/enhance", "photo.jpg", out)
    assert said.split() == ["200", "image/jpeg", "pass"]
    assert out.read_bytes().startswith(b"\xff\xd8")
    assert place.run(*java, f"{place.url}/enhance", "text.jpg", out).split() == ["415", "application/problem+json"]


@pytest.mark.parametrize("where", ["itself", "behind nginx"])
@pytest.mark.parametrize("post", [post_by_requests, post_by_axios, post_by_wget, post_by_java])
def test_a_client_succeeds_by_its_defaults_and_is_told_what_was_wrong(
    places: dict[str, Place], where: str, post: Callable[[Place], None]
) -> None:
    post(places[where])
