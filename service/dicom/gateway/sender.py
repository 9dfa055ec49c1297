"""Where objects go: a destination stores an object, and says later whether it has it.

`Unreachable` is the destination's trouble: everything waits for it as long as it takes. `Refused` is about one object:
it is tried so many times and then a dead letter.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import UID

from service.dicom.gateway.rows import Delivery


class Unreachable(Exception):
    """The destination cannot be reached, or does not answer as it should; in `reason`, why."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Refused(Exception):
    """The destination will not take this object; in `reason`, its status."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Parcel:
    """One object to send.

    Attributes:
        delivery: its row.
        file: the DICOM file; what is in it may be damaged, apart from the File Meta Information, which is ours.
    """

    delivery: Delivery
    file: Path

    def address(self) -> tuple[str, str, str]:
        """Study, series and SOP instance UID; what the object does not tell, or is not valid, is empty."""
        tags = ["StudyInstanceUID", "SeriesInstanceUID"]
        try:
            read: Dataset = pydicom.dcmread(self.file, stop_before_pixels=True, specific_tags=tags)
            study, series = (UID(str(read.get(tag, "") or "")) for tag in tags)
        except Exception:  # a damaged object fails to be read in nearly any way
            study = series = UID("")
        return study if study.is_valid else "", series if series.is_valid else "", self.delivery.sop_uid


Stored = dict[int, Refused | Unreachable | None]


class Sender(Protocol):
    """One destination."""

    def store(self, parcels: list[Parcel]) -> Stored:
        """Store each; by delivery id None if it is stored. Those behind one that was not answered are left out.

        Raises:
            Unreachable: nothing could be stored.
        """
        ...

    def confirm(self, parcels: list[Parcel]) -> dict[int, bool]:
        """By delivery id whether the destination has it for certain; those left out are asked about, response pending.

        Raises:
            Unreachable: nobody responds.
        """
        ...

    def rest(self) -> None:
        """Nothing is to be sent now: let go of what need not be held open."""
        ...

    def close(self) -> None:
        """Let go of everything; the gateway ends."""
        ...
