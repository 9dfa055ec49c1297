"""`lamegan assess`: which photos of a folder are fit for use, and which to take again."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from service.commands.enhance import read_source
from service.commands.enhance_plan import plan
from service.errors import LameganError, MissingImage
from service.pipeline import Assessor
from service.quality.assessment import LIMITS, Assessment


@dataclass(frozen=True, slots=True)
class Assessed:
    """One file: what it is like, or why that cannot be said."""

    source: Path
    found: Assessment | None
    error: str = ""

    def words(self) -> str:
        """One line for a person."""
        if self.found is None:
            return f"Not assessed: {self.source}: {self.error}"
        why = ", ".join(f"{name} {self.found.measures[name].words}" for name in self.found.reasons)
        return f"{self.source}  {self.found.verdict.value}  {self.found.score:.2f}" + (f"  ({why})" if why else "")

    def facts(self) -> dict[str, object]:
        """The same as a flat, JSON-serialisable object."""
        if self.found is None:
            return {"input": str(self.source), "error": self.error}
        return {
            "input": str(self.source),
            "verdict": self.found.verdict.value,
            "reasons": self.found.reasons,
            "score": self.found.score,
            **{name: round(self.found.measures[name].value, 4) for name in LIMITS},
            "advice": self.found.advice,
        }


CSV_COLUMNS = ("input", "verdict", "reasons", "score", *LIMITS, "advice", "error")


def assess_files(paths: Sequence[str], max_pixels: int) -> Iterator[Assessed]:
    """Each file that `paths` mean, assessed.

    Raises:
        CommandError: nothing is meant, or an input does not exist.
    """
    assessor = Assessor(max_pixels)
    for job in plan(paths, "-" if list(paths) == ["-"] else None, inputs_only=True).jobs:
        try:
            body = read_source(job.source)
            if not body:
                raise MissingImage("The image is empty.")
            yield Assessed(job.source, assessor.assess(body)[0])
        except LameganError as error:
            yield Assessed(job.source, None, error.detail)


def to_csv(files: Sequence[Assessed]) -> str:
    """The files as CSV with a header."""
    text = io.StringIO()
    writer = csv.DictWriter(text, CSV_COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    for one in files:
        row = one.facts()
        writer.writerow({key: ";".join(value) if isinstance(value, list) else value for key, value in row.items()})
    return text.getvalue()
