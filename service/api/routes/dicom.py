"""DICOM on POST /enhance: the derived object, the report, or both, as Accept asks."""

from __future__ import annotations

import hashlib

from service.dicom.answer import DICOM_MEDIA_TYPE, DicomAnswer
from service.errors import UnsupportedType

MULTIPART = "multipart/related"
REPORT_HEADER = "dicom-object"
_UNDECLARED = ("", "*/*", "application/octet-stream", "binary/octet-stream", DICOM_MEDIA_TYPE)


def check_declared(content_type: str | None) -> None:
    """Raise if DICOM bytes were declared to be another type.

    Raises:
        UnsupportedType: they were.
    """
    if (content_type or "").partition(";")[0].strip().lower() not in _UNDECLARED:
        raise UnsupportedType(f"The bytes are {DICOM_MEDIA_TYPE}, another type than declared.")


def wants_both(accept: str | None) -> bool:
    """Whether an Accept header asks for image and report together (RFC 2387)."""
    return any(entry.strip().startswith(MULTIPART) for entry in (accept or "").lower().split(","))


def object_body(answer: DicomAnswer, *, both: bool) -> tuple[bytes, dict[str, str]]:
    """The body and its headers: the image, or where it is withheld the report; `both` as multipart/related."""
    if both:
        return _multipart([part for part in (answer.image, answer.report) if part is not None])
    kind = "report" if answer.image is None else "image"
    return answer.image or answer.report, {"content-type": DICOM_MEDIA_TYPE, REPORT_HEADER: kind}


def _multipart(objects: list[bytes]) -> tuple[bytes, dict[str, str]]:
    """DICOM objects as PS3.18 section 8.6.1.2 lays them out; the boundary is a digest, so no object holds it."""
    digest = hashlib.sha256()
    for part in objects:
        digest.update(part)
    boundary = digest.hexdigest()
    head = f"--{boundary}\r\nContent-Type: {DICOM_MEDIA_TYPE}\r\n\r\n".encode()
    body = b"".join(piece for part in objects for piece in (head, part, b"\r\n")) + f"--{boundary}--\r\n".encode()
    return body, {"content-type": f'{MULTIPART}; type="{DICOM_MEDIA_TYPE}"; boundary={boundary}'}
