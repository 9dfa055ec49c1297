"""One thing that a model must hold before it ships: a value and its bound."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Criterion:
    """A value, its bound, and whether the bound is the least or the most that may be."""

    name: str
    value: float
    bound: float
    at_least: bool

    @property
    def holds(self) -> bool:
        """Whether the value keeps the bound; one that is not a number does not."""
        return self.value >= self.bound if self.at_least else self.value <= self.bound

    def __str__(self) -> str:
        sign = ">=" if self.at_least else "<="
        return f"{'yes' if self.holds else 'NO ':4}{self.name:62}{self.value:10.4f} {sign} {self.bound:.4g}"


def at_least(name: str, value: float, bound: float) -> Criterion:
    """A criterion whose value must be `bound` or more."""
    return Criterion(name, float(value), float(bound), True)


def at_most(name: str, value: float, bound: float) -> Criterion:
    """A criterion whose value must be `bound` or less."""
    return Criterion(name, float(value), float(bound), False)


def as_markdown(criteria: Sequence[Criterion]) -> str:
    """The criteria as a table: what, its value, its bound, and whether it holds."""
    rows = ["| criterion | value | bound | holds |", "|---|---|---|---|"]
    for item in criteria:
        bound = f"{'at least' if item.at_least else 'at most'} {item.bound:.4g}"
        rows.append(f"| {item.name} | {item.value:.4g} | {bound} | {'yes' if item.holds else '**no**'} |")
    return "\n".join(rows) + "\n"


def as_json(criteria: Sequence[Criterion]) -> str:
    """The criteria as a list of objects with name, value, bound, at_least and holds; no number is null."""
    told = [{**asdict(item), "holds": item.holds} for item in criteria]
    for item in told:
        item["value"] = item["value"] if math.isfinite(item["value"]) else None
    return json.dumps(told, indent=1) + "\n"
