"""JPEGs that say too little: without an end marker, with a trailer in its place, with their height behind the picture.

All their data are there, so they are completed and shown; what lost data is refused by whoever decodes it.
Source: ITU-T T.81, B.1.1.3 (markers), B.2.5 (DNL), G.1.2 (progressive scans).
"""

from __future__ import annotations

import re
import struct

import simplejpeg

from service.errors import UndecodableImage

END = b"\xff\xd9"

_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]")
"""A marker that coded data cannot hold, a second start included."""

_SEGMENTS = frozenset((*range(0xC0, 0xD0), 0xDA, 0xDB, 0xDC, 0xDD, 0xFE, *range(0xE0, 0xF0)))
_EXTRANEOUS = re.compile(r"(\d+) extraneous bytes before marker 0x([0-9a-f]{2})")
_TRAILER = re.compile(rb"ftyp|SEFH|Samsung|MotionPhoto|Image_UTC_Data|\xff\xd8\xff|MPF\0|\A\0{16}|\A\xff{16}")
_TRAILER_HEAD = 64
"""A trailer is known by a word in its first bytes: those of phones, or a second picture, or plain filling."""

MAX_MARKERS = 10_000


def height_behind(body: bytes, scan: int) -> int:
    """The height that a DNL segment behind the scan at `scan` states; 0 where it is absent."""
    at = body.find(b"\xff\xdc\x00\x04", scan)
    return int.from_bytes(body[at + 4 : at + 6], "big") if at >= 0 else 0


def with_height(body: bytes, frame: int) -> bytes:
    """`body` with the height of its DNL segment in the frame header at `frame`, where that one says 0."""
    if body[frame + 5 : frame + 7] != b"\0\0":
        return body
    return body[: frame + 5] + height_behind(body, frame).to_bytes(2, "big") + body[frame + 7 :]


def completed(body: bytes, scan: int, colours: str) -> bytes:
    """`body` with an end marker behind its data, where it has none but all data are there.

    Args:
        body: a JPEG.
        scan: where its first scan begins.
        colours: what simplejpeg shall make of it: RGB, GRAY or CMYK.

    Raises:
        UndecodableImage: scans of a progressive picture are missing.
    """
    end, finished = _end_of_data(body, scan)
    if finished:
        return body
    whole = body[:end] + END
    trailer = _trailer_start(whole, scan, colours)
    whole = body[:trailer] + END if trailer is not None else whole
    if not _all_scans(whole, scan):
        raise UndecodableImage("The JPEG is cut off: some of its scans are missing.")
    return whole


def _end_of_data(body: bytes, position: int) -> tuple[int, bool]:
    """Where the markers behind `position` end, and whether by the end of the image."""
    for _ in range(MAX_MARKERS):
        found = _MARKER.search(body, position)
        if found is None:
            return len(body), False
        marker = body[found.end() - 1]
        if marker == 0xD9:
            return found.start(), True
        if marker not in _SEGMENTS:
            return found.start(), False
        position = found.end() + max(2, int.from_bytes(body[found.end() : found.end() + 2], "big"))
    return len(body), True


def _trailer_start(whole: bytes, scan: int, colours: str) -> int | None:
    """Where a known trailer begins right behind the picture's last data; None if none does."""
    try:
        simplejpeg.decode_jpeg(whole, colours, strict=True, min_height=1, min_width=1, min_factor=8)
    except ValueError as error:
        if found := _EXTRANEOUS.search(str(error)):
            start = whole.find(bytes((0xFF, int(found[2], 16))), scan) - int(found[1])
            if start > scan and _TRAILER.search(whole[start : start + _TRAILER_HEAD]):
                return start
    return None


def _all_scans(body: bytes, position: int) -> bool:
    """Whether every coefficient of every component came, to its last bit."""
    missing: dict[int, set[int]] = {}
    progressive = b"\xff\xc2" in body[:position]
    frame = body.find(b"\xff\xc2" if progressive else b"\xff\xc0", 0, position)
    if frame < 0:
        return True
    for index in range(body[frame + 9]):
        missing[body[frame + 10 + 3 * index]] = set(range(64))
    for _ in range(MAX_MARKERS):
        found = _MARKER.search(body, position)
        if found is None or body[found.end() - 1] == 0xD9:
            break
        length = max(2, int.from_bytes(body[found.end() : found.end() + 2], "big"))
        if body[found.end() - 1] == 0xDA:
            _strike_off(missing, body[found.end() + 2 : found.end() + length], progressive=progressive)
        position = found.end() + length
    return not any(missing.values())


def _strike_off(missing: dict[int, set[int]], head: bytes, *, progressive: bool) -> None:
    count = head[0]
    first, last, bits = struct.unpack_from("BBB", head, 1 + 2 * count)
    if progressive and bits & 15:
        return
    for index in range(count):
        coefficients = range(first, last + 1) if progressive else range(64)
        missing.get(head[1 + 2 * index], set()).difference_update(coefficients)
