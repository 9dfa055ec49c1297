"""The documents: they build as a site, no link leads nowhere, and decisions keep their form."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import playwright
import pytest

from service.api.problems import Problem
from service.api.schemas import EnhanceFacts
from service.errors import HTTP_STATUS
from tests.conftest import ROOT
from tests.live import LiveService

DECISIONS = ROOT / "docs" / "decisions"
NUMBERED = sorted(DECISIONS.glob("[0-9]*.md"))
BUILD_S = 120
RUN_S = 60
HTTP = (ROOT / "docs" / "http.md").read_text(encoding="utf-8")
NODE = Path(playwright.__file__).parent / "driver" / "node"


def test_the_site_builds_without_a_warning_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, timeout=BUILD_S, check=False)
    assert done.returncode == 0, f"a broken link, or a page that mkdocs.yml does not list:\n{done.stdout}{done.stderr}"
    pages = list(tmp_path.rglob("*.html"))
    assert {"index.html", "http.html", "model-card.html"} <= {page.name for page in pages}
    for page in pages:
        assert not re.search(r'(src|rel="stylesheet" href)="https?:', page.read_text(encoding="utf-8")), page.name


@pytest.mark.parametrize("path", NUMBERED, ids=lambda path: path.stem)
def test_a_decision_is_numbered_dated_and_whole(path: Path) -> None:
    number, text = path.stem[:4], path.read_text(encoding="utf-8")
    assert re.match(rf"# {number}: \S.+\n\nDate: 20\d\d-\d\d-\d\d", text), "title with its number, then the date"
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == ["Context", "Decision", "Consequence"]


def test_the_index_lists_every_decision_once_in_order() -> None:
    rows = re.findall(r"^\| \[(\d{4})\]\((\S+)\) \| (20\d\d-\d\d-\d\d) \| (.+) \|$", _index(), re.MULTILINE)
    assert [name for _, name, _, _ in rows] == [path.name for path in NUMBERED], "same files, same order"
    for number, name, date, title in rows:
        text = (DECISIONS / name).read_text(encoding="utf-8")
        assert name.startswith(f"{number}-"), "the number of the row is that of its file"
        assert text.startswith(f"# {number}: {title}\n\nDate: {date}"), f"title and date of {name}"
    numbers = [number for number, _, _, _ in rows]
    assert len(numbers) == len(set(numbers)), "two decisions with one number: renumber the newer one"


def _index() -> str:
    return (DECISIONS / "index.md").read_text(encoding="utf-8")


def test_the_samples_of_the_http_document_are_what_the_service_sends() -> None:
    facts, problem = (json.loads(block) for block in _blocks(HTTP, "json"))
    assert EnhanceFacts.model_validate(facts).model_dump() == facts, "every field of the interface"
    assert Problem.model_validate(problem).model_dump() == problem
    assert HTTP_STATUS[problem["code"]] == (problem["status"], problem["title"])


def test_the_http_document_describes_every_field_of_the_json_answer() -> None:
    fields = HTTP.split("### What comes back: JSON")[1].split("###")[0]
    assert re.findall(r"^\| `(\w+)` \|", fields, re.MULTILINE) == list(EnhanceFacts.model_fields)


def test_the_javascript_client_gets_the_photo_and_the_problem(tmp_path: Path) -> None:
    photo = json.dumps(str(ROOT / "docs" / "samples" / "sample.jpg"))
    (client,) = _blocks(HTTP, "js")
    with LiveService(ROOT / "models", model="lamegan-fast", warm_shapes="480x272") as live:
        (tmp_path / "client.mjs").write_text(
            f"""import {{ readFile }} from "node:fs/promises";
{client}
const base = "http://127.0.0.1:{live.port}";
const made = await enhance(new Blob([await readFile({photo})], {{ type: "image/jpeg" }}), {{ base }});
const code = await enhance(new Blob(["text"]), {{ base }}).catch((error) => error.code);
console.log(JSON.stringify({{ ...made, image: made.image.type, code }}));
"""
        )
        done = subprocess.run(
            [NODE, tmp_path / "client.mjs"], capture_output=True, text=True, timeout=RUN_S, check=False
        )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["image"], said["code"]) == ("image/jpeg", "unsupported-type")
    assert said["verdict"] in ("pass", "constrained", "withheld")
    assert 0 < said["lassim"] < 1


def _blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
