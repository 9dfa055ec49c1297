"""The wire contract as lines of text: every name and type that a client, an operator or a dashboard may rely on.

`python -m tests.contract.wire` writes tests/contract/wire.txt anew: run it when something was added to the contract.
Prose (descriptions, summaries, titles) is left out: words may be improved, names may not be changed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from service.errors import HTTP_STATUS
from service.registry.card import ModelCard
from service.settings import Settings
from tests import models
from tests.live import LiveService, encoded, scene

SNAPSHOT = Path(__file__).with_name("wire.txt")

_PROSE = {"description", "summary", "title"}
_VALUES_OF_A_RUN = {"version"}
_GENERAL_METRICS = ("python_", "process_")


def wire_contract() -> list[str]:
    """Every fact of the contract, one a line, sorted."""
    facts = {*_settings(), *_error_codes(), *flattened("card", ModelCard.model_json_schema())}
    with tempfile.TemporaryDirectory() as folder:
        models.install(Path(folder), models.identity())
        with LiveService(Path(folder)) as live:
            facts |= {*flattened("openapi", live.http.get("/openapi.json").json()), *_answers(live), *_metrics(live)}
    return sorted(facts)


def flattened(path: str, value: Any) -> Iterator[str]:
    """One line for each leaf of a JSON `value`: lists of plain values are sets, parameters go by their names."""
    if isinstance(value, dict):
        for key, below in value.items():
            prose = key in _PROSE and isinstance(below, str)
            if not prose and not (path.endswith(" info") and key in _VALUES_OF_A_RUN):
                yield from flattened(f"{path} {key}", below)
        if not value:
            yield f"{path} is empty"
    elif isinstance(value, list):
        for place, item in enumerate(value):
            if isinstance(item, dict):
                yield from flattened(f"{path} {item.get('name', place)}", item)
            else:
                yield f"{path} has {item!r}"
    else:
        yield f"{path} = {value!r}"


def _settings() -> Iterator[str]:
    for name, field in Settings.model_fields.items():
        yield f"setting LAMEGAN_{name.upper()} = {field.default!r}"


def _error_codes() -> Iterator[str]:
    for code, (status, _title) in HTTP_STATUS.items():
        yield f"error {code} is {status}"


def _answers(live: LiveService) -> Iterator[str]:
    """Header names of responses, and the keys of those that are JSON."""
    photo = encoded(scene())
    both = {"output": photo, "input": photo}
    answers = {
        "POST /enhance": live.http.post("/enhance", files={"file": photo}),
        "POST /enhance JSON": live.http.post("/enhance", files={"file": photo}, headers={"Accept": "application/json"}),
        "POST /enhance without an image": live.http.post("/enhance"),
        "POST /score": live.http.post("/score", files=both),
        **{f"GET {path}": live.http.get(path) for path in ("/capabilities", "/models", "/health/live")},
        **{f"GET {path}": live.http.get(path) for path in ("/health/ready", "/metrics", "/", "/nowhere")},
    }
    for name, answer in answers.items():
        yield f"answer {name} is {answer.status_code}"
        yield from (f"answer {name} header {header}" for header in answer.headers)
        if "json" in answer.headers["content-type"]:
            yield from (f"answer {name} key {key}" for key in answer.json())


def _metrics(live: LiveService) -> Iterator[str]:
    """Name, type and labels of each metric, after the requests above."""
    for family in live.service.metrics.registry.collect():
        if not family.name.startswith(_GENERAL_METRICS):
            yield f"metric {family.name} is a {family.type}"
            for sample in family.samples:
                yield f"metric {sample.name} by {', '.join(sorted(sample.labels)) or 'nothing'}"


if __name__ == "__main__":
    SNAPSHOT.write_text("\n".join(wire_contract()) + "\n", encoding="utf-8")
