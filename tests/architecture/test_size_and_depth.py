"""Files that can be read at one sitting, functions at one glance, and imports that only go down."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("service", "model_training")
MOST_LINES_OF_A_MODULE = 350
MOST_LINES_OF_A_FUNCTION = 45
MOST_LEVELS = {"service": 20, "model_training": 11}
"""Modules on the longest chain of imports; each is one more that a reader may have to open."""

LONG_MODULES = {
    "service/dicom/gateway/spool.py": 380,
}
"""Modules above the limit with the length they may not pass; lower it when one becomes shorter."""

LONG_FUNCTIONS = {
    ("service/monitoring/metrics.py", "__init__"): 70,  # a table of metrics
    ("service/commands/main.py", "enhance"): 60,  # mostly options
    ("model_training/commands/evaluate.py", "evaluate"): 90,  # mostly options
}


def modules() -> Iterator[Path]:
    for package in PACKAGES:
        yield from sorted((ROOT / package).rglob("*.py"))


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {name_of(path): path for path in modules()}


def imported_at_once(node: ast.AST) -> Iterator[str]:
    """Every module that importing `node` imports; imports in functions and for type checkers alone do not count."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        if isinstance(child, ast.ImportFrom) and child.module:
            yield child.module
            yield from (f"{child.module}.{alias.name}" for alias in child.names)
        elif isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        else:
            yield from imported_at_once(child)


IMPORTS = {
    name: {found for found in imported_at_once(ast.parse(path.read_text(encoding="utf-8"))) if found in MODULES}
    - {name}
    for name, path in MODULES.items()
}


@pytest.mark.parametrize("path", list(modules()), ids=name_of)
def test_no_module_is_longer_than_a_sitting(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    most = LONG_MODULES.get(path.relative_to(ROOT).as_posix(), MOST_LINES_OF_A_MODULE)
    assert lines <= most, f"{lines} lines: split it by subject"


def test_no_function_is_longer_than_a_glance() -> None:
    long = {
        (path.relative_to(ROOT).as_posix(), node.name): (node.end_lineno or 0) - node.lineno + 1
        for path in modules()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno + 1 > MOST_LINES_OF_A_FUNCTION
    }
    assert {place: lines for place, lines in long.items() if lines > LONG_FUNCTIONS.get(place, 0)} == {}


def test_no_import_goes_round_in_a_circle() -> None:
    assert list(TopologicalSorter(IMPORTS).static_order())


@pytest.mark.parametrize("package", PACKAGES)
def test_no_chain_of_imports_is_longer_than_its_number_of_levels(package: str) -> None:
    @cache
    def level(name: str) -> int:
        below = [level(found) for found in IMPORTS[name] if found.partition(".")[0] == package]
        return 1 + max(below, default=0)

    levels = {name: level(name) for name in MODULES if name.partition(".")[0] == package}
    assert max(levels.values()) <= MOST_LEVELS[package], max(levels, key=lambda name: levels[name])


def test_the_training_configuration_is_at_the_ground() -> None:
    for name in (found for found in MODULES if found.startswith("model_training.config")):
        others = {found for found in IMPORTS[name] if found.startswith("model_training.")}
        assert all(found.startswith("model_training.config") for found in others), name
        text = MODULES[name].read_text(encoding="utf-8")
        assert "import torch" not in text, name
