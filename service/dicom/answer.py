"""What enhancing a DICOM object returns; free of the DICOM libraries, so that any layer above may hold it.

The libraries are an extra (`pip install lamegan[dicom]`): `load_dicom_enhancer` returns None where they are absent.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from importlib import import_module
from importlib.util import find_spec
from typing import Protocol

from service.errors import UnsupportedType
from service.pipeline import Deadline, Enhancement, EnhanceOptions, Enhancer

DICOM_MEDIA_TYPE = "application/dicom"

DICOM_SUFFIX = ".dcm"

_PREAMBLE_BYTES = 128
_LIBRARIES = ("pydicom", "highdicom")


@dataclass(frozen=True, slots=True)
class DicomAnswer:
    """The objects made of one source object.

    Attributes:
        image: the derived image as a DICOM file; None when it is withheld.
        report: the structured report as a DICOM file.
        worst: the frame of the strictest verdict, of these the one with the lowest LaSSIM.
        frames: of the source.
    """

    image: bytes | None
    report: bytes
    worst: Enhancement
    frames: int


class ObjectEnhancer(Protocol):
    """What enhances DICOM objects (`DicomEnhancer`)."""

    def enhance(
        self,
        body: bytes,
        options: EnhanceOptions | None = None,
        deadline: Deadline | None = None,
        made_at: datetime | None = None,
    ) -> DicomAnswer:
        """The derived image of the object in `body`, unless it is withheld, and the report about it."""
        ...

    def render(self, body: bytes, options: EnhanceOptions, deadline: Deadline | None = None) -> Enhancement:
        """The first frame of the object in `body`, enhanced, as a photo in `options.format`."""
        ...


def is_dicom(body: bytes) -> bool:
    """Whether `body` is a DICOM file (PS3.10 section 7.1: a preamble of 128 bytes, then DICM)."""
    return body[_PREAMBLE_BYTES : _PREAMBLE_BYTES + 4] == b"DICM"


def load_dicom_enhancer(enhancer: Enhancer) -> ObjectEnhancer | None:
    """What enhances DICOM objects with `enhancer`; None without the extra `dicom`."""
    if any(find_spec(library) is None for library in _LIBRARIES):
        return None
    made: ObjectEnhancer = import_module("service.dicom.conversion").DicomEnhancer(enhancer)
    return made


def available(enhancer: ObjectEnhancer | None) -> ObjectEnhancer:
    """`enhancer` itself.

    Raises:
        UnsupportedType: it is None, because the extra `dicom` is not installed.
    """
    if enhancer is None:
        raise UnsupportedType("DICOM is not served here: the software was installed without its extra `dicom`.")
    return enhancer
