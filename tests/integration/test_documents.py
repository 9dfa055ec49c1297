"""The documents: they build as a site, no link leads nowhere, and decisions keep their form."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import playwright
import pytest
import typer

from model_training.cli import app as train_app
from service.api.problems import Problem
from service.api.schemas import EnhanceFacts
from service.commands.main import app
from service.engine.engine import EngineOptions
from service.errors import HTTP_STATUS
from service.quality.lassim import LEVEL
from service.quality.pyramid import least_side
from service.settings import Settings
from tests.conftest import ROOT
from tests.live import LiveService

DECISIONS = ROOT / "docs" / "decisions"
NUMBERED = sorted(DECISIONS.glob("[0-9]*.md"))
BUILD_S = 120
RUN_S = 60
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
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


def test_the_examples_of_the_python_document_run(tmp_path: Path) -> None:
    examples = _blocks((ROOT / "docs" / "python.md").read_text(encoding="utf-8"), "python")
    assert len(examples) == 3
    (tmp_path / "models").symlink_to(ROOT / "models")
    (tmp_path / "throat.jpg").write_bytes((ROOT / "docs" / "samples" / "sample.jpg").read_bytes())
    said = ""
    for example in examples:
        done = subprocess.run(
            [sys.executable, "-c", example], cwd=tmp_path, capture_output=True, text=True, timeout=RUN_S, check=False
        )
        assert done.returncode == 0, done.stderr
        said += done.stdout
    assert re.match(r"(pass|constrained|withheld) 0\.\d+ Box\(", said)
    assert "unsupported-type" in said


def test_every_command_and_option_is_in_the_command_line_document() -> None:
    text = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
    for command, option in _commands_and_options(typer.main.get_command(app), "lamegan"):
        assert command.rpartition(" ")[2] in text, command
        assert option is None or f"`{option}" in text, f"{command} {option}"


def test_every_training_command_is_in_the_training_document() -> None:
    text = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    rows = set(re.findall(r"^\| `([a-z-]+)", text, re.MULTILINE))
    commands = {name for name, _ in _commands_and_options(typer.main.get_command(train_app), "lamegan-train")}
    assert {name.removeprefix("lamegan-train ") for name in commands} - rows == {"lamegan-train"}


def _commands_and_options(command: object, name: str) -> Iterator[tuple[str, str | None]]:
    """Name and options of every command below `command`."""
    for part in getattr(command, "params", []):
        for option in part.opts:
            if option.startswith("--") and "completion" not in option:
                yield name, option
    yield name, None
    for child, inner in getattr(command, "commands", {}).items():
        yield from _commands_and_options(inner, f"{name} {child}")


MANUAL = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
"""Documents for users; experiments and decisions keep the words of their day."""


@pytest.mark.parametrize("document", MANUAL, ids=lambda path: path.name)
def test_a_document_for_users_renders_as_written(document: Path) -> None:
    before, fenced = "", False
    for line in document.read_text(encoding="utf-8").splitlines():
        fenced ^= line.startswith("```")
        if not fenced:
            begins = re.match(r"- |\d+\. |\|", line) and not re.match(r"- |\d+\. |\||  |#|$", before)
            assert not begins, f"an empty line is missing before this list or table: {line}"
        before = line


def test_the_table_of_limits_shows_the_values_of_the_code() -> None:
    rows = re.findall(r"^\| [^|]+ \| ([^|]+) \| `([\w.]+)` \|", ARCHITECTURE.split("## Every limit")[1], re.MULTILINE)
    assert len(rows) > 20
    for written, place in rows:
        value = _value_at(place)
        assert _number(written) == (value or None), f"{place} is {value}, the table says {written}"


def test_the_four_files_that_explain_a_request_are_there() -> None:
    files = re.findall(r"^\d\. `(\S+\.py)`", ARCHITECTURE, re.MULTILINE)
    assert len(files) == 4
    assert all((ROOT / path).is_file() for path in files)


def test_the_packages_of_the_page_are_the_layers_that_are_enforced() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = [re.findall(r"\w+", layer) for layer in contracts[0]["layers"]]
    rows = re.findall(r"^\| (\d+) \| `(\w+)` \|", ARCHITECTURE, re.MULTILINE)
    drawn = [[name for row, name in rows if row == number] for number in dict.fromkeys(row for row, _ in rows)]
    assert drawn == layers


def _value_at(place: str) -> object:
    """The default of a setting, a constant, the default of a field, or what a function of the level gives."""
    if place.startswith("LAMEGAN_"):
        return Settings.model_fields[place.removeprefix("LAMEGAN_").lower()].default
    if place == "service.quality.pyramid.least_side":
        return least_side(LEVEL)
    if place == "service.engine.engine.EngineOptions.capacity":
        return EngineOptions().capacity
    module, _, name = place.rpartition(".")
    return getattr(importlib.import_module(module), name)


def _number(written: str) -> float | None:
    """A number with its unit, as the table writes it."""
    if written == "none":
        return None
    number, _, unit = written.partition(" ")
    factor = {"": 1, "s": 1, "px": 1, "KiB": 2**10, "MiB": 2**20, "megapixels": 10**6}[unit]
    return float(number.replace(",", "")) * factor


def _blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
