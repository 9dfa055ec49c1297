"""Comments, docstrings, messages and documents use the field's terms and plain English: none of the phrases here."""

from __future__ import annotations

import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

INSTEAD = {
    r"[Ff]ront door|[Tt]he gate(?!way)|caretaker": "admission",
    r"[Ii]n vain": "without success",
    r"(?<![`'\"\[.])\b[Ff]loors?\b(?![`'\"(:\]])": "threshold",
    r"[Ww]orst places?|(?:red|redder|lit|flat|changed|every) places?\b(?! (?:for|to|where))|places of": "region",
    r"[;,:] answers\b|(?<![-{])\b(?:[Tt]he|[Aa]n|[Nn]o|[Oo]ne|[Ii]ts|[Ee]ach) answers?\b(?! it)": "returns, response",
    r"\bwanted (?=YAML|an|as)|the one wanted": "target, expected",
    r"\b(?:[Bb]ad|[Gg]ood) (?:photo|image|picture|one|side)s?\b(?! of)|bad and good|good and bad": "degraded, clean",
    r"of anything else|to be anything else": "out-of-domain, other",
    r"(?<![Tt]here )\b(?:is|are) no (?!longer\b|fault of\b)[a-z]+": "is not a",
    r"(?:is|are) none\b": "there is no",
    r"of before\b": "earlier",
    r"so it is\b": "(say which)",
}
"""What is not said, as patterns, and what stands in its place; docs/decisions/0036-plain-words.md has the reasons."""

NOT_SAID = re.compile("|".join(f"(?:{pattern})" for pattern in INSTEAD))

NAMES_ON_THE_WIRE = re.compile(
    r"worst place ↑|worst place against the input|Worst place of each delivered image|(?:redder|paler) place"
    r"|redness of places|Most changed place|That is no key"
)
"""Figures' names in cards and acceptance.json, a metric's help text, a DICOM code's meaning, what the page says."""

CODE = sorted(
    path
    for package in ("service", "model_training", "tests", "benchmarks")
    for path in (ROOT / package).rglob("*.py")
    if path != Path(__file__)
)
DOCUMENTS = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "docs" / "decisions").glob("*.md")]
"""The experiments are a notebook and keep the words of their day."""

OF_THEIR_OWN = {"CHANGELOG.md", "0036-plain-words.md"}


def said_in_code(path: Path) -> Iterator[tuple[int, str]]:
    with tokenize.open(path) as file:
        for token in tokenize.generate_tokens(file.readline):
            if token.type in (tokenize.COMMENT, tokenize.STRING):
                for found in NOT_SAID.finditer(NAMES_ON_THE_WIRE.sub("", token.string)):
                    yield token.start[0], found[0]


@pytest.mark.parametrize("path", CODE, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_file_of_code_says_none_of_them(path: Path) -> None:
    assert not list(said_in_code(path))


@pytest.mark.parametrize(
    "path", [path for path in DOCUMENTS if path.name not in OF_THEIR_OWN], ids=lambda path: path.name
)
def test_a_document_says_none_of_them(path: Path) -> None:
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        found = NOT_SAID.search(NAMES_ON_THE_WIRE.sub("", re.sub(r"`[^`]*`", "", line)))
        assert not found, f"line {number}: {found[0]}"


@pytest.mark.parametrize(
    "said",
    [
        '"""One step; answers its losses."""', '"""Below a floor."""', "# the worst place", '"""A bad photo."""',
        '"""What is no image."""', '"""As of before."""', '"""If there are none, so it is."""', '"""In vain."""',
    ],
)  # fmt: skip
def test_a_planted_phrase_is_found(tmp_path: Path, said: str) -> None:
    planted = tmp_path / "planted.py"
    planted.write_text(said + "\n", encoding="utf-8")
    assert list(said_in_code(planted))
