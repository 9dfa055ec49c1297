"""Comments, docstrings and messages use the field's terms and plain English: none of the phrases here."""

from __future__ import annotations

import re
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NOT_SAID = re.compile(
    r"\b([Ff]ront door|[Tt]he gate|caretaker|of before|so it is|in vain|(?:is|are) none|[Ww]orst place)\b(?! of)"
)
"""Private names and turns that a reader has to guess; docs/decisions/0036-plain-words.md says what stands instead."""

NAMES_ON_THE_WIRE = {
    "service/monitoring/metrics.py": "worst place",  # help texts, as dashboards show them
    "model_training/evaluation/results.py": "worst place",  # a figure's name in the card
    "model_training/acceptance/criteria.py": "worst place",  # a criterion's name in acceptance.json
}
FILES = sorted(path for package in ("service", "model_training") for path in (ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_file_says_none_of_them(path: Path) -> None:
    name = path.relative_to(ROOT).as_posix()
    with tokenize.open(path) as file:
        said = [
            (token.start[0], found[0])
            for token in tokenize.generate_tokens(file.readline)
            if token.type in (tokenize.COMMENT, tokenize.STRING)
            for found in [NOT_SAID.search(token.string)]
            if found and found[0].lower() != NAMES_ON_THE_WIRE.get(name)
        ]
    assert not said
