"""The chunks of a PNG. Source: PNG third edition."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from itertools import islice

from service.imaging.exif import stated_orientation
from service.imaging.orientation import MAX_TEXT_BYTES, XMP_OF_PNG, png_text, raw_profile_exif, xmp_orientation

MAX_CHUNKS_WALKED = 100_000
"""Chunks looked at before giving up."""


def png_chunks(body: bytes) -> Iterator[tuple[bytes, int, int]]:
    """The chunks of a PNG: kind, offset and length of the content, which a cut-off file may not hold whole."""
    position = 8
    while position + 8 <= len(body):
        length, kind = struct.unpack_from(">I4s", body, position)
        yield kind, position + 8, length
        position += 12 + length


def png_content(body: bytes, wanted: bytes) -> bytes | None:
    """The content of the first chunk of kind `wanted`; None where it is absent."""
    for kind, start, length in islice(png_chunks(body), MAX_CHUNKS_WALKED):
        if kind == wanted:
            return body[start : start + length]
    return None


_PNG_TEXTS = frozenset((b"tEXt", b"zTXt", b"iTXt"))
_PNG_METADATA = _PNG_TEXTS | {b"iCCP", b"eXIf"}


def png_bare(body: bytes) -> bytes:
    """The PNG without its metadata, which a decoder would inflate, and refuse the picture for being too large."""
    parts, kept = [], 0
    for kind, start, length in islice(png_chunks(body), MAX_CHUNKS_WALKED):
        if kind in _PNG_METADATA:
            parts.append(body[kept : start - 8])
            kept = start + length + 4
    return b"".join((*parts, body[kept:])) if parts else body


def png_profile(body: bytes, most: int) -> bytes | None:
    """The ICC profile of a PNG; None if it has none, or it is damaged or longer than `most` bytes."""
    _name, _, packed = (png_content(body, b"iCCP") or b"").partition(b"\0")
    inflater = zlib.decompressobj()
    try:
        profile = inflater.decompress(packed[1:], most + 1)
    except zlib.error:
        return None
    return profile if inflater.eof and len(profile) <= most else None


def png_clear_grey(body: bytes) -> int | None:
    """The one grey value that a grey PNG of 16 bits declares transparent (tRNS); None where it declares nothing."""
    for kind, start, length in islice(png_chunks(body), MAX_CHUNKS_WALKED):
        if kind == b"IDAT" or body[25] != 0:
            return None
        if kind == b"tRNS" and length == 2:
            return int.from_bytes(body[start : start + 2], "big")
    return None


def png_orientation(body: bytes) -> int:
    """The orientation (1 to 8) of a PNG: by its eXIf chunk, a raw profile in a text chunk, or XMP; 1 if none says."""
    stated = stated_orientation(png_content(body, b"eXIf") or b"")
    xmp = b""
    for kind, start, length in islice(png_chunks(body), MAX_CHUNKS_WALKED):
        if stated is not None:
            break
        if kind in _PNG_TEXTS and length <= MAX_TEXT_BYTES:
            keyword, text = png_text(kind, body[start : start + length])
            stated = stated_orientation(raw_profile_exif(keyword, text))
            xmp = text if keyword == XMP_OF_PNG else xmp
    return stated or xmp_orientation(xmp)
