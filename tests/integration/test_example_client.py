"""docs/examples/lamegan.js: its types are strict and true, and Node runs it against the live service."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import playwright
import pytest

from service.api.limits.api_keys import key_line
from service.api.problems import Problem
from service.api.schemas import AssessFacts, EnhanceFacts, ScoreFacts
from tests import models
from tests.conftest import ROOT
from tests.live import LiveService, encoded, scene
from tests.web_packages import FOLDER, node_modules

pytestmark = pytest.mark.xdist_group("example client")

CLIENT = ROOT / "docs" / "examples" / "lamegan.js"
HTTP = ROOT / "docs" / "http.md"
NODE = Path(playwright.__file__).parent / "driver" / "node"
PHOTO = encoded(scene(160, 120), ".jpg")
RUN_S = 300
"""Longest wait for one program, on a machine that has much else to do."""


def run(*command: str | Path, cwd: Path) -> str:
    """What a program prints.

    Raises:
        AssertionError: it fails.
    """
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=RUN_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_client_and_its_use_pass_the_strict_type_checker() -> None:
    run(node_modules() / ".bin" / "tsc", "--project", "tsconfig.json", cwd=FOLDER)


@pytest.mark.slow
def test_the_sample_of_the_http_document_passes_it_too(tmp_path: Path) -> None:
    (sample,) = re.findall(r"^```ts\n(.*?)^```$", HTTP.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    (tmp_path / "sample.ts").write_text(f"{sample}\nexport {{ show, showAll }};\n")
    shutil.copy(CLIENT, tmp_path)
    options = json.loads((FOLDER / "tsconfig.json").read_text(encoding="utf-8"))["compilerOptions"]
    project = {"compilerOptions": options, "files": ["sample.ts"]}
    (tmp_path / "tsconfig.json").write_text(json.dumps(project))
    run(node_modules() / ".bin" / "tsc", "--project", "tsconfig.json", cwd=tmp_path)


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What tests/web/client_run.mjs saw of a live service that brightens."""
    folder = tmp_path_factory.mktemp("client")
    (folder / "package.json").write_text('{"type": "module"}')
    (folder / "photo.jpg").write_bytes(PHOTO)
    for file in (CLIENT, FOLDER / "client_run.mjs"):
        shutil.copy(file, folder)
    models.install(folder / "models", models.brighten(6), floors=models.STRICT)
    with LiveService(folder / "models") as live:
        printed = run(NODE, "client_run.mjs", live.url, folder / "photo.jpg", cwd=folder)
    seen: dict[str, Any] = json.loads(printed)
    return seen


def test_it_returns_the_image_with_what_the_headers_say(said: dict[str, Any]) -> None:
    enhanced = said["enhanced"]
    assert enhanced["image"] == "image/png"
    assert bytes(enhanced["bytes"]) == b"\x89PNG"
    assert enhanced["verdict"] == "pass"
    assert 0 < enhanced["lassim"] <= 1
    assert 0 < enhanced["lassimWorst"] <= 1
    assert 0 < enhanced["quality"]["before"] < 1
    assert enhanced["blend"] == 0
    assert enhanced["model"].startswith("tiny/")
    assert enhanced["modelDigest"].startswith("sha256=")
    assert enhanced["requestId"]


def test_its_facts_are_all_those_of_the_service(said: dict[str, Any]) -> None:
    for model, got in ((EnhanceFacts, "facts"), (AssessFacts, "assessed"), (ScoreFacts, "scored")):
        assert model.model_validate(said[got]).model_dump() == said[got]
    assert said["facts"]["map"]["media_type"] == said["scored"]["map"]["media_type"] == "image/png"


def test_a_batch_tells_its_progress_and_outlives_a_failure(said: dict[str, Any]) -> None:
    assert said["batch"]["outcomes"] == ["pass", "unsupported-type", "pass"]
    progress = said["batch"]["progress"]
    assert [step["done"] for step in progress] == [1, 2, 3]
    assert progress[-1] == {"done": 3, "failed": 1, "total": 3}


def test_errors_carry_the_code_and_the_problem_document(said: dict[str, Any]) -> None:
    assert said["notAPhoto"] == [True, "unsupported-type", 415]
    assert said["unknownRoute"] == [True, "not-found", 404]
    assert Problem.model_validate(said["unknownModel"]).code == "unknown-model"


def test_it_tells_a_proxy_silence_and_an_abort_from_the_service(said: dict[str, Any]) -> None:
    assert said["proxy"] == [True, "unexpected-response", 413]
    assert said["nobody"] == said["silent"] == [True, "no-response", 0]
    assert said["aborted"] == "left the page"


def test_it_tries_again_where_the_service_had_no_room(said: dict[str, Any]) -> None:
    assert said["secondAttempt"] in ("good", "usable", "retake")
    assert said["attempts"] == [True, "overloaded", 429, 4], "two refusals and one success, then a single attempt"


def test_it_sends_the_key(tmp_path: Path) -> None:
    key, line = key_line("browser")
    (tmp_path / "keys").write_text(line)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    shutil.copy(CLIENT, tmp_path)
    (tmp_path / "photo.jpg").write_bytes(PHOTO)
    (tmp_path / "keyed.js").write_text(
        """import { readFile } from "node:fs/promises";
import { Lamegan } from "./lamegan.js";
const [, , base, key] = process.argv;
const photo = new Uint8Array(await readFile("photo.jpg"));
const { verdict } = await new Lamegan({ base, key }).assess(photo);
const code = await new Lamegan({ base, key: "wrong" }).assess(photo).catch((error) => error.code);
console.log(JSON.stringify([typeof verdict, code]));
"""
    )
    models.install(tmp_path / "models", models.identity())
    with LiveService(tmp_path / "models", keys_file=tmp_path / "keys") as live:
        assert json.loads(run(NODE, "keyed.js", live.url, key, cwd=tmp_path)) == ["string", "unauthorized"]
