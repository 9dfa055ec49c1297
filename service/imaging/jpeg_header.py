"""What a JPEG says in front of its first scan, and how many scans it has. Source: ITU-T T.81."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from service.errors import UndecodableImage
from service.imaging.orientation import XMP_OF_JPEG

MAX_SCANS = 64
"""Scans a JPEG may have: the usual progressive scripts have 6 to 13; each one more is a pass over the whole image."""

MAX_SEGMENTS = 100_000
"""Segments of a JPEG walked before giving up; a megabyte of metadata fills 16 of them."""

SOF_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
JPEG_LS = 0xF7
_BARE_MARKERS = frozenset((0x01, *range(0xD0, 0xD8)))
_JPEG_FILL = re.compile(rb"\xff*")
_JPEG_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]")
"""A marker that coded data cannot hold: no stuffed zero, no restart, no filling."""


def jpeg_segments(body: bytes) -> Iterator[tuple[int, int, bytes]]:
    """The segments in front of a JPEG's first scan: marker, offset, content.

    Raises:
        UndecodableImage: a segment does not begin where it should, or there are far too many.
        IndexError, struct.error: the bytes end first.
    """
    position = 2
    for _ in range(MAX_SEGMENTS):
        filled = _JPEG_FILL.match(body, position)
        if filled is None or filled.end() == position:
            raise UndecodableImage("The JPEG's segments are damaged.")
        position = filled.end() - 1
        marker = body[position + 1]
        if marker in (0xD9, 0xDA):
            return
        if marker in _BARE_MARKERS:
            position += 2
            continue
        (length,) = struct.unpack_from(">H", body, position + 2)
        yield marker, position, body[position + 4 : position + 2 + length]
        position += 2 + max(2, length)
    raise UndecodableImage("The JPEG has far too many segments.", limit=MAX_SEGMENTS)


_FILL = b"\xff" * 262_144


def jpeg_scans(body: bytes, position: int) -> int:
    """The scans from the marker at `position` to the end of the image, at most one more than `MAX_SCANS`.

    What lies in a segment or behind the image (a thumbnail, a phone's film) is not of this image and does not count.

    Raises:
        UndecodableImage: far too many segments, or fill bytes.
    """
    scans, first = 0, position
    for _ in range(MAX_SEGMENTS):
        found = _JPEG_MARKER.search(body, position)
        marker = body[found.end() - 1] if found else 0xD9
        scans += marker == 0xDA
        if found is None or marker == 0xD9 or scans > MAX_SCANS:
            # The decoder reads them again with every piece of the file that it is fed.
            if _FILL in body[first : found.end() if found else len(body)]:
                raise UndecodableImage("The JPEG has far too many fill bytes.", limit=len(_FILL))
            return scans
        position = found.end() + max(2, int.from_bytes(body[found.end() : found.end() + 2], "big"))
    raise UndecodableImage("The JPEG has far too many segments.", limit=MAX_SEGMENTS)


@dataclass(frozen=True, slots=True)
class JpegFacts:
    """What a JPEG says of its pixels besides their size.

    Attributes:
        components: colour components, 1, 3 or 4 in any sane file.
        adobe: it bears Adobe's marker, so that four components are inverted CMYK.
        profile: its ICC profile, joined from its parts; None if it has none, or parts are missing.
        exif: its EXIF block, empty if it has none.
        xmp: its XMP packet, empty if it has none.
        frame, scan: where its frame header and its first scan begin.
    """

    components: int
    adobe: bool
    profile: bytes | None
    exif: bytes
    xmp: bytes
    frame: int
    scan: int


def jpeg_facts(body: bytes) -> JpegFacts:
    """The facts in front of the first scan.

    Raises:
        UndecodableImage: as `jpeg_segments`.
    """
    components, adobe, exif, xmp = 0, False, b"", b""
    frame = scan = 0
    parts: dict[int, bytes] = {}
    for marker, at, content in jpeg_segments(body):
        scan = at + 4 + len(content)
        if marker in SOF_MARKERS and len(content) > 5:
            components, frame = content[5], at
        elif marker == 0xE1 and content.startswith(b"Exif\0") and not exif:
            exif = content
        elif marker == 0xE1 and content.startswith(XMP_OF_JPEG) and not xmp:
            xmp = content
        elif marker == 0xE2 and content.startswith(b"ICC_PROFILE\0") and len(content) > 14:
            parts[content[12]] = content[14:]
        elif marker == 0xEE and content.startswith(b"Adobe"):
            adobe = True
    whole = parts and set(parts) == set(range(1, len(parts) + 1))
    profile = b"".join(parts[n] for n in sorted(parts)) if whole else None
    return JpegFacts(components, adobe, profile, exif, xmp, frame, scan)
