"""What the README and the documents say is run, and held to what is there."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from service.api.openapi import HTTP_CODES
from service.errors import HTTP_STATUS
from service.monitoring.metrics import Metrics
from tests.conftest import ROOT
from tests.live import LiveService

README = (ROOT / "README.md").read_text()
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
RUN_S = 120


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def service() -> Iterator[LiveService]:
    with LiveService(ROOT / "models", model="lamegan-fast", warm_shapes="480x272") as live:
        yield live


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """A folder that looks like a clone to the README's commands."""
    shutil.copytree(ROOT / "docs" / "samples", tmp_path / "docs" / "samples")
    shutil.copy(ROOT / "README.md", tmp_path)
    (tmp_path / "models").symlink_to(ROOT / "models")
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "lamegan").symlink_to(Path(sys.executable).parent / "lamegan")
    return tmp_path


def run(command: list[str], desk: Path) -> str:
    done = subprocess.run(command, cwd=desk, capture_output=True, text=True, timeout=RUN_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def shell(block: str, service: LiveService, desk: Path) -> str:
    return run(["bash", "-euc", block.replace("localhost:8000", f"127.0.0.1:{service.port}")], desk)


def test_the_two_commands_are_targets() -> None:
    (commands,) = blocks("sh")
    assert commands.split("\n")[:-1] == ["make serve", "make test"]
    for command in commands.splitlines():
        subprocess.run([*command.split(), "--dry-run"], cwd=ROOT, check=True, capture_output=True)


def test_the_first_request_answers_with_the_headers_that_are_shown(service: LiveService, desk: Path) -> None:
    sent = blocks("bash")[0]
    answer = shell(sent, service, desk).lower()
    with Image.open(desk / "enhanced.jpg") as enhanced, Image.open(desk / "docs/samples/sample.jpg") as photo:
        assert enhanced.size == photo.size
    (shown,) = blocks("http")
    for line in shown.lower().splitlines():
        name, _, value = line.partition(": ")
        found = re.search(rf"^{name}: (.+?)\r?$", answer, re.MULTILINE)
        assert found, f"no {name} header"
        if re.fullmatch(r"-?\d\.\d{4}", value):
            assert float(found[1]) == pytest.approx(float(value), abs=0.005), "say .venv/bin/python .ci/readme"
        else:
            assert found[1] == value, "say .venv/bin/python .ci/readme"


def test_the_python_example_writes_the_same_image_as_curl(service: LiveService, desk: Path) -> None:
    shell(blocks("bash")[0], service, desk)
    by_curl = (desk / "enhanced.jpg").read_bytes()
    (code,) = blocks("python")
    said = run([sys.executable, "-c", code.replace("localhost:8000", f"127.0.0.1:{service.port}")], desk)
    assert re.match(r"[01]\.\d+ (pass|constrained|withheld) \{'left'", said)
    assert (desk / "enhanced.jpg").read_bytes() == by_curl


def test_the_command_line_gives_the_score_that_the_header_shows(service: LiveService, desk: Path) -> None:
    said = shell(blocks("bash")[1], service, desk)
    (shown,) = blocks("http")
    header = re.search(r"^LaSSIM: (\S+)", shown, re.MULTILINE)
    score = re.search(r"^LaSSIM +([01]\.\d{5})", said, re.MULTILINE)
    assert header
    assert score
    assert float(score[1]) == pytest.approx(float(header[1]), abs=0.005)


def test_the_wrong_file_is_answered_with_a_problem_document(service: LiveService, desk: Path) -> None:
    problem = json.loads(shell(blocks("bash")[2], service, desk))
    assert (problem["status"], problem["code"]) == (415, "unsupported-type")
    assert len(blocks("bash")) == 3, "a block of the README is not run"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_between_documents_leads_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", document.read_text()):
        if not target.startswith(("http://", "https://")):
            assert (document.parent / target).exists(), target


def test_the_http_document_has_every_problem_and_header_that_the_interface_declares(service: LiveService) -> None:
    text = (ROOT / "docs" / "http.md").read_text()
    rows = {code: int(status) for status, code in re.findall(r"^\| (\d{3}) \| `([a-z-]+)` \|", text, re.MULTILINE)}
    assert rows == {code: HTTP_STATUS[code][0] for code in rows}
    interface = service.http.get("/openapi.json").json()
    answers = interface["paths"]["/enhance"]["post"]["responses"]
    declared = {code for answer in answers.values() for code in re.findall(r"`([a-z-]+)`:", answer["description"])}
    assert declared - {"bad-request"} <= set(rows)
    assert set(rows) == HTTP_CODES
    assert all(f"`{header}`" in text for header in answers["200"]["headers"])
    assert all(f"`{option['name']}`" in text for option in interface["paths"]["/enhance"]["post"]["parameters"])


def test_every_metric_is_in_the_operations_document() -> None:
    metrics = Metrics()
    metrics.follow_models(list)
    exposed = {
        family.name + ("_total" if family.type == "counter" else "")
        for family in metrics.registry.collect()
        if family.name.startswith("lamegan_")
    }
    text = (ROOT / "docs" / "operations.md").read_text()
    assert set(re.findall(r"^\| `(lamegan_\w+)` \|", text, re.MULTILINE)) == exposed
