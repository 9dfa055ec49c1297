"""Which photos a generator has learnt from, and what is known of them: every set once, through all steps before."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from model_training.data.photos import PhotoSet
from service.errors import DataError

SIDES = ("lq", "hq", "everyday")
"""What a user calls the sets of one run; a set of an earlier run is called by its digest."""

_DIGEST = re.compile(r"[0-9a-f]{64}")
_ROLES = {"x": "lq", "y": "hq"}
_FILLED = ("name", "licence", "credit", "patients")


class SourceNote(BaseModel):
    """What a card says of one set of photos: their name, licence, whom to credit, how many people they show."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = "unnamed"
    licence: str = "unstated"
    credit: str = "unstated"
    patients: int | None = Field(default=None, ge=0)


_UNSAID = SourceNote().model_dump()


def read_notes(path: Path | None) -> dict[str, SourceNote]:
    """What a YAML file says of photos (name, licence, credit, patients): of a run's sides, or by a set's digest.

    Raises:
        DataError: it is missing, is not YAML, says nothing, or has an unknown key.
    """
    if path is None:
        return {}
    try:
        notes = yaml.safe_load(path.read_text(encoding="utf-8"))
        unknown = [key for key in notes if key not in SIDES and not _DIGEST.fullmatch(str(key))]
        if isinstance(notes, dict) and notes and not unknown:
            return {str(key): SourceNote.model_validate(note) for key, note in notes.items()}
    except (OSError, UnicodeDecodeError, yaml.YAMLError, ValidationError, TypeError) as error:
        raise _no_notes(path) from error
    raise _no_notes(
        path, f" {str(unknown[0])[:80]!r} is not among these." if isinstance(notes, dict) and unknown else ""
    )


def _no_notes(path: Path, more: str = "") -> DataError:
    return DataError(
        f"{path} does not describe the photos: expected YAML with {', '.join(SIDES)} or a set's digest, "
        f"each with name, licence, credit and patients.{more}"
    )


def describe(photos: PhotoSet, note: SourceNote) -> dict[str, Any]:
    """One set of photos as a checkpoint and a card tell it."""
    return note.model_dump() | {"images": len(photos), "skipped": len(photos.skipped), "digest": photos.digest}


def photos_seen(state: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Every set that the weights in a checkpoint's state have learnt from, by digest: this run's, then those before.

    Each is as `describe` tells it, with its role. Older checkpoints tell of earlier runs the everyday photos only.
    """
    ours = [{**told, "role": _ROLES.get(side, "both")} for side, told in state.get("data", {}).items()]
    before = [{"role": "both", **told} for told in state.get("seen", {}).values()]
    return each_once([*ours, *before])


def each_once(sets: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """`sets` by digest; what the first of a digest leaves unsaid, a later one says. Of two roles it makes "both"."""
    found: dict[str, dict[str, Any]] = {}
    for told in sets:
        known = found.setdefault(told["digest"], dict(told))
        if known["role"] != told["role"]:
            known["role"] = "both"
        for key in _FILLED:
            if known.get(key) == _UNSAID[key] and key in told:
                known[key] = told[key]
    return found
