"""Which way up a photo is, where EXIF does not say: in XMP, and in the profile chunks that ImageMagick writes to PNG.

Source: XMP specification part 2 (tiff:Orientation); ImageMagick's "Raw profile type" chunks.
"""

from __future__ import annotations

import re
import zlib

MAX_TEXT_BYTES = 1 << 20
"""A text chunk that inflates to more is ignored; real ones hold some kilobytes."""

XMP_OF_JPEG = b"http://ns.adobe.com/xap/1.0/\0"
XMP_OF_PNG = b"XML:com.adobe.xmp"

_XMP = re.compile(rb"\btiff:Orientation\s*(?:=\s*[\"']|>)\s*([1-8])\b")
_RAW = re.compile(rb"Raw profile type (?:exif|APP1)", re.IGNORECASE)


def xmp_orientation(packet: bytes | None) -> int:
    """The orientation (1 to 8) that an XMP packet states; 1 if it states none."""
    found = _XMP.search(packet[:MAX_TEXT_BYTES]) if packet else None
    return int(found[1]) if found else 1


def png_text(kind: bytes, content: bytes) -> tuple[bytes, bytes]:
    """Keyword and text of a tEXt, zTXt or iTXt chunk, the text cut off at `MAX_TEXT_BYTES`; empty if damaged."""
    keyword, _, rest = content.partition(b"\0")
    if kind == b"tEXt":
        return keyword, rest[:MAX_TEXT_BYTES]
    packed = kind == b"zTXt"
    if kind == b"iTXt":
        packed, rest = rest[:1] == b"\x01", rest[2:]
        rest = b"".join(rest.split(b"\0", 2)[2:])
    elif packed:
        rest = rest[1:]
    if not packed:
        return keyword, rest[:MAX_TEXT_BYTES]
    try:
        return keyword, zlib.decompressobj().decompress(rest, MAX_TEXT_BYTES)
    except zlib.error:
        return keyword, b""


def raw_profile_exif(keyword: bytes, text: bytes) -> bytes:
    """The EXIF block of ImageMagick's text chunk: a name, a length, and hexadecimal lines; empty if it is not one."""
    if not _RAW.fullmatch(keyword):
        return b""
    _, _, digits = text.strip().partition(b"\n")
    _, _, digits = digits.strip().partition(b"\n")
    try:
        return bytes.fromhex(digits.decode("ascii"))
    except ValueError:
        return b""
