"""Clients generated from /openapi.json by openapi-typescript and openapi-python-client work against the service."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import playwright
import pytest

from service.api.limits.api_keys import key_line
from tests import models
from tests.conftest import ROOT
from tests.live import LiveService, encoded, scene
from tests.web_packages import FOLDER, node_modules

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("generated clients")]

HTTP = ROOT / "docs" / "http.md"
NODE = Path(playwright.__file__).parent / "driver" / "node"
REQUIREMENTS = ROOT / "tests" / "contract" / "openapi-python-client.txt"
PHOTO = encoded(scene(160, 120), ".jpg")
RUN_S = 600
"""Longest wait for one program, on a machine that has much else to do."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a photo and models."""
    folder: Path = tmp_path_factory.mktemp("generated")
    (folder / "photo.jpg").write_bytes(PHOTO)
    models.install(folder / "models", models.brighten(6), floors=models.STRICT)
    return folder


@pytest.fixture(scope="module")
def live(folder: Path) -> Iterator[LiveService]:
    with LiveService(folder / "models") as live:
        (folder / "openapi.json").write_bytes(live.http.get("/openapi.json").content)
        yield live


def run(*command: str | Path, cwd: Path) -> str:
    """What a program prints.

    Raises:
        AssertionError: it fails.
    """
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=RUN_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_openapi_typescript_gives_types_that_compile_and_a_client_that_works(live: LiveService, folder: Path) -> None:
    modules = node_modules()
    (folder / "node_modules").symlink_to(modules)
    shutil.copy(ROOT / "docs" / "examples" / "lamegan.js", folder)
    shutil.copy(FOLDER / "generated_use.ts", folder)
    options = json.loads((FOLDER / "tsconfig.json").read_text(encoding="utf-8"))["compilerOptions"]
    project = {"compilerOptions": options, "files": ["generated.ts", "generated_use.ts"]}
    (folder / "tsconfig.json").write_text(json.dumps(project))
    run(modules / ".bin" / "openapi-typescript", "openapi.json", "--output", "generated.ts", cwd=folder)
    run(modules / ".bin" / "tsc", "--project", "tsconfig.json", cwd=folder)
    bundled = ("--bundle", "--platform=node", "--log-level=error", "--outfile=use.cjs")
    run(modules / ".bin" / "esbuild", "generated_use.ts", *bundled, cwd=folder)
    assert json.loads(run(NODE, "use.cjs", live.url, "photo.jpg", cwd=folder)) == {
        "facts": ["pass", "image/png"],
        "image": "image/jpeg",
        "score": 1,
        "assessment": "string",
        "code": "unsupported-type",
        "retry": None,
        "policy": "constrain",
    }


@pytest.fixture(scope="module")
def python(folder: Path) -> Path:
    """The interpreter of an environment that has openapi-python-client."""
    run(sys.executable, "-m", "venv", "environment", cwd=folder)
    binary = folder / "environment" / "bin" / "python"
    quietly = ("--quiet", "--disable-pip-version-check", "--no-deps")
    run(binary, "-m", "pip", "install", *quietly, "--requirement", REQUIREMENTS, cwd=folder)
    return binary


USE = """
import json, sys
from lamegan_client import AuthenticatedClient, Client
from lamegan_client.api.default import assess_assess_post, capabilities_capabilities_get
from lamegan_client.api.default import enhance_enhance_post, score_score_post
from lamegan_client.models import AssessAssessPostFilesBody, EnhanceEnhancePostFilesBody, EnhanceEnhancePostFormat
from lamegan_client.models import EnhanceFacts, Problem, ScoreScorePostBody
from lamegan_client.types import File

url, key = sys.argv[1:]
photo = lambda: File(payload=open("photo.jpg", "rb"))
options = {"base_url": url, "raise_on_unexpected_status": True, "headers": {"Accept": "application/json"}}
with (AuthenticatedClient(token=key, **options) if key else Client(**options)) as client:
    form = EnhanceEnhancePostFilesBody(file=photo())
    made = enhance_enhance_post.sync(client=client, body=form, format_=EnhanceEnhancePostFormat.PNG, map_=True)
    assert isinstance(made, EnhanceFacts), made
    bare = enhance_enhance_post.sync(client=client, body=photo())
    assert isinstance(bare, EnhanceFacts), bare
    scored = score_score_post.sync(client=client, body=ScoreScorePostBody(output=photo(), input_=photo()))
    assessed = assess_assess_post.sync(client=client, body=AssessAssessPostFilesBody(file=photo()))
    refused = enhance_enhance_post.sync(client=client, body=photo(), model="none")
    assert isinstance(refused, Problem), refused
    offer = capabilities_capabilities_get.sync(client=client)
    said = [made.verdict, made.image.media_type, made.map_.media_type, made.report, bare.image.media_type]
    said += [scored.lassim, scored.map_, type(assessed.sharpness.words).__name__, refused.code, offer.policy.default]
print(json.dumps(said))
if key:
    with AuthenticatedClient(base_url=url, token="wrong") as client:
        print(assess_assess_post.sync(client=client, body=photo()).code)
"""
SAID = ["pass", "image/png", "image/png", None, "image/jpeg", 1, None, "str", "unknown-model", "constrain"]


def generate(python: Path, folder: Path, name: str) -> str:
    """What openapi-python-client says while it makes the package `name` of openapi.json."""
    run_it = (python, "-c", "from openapi_python_client.cli import app; app()", "generate")
    (folder / "config.yaml").write_text("post_hooks: []\n")
    said = run(
        *(*run_it, "--path", "openapi.json", "--meta", "none", "--overwrite"),
        *("--output-path", name, "--config", "config.yaml"),
        cwd=folder,
    )
    (folder / "use.py").write_text(USE)
    return said


def test_openapi_python_client_gives_a_client_that_works(live: LiveService, folder: Path, python: Path) -> None:
    said = generate(python, folder, "lamegan_client")
    warnings = [line for line in said.splitlines() if line.startswith(("Unsupported", "Cannot", "ERROR"))]
    assert all(line.startswith("Unsupported content type ") for line in warnings), said
    assert json.loads(run(python, "use.py", live.url, "", cwd=folder)) == SAID


def test_it_works_where_a_key_is_asked_for(folder: Path, python: Path) -> None:
    key, line = key_line("generated")
    (folder / "keys").write_text(line)
    with LiveService(folder / "models", keys_file=folder / "keys") as live:
        (folder / "openapi.json").write_bytes(live.http.get("/openapi.json").content)
        generate(python, folder, "lamegan_client")
        (sample,) = re.findall(r"^```python\n(.*?)^```$", HTTP.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
        (folder / "throat.jpg").write_bytes(PHOTO)
        (folder / "sample.py").write_text(f"base_url, key = {live.url!r}, {key!r}\n{sample}\nprint(facts.verdict)")
        assert run(python, "sample.py", cwd=folder).split() == ["pass"]
        facts, code = run(python, "use.py", live.url, key, cwd=folder).splitlines()
    assert (json.loads(facts), code) == (SAID, "unauthorized")
