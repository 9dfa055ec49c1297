"""A reference: the measures of a model's first weeks at a site, to compare later weeks with; versioned like a model.

It lies as <references>/<name>/<version>/reference.json and takes the place of the distributions on the card of the
model that it was made with.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from service.drift.measures import MEASURES
from service.errors import CommandError, ModelInvalid

FILE_NAME = "reference.json"
LEAST_PHOTOS = 100
"""As in the rules of Prometheus: fewer say nothing."""


class SiteReference(BaseModel):
    """Photos per bucket of each measure.

    Attributes:
        model_digest: SHA-256 of the model file that made the scores.
        source: in words, which photos.
        counts: photos per bucket (not cumulative) by measure, the buckets being those of `measures.MEASURES`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
    version: Annotated[str, StringConstraints(pattern=r"^\d+\.\d+\.\d+$")]
    model_digest: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    made: str
    source: str = ""
    counts: dict[str, tuple[Annotated[int, Field(ge=0)], ...]]

    @model_validator(mode="after")
    def _counts_fit(self) -> SiteReference:
        for name, counts in self.counts.items():
            if name not in MEASURES:
                raise ValueError(f"{name} is not a measure")
            if len(counts) != len(MEASURES[name].upper_bounds) + 1 or not any(counts):
                raise ValueError(f"{name} has other buckets than this version, or no photo")
        return self

    @property
    def label(self) -> str:
        """`name/version`."""
        return f"{self.name}/{self.version}"


def site_reference(
    counts: Mapping[str, Sequence[float]], *, name: str, version: str, model_digest: str, made: str, source: str
) -> SiteReference:
    """A reference of the photos in `counts`, by measure and bucket; parts of photos are rounded.

    Raises:
        CommandError: there are fewer than `LEAST_PHOTOS`, or `name`, `version` or `model_digest` cannot be one.
    """
    whole = {key: tuple(round(number) for number in found) for key, found in counts.items()}
    if max(map(sum, whole.values()), default=0) < LEAST_PHOTOS:
        raise CommandError(f"A reference needs {LEAST_PHOTOS} photos, and is better with a thousand.")
    try:
        return SiteReference(
            name=name,
            version=version,
            model_digest=model_digest,
            made=made,
            source=source,
            counts={key: found for key, found in whole.items() if any(found)},
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise CommandError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}.") from error


def read_reference(path: Path) -> SiteReference:
    """The reference in file `path`, checked.

    Raises:
        ModelInvalid: it cannot be read, or a field is absent, unknown or outside its values.
    """
    try:
        return SiteReference.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ModelInvalid(f"{path}: the reference cannot be read: {error.strerror}.") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the reference"
        raise ModelInvalid(f"{path}: the reference is not valid: {where}: {first['msg']}.") from error


def write_reference(reference: SiteReference, root: Path) -> Path:
    """Write `reference` as root/<name>/<version>/reference.json and return that path.

    Raises:
        FileExistsError: this version is there already; a version never changes.
    """
    folder = root / reference.name / reference.version
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / FILE_NAME
    with path.open("x", encoding="utf-8") as file:
        file.write(reference.model_dump_json(indent=2) + "\n")
    return path


def find_references(root: Path) -> tuple[dict[str, SiteReference], list[ModelInvalid]]:
    """The newest version of a reference for each model digest under `root`, and what could not be read."""
    found: dict[str, SiteReference] = {}
    faults: list[ModelInvalid] = []
    for path in sorted(root.glob(f"*/*/{FILE_NAME}"), key=lambda path: version_key(path.parent.name)):
        try:
            reference = read_reference(path)
        except ModelInvalid as error:
            faults.append(error)
        else:
            found[reference.model_digest] = reference
    return found, faults


def next_version(root: Path, name: str) -> str:
    """The version after the newest of `name` under `root`; 1.0.0 for the first."""
    known: Iterable[Path] = (root / name).glob(f"*/{FILE_NAME}")
    newest = max((version_key(path.parent.name) for path in known), default=None)
    return f"{newest[0] + 1}.0.0" if newest else "1.0.0"


def version_key(version: str) -> tuple[int, ...]:
    """Numbers by which versions are ordered; what is not a version comes first."""
    return tuple(map(int, version.split("."))) if re.fullmatch(r"\d+\.\d+\.\d+", version) else (-1,)
