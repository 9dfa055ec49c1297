"""Removing what the spool kept aside: objects that are not served, our own output that came back, and dead letters.

They stay until a person says otherwise, for their sender was told that they are safe.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import Literal

from service.dicom.gateway.rows import SpooledObject
from service.dicom.gateway.spool import Spool
from service.errors import CommandError

Aside = Literal["kept", "dead"]
ASIDE: tuple[Aside, ...] = ("kept", "dead")

UNITS_S = {"m": 60, "h": 3600, "d": 86_400, "w": 604_800}


@dataclass(frozen=True, slots=True)
class Clearing:
    """Objects that are to be removed.

    Attributes:
        states: the only states in which they are removed.
        found: the objects, oldest first, each with the bytes of its files.
    """

    states: tuple[Aside, ...]
    found: tuple[tuple[SpooledObject, int], ...]

    def facts(self, removed: set[int], *, dry_run: bool) -> dict[str, object]:
        """What was found, by state and reason, and how many were removed, as a JSON-serialisable object."""
        groups: dict[tuple[str, str], list[int]] = {}
        for one, size in self.found:
            groups.setdefault((one.state, one.reason), []).append(size)
        return {
            "dry_run": dry_run,
            "found": len(self.found),
            "removed": len(removed),
            "bytes_removed": sum(size for one, size in self.found if one.id in removed),
            "reasons": [
                {"state": state, "reason": reason, "count": len(sizes), "bytes": sum(sizes)}
                for (state, reason), sizes in sorted(groups.items())
            ],
        }


def age_s(text: str) -> float:
    """Seconds of an age such as 90m, 12h, 7d or 2w.

    Raises:
        CommandError: it is not valid.
    """
    found = re.fullmatch(r"(\d{1,6})([mhdw])", text.strip())
    if found is None:
        raise CommandError(f"{text} is not an age: say for example 90m, 12h, 7d or 2w.")
    return float(found[1]) * UNITS_S[found[2]]


def find(spool: Spool, states: tuple[Aside, ...], older_than_s: float = 0.0, now: float | None = None) -> Clearing:
    """Objects in `states` that were received at least `older_than_s` ago."""
    before = (time.time() if now is None else now) - older_than_s
    found = [one for one in spool.objects(states, most=-1) if one.received_at <= before]
    return Clearing(states, tuple((one, spool.bytes_of(one.id)) for one in found))


def clear(spool: Spool, clearing: Clearing) -> set[int]:
    """Remove the objects found, but for those that were tried again meanwhile; those that were removed."""
    return set(spool.remove([one.id for one, _ in clearing.found], clearing.states))
