"""A version of a model means one file for ever: models/versions.txt lists them all, and none is exported twice."""

from __future__ import annotations

import hashlib
import tomllib
from pathlib import Path

from service.registry.store import ModelStore

MODELS = Path(__file__).parents[2] / "models"
LISTED = [line.split() for line in (MODELS / "versions.txt").read_text().splitlines() if not line.startswith("#")]


def test_the_package_ships_the_newest_version_of_the_default_model() -> None:
    project = tomllib.loads((MODELS.parent / "pyproject.toml").read_text(encoding="utf-8"))
    newest = next(found for found in ModelStore(MODELS).references() if found.startswith("lamegan-fast/"))
    assert project["tool"]["setuptools"]["data-files"] == {f"share/lamegan/models/{newest}": [f"models/{newest}/*"]}


def test_no_version_is_listed_twice() -> None:
    references = [reference for reference, _ in LISTED]
    assert len(references) == len(set(references))
    digests = [digest for _, digest in LISTED]
    assert len(digests) == len(set(digests))


def test_every_model_here_is_the_one_that_its_version_was_listed_with() -> None:
    found = {
        f"{path.parent.parent.name}/{path.parent.name}": hashlib.sha256(path.read_bytes()).hexdigest()
        for path in MODELS.glob("*/*/model.onnx")
    }
    assert found
    listed = dict(LISTED)
    assert {name: listed.get(name) for name in found} == found, "new weights need a new version and a line in the list"
