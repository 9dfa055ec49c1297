"""The documents: they build as a site, no link leads nowhere, and decisions keep their form."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

DECISIONS = ROOT / "docs" / "decisions"
NUMBERED = sorted(DECISIONS.glob("[0-9]*.md"))
BUILD_S = 120


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
