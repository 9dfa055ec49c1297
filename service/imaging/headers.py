"""What an image file says of itself before anything is decoded: format, size, frames, and what decoding would cost.

Only fixed-size fields are read, with every offset checked, so a hostile file costs no more than a walk along its own
bytes. Sources: ITU-T T.81 (JPEG), PNG third edition, the WebP container specification, TIFF 6.0, Windows DIB headers.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from service.errors import UndecodableImage, UnsupportedType

SourceFormat = Literal["jpeg", "png", "webp", "tiff", "bmp"]

MAX_SCANS = 64
"""Scans a JPEG may have: the usual progressive scripts have 6 to 13; each one more is a pass over the whole image."""

MAX_SEGMENTS = 100_000
"""Segments of a JPEG walked before giving up; a megabyte of metadata fills 16 of them."""

MAX_FRAMES_WALKED = 100_000
"""Frames counted before giving up; any real pixel limit is passed long before."""

_SOF_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_BARE_MARKERS = frozenset((0x01, *range(0xD0, 0xD8)))
_JPEG_FILL = re.compile(rb"\xff*")
_JPEG_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]")
"""A marker that coded data cannot hold: no stuffed zero, no restart, no filling."""
_TIFF_INTEGERS = {1: "B", 3: "H", 4: "I"}


@dataclass(frozen=True, slots=True)
class Header:
    """What the first bytes promise.

    Attributes:
        format: which of the served formats it is.
        width, height: of the first frame as stored, in pixels, before any turning upright.
        frames: how many pictures the file holds, at least 1.
        pixels: pixels of all frames together, in the unit that the pixel limit counts.
        bits: bits of one sample as stored.
    """

    format: SourceFormat
    width: int
    height: int
    frames: int
    pixels: int
    bits: int


def sniff(body: bytes) -> SourceFormat:
    """Which served format the bytes are, by their signature.

    Raises:
        UnsupportedType: they are none of them.
    """
    if body.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if body.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if body.startswith(b"RIFF") and body[8:12] == b"WEBP":
        return "webp"
    if body.startswith((b"II*\x00", b"MM\x00*")):
        return "tiff"
    if body.startswith(b"BM"):
        return "bmp"
    raise UnsupportedType("The bytes are not a JPEG, PNG, WebP, TIFF or BMP image.")


def read_header(body: bytes) -> Header:
    """The header of `body`.

    Raises:
        UnsupportedType: the bytes are no served format.
        UndecodableImage: the header is cut off or contradicts itself, a side is zero, or decoding would cost out of all
            proportion to the size (scans, tiles).
    """
    source = sniff(body)
    try:
        header = _READERS[source](body)
    except (struct.error, IndexError) as error:
        raise UndecodableImage("The image's header is cut off.") from error
    if header.width < 1 or header.height < 1:
        raise UndecodableImage("The image has no pixels: a side is zero.")
    return header


def jpeg_segments(body: bytes) -> Iterator[tuple[int, int, bytes]]:
    """The segments in front of a JPEG's first scan: marker, offset, content.

    Raises:
        UndecodableImage: what stands where a segment should begin is none, or there are far too many.
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


def _jpeg_scans(body: bytes, position: int) -> int:
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


def _jpeg(body: bytes) -> Header:
    found = next(((at, content) for marker, at, content in jpeg_segments(body) if marker in _SOF_MARKERS), None)
    if found is None:
        raise UndecodableImage("The JPEG has no frame before its data.")
    position, content = found
    if _jpeg_scans(body, position) > MAX_SCANS:
        raise UndecodableImage(f"The JPEG has more than {MAX_SCANS} scans.", limit=MAX_SCANS)
    bits, height, width = struct.unpack_from(">BHH", content)
    return Header("jpeg", width, height, 1, width * height, bits)


def _png(body: bytes) -> Header:
    if body[12:16] != b"IHDR":
        raise UndecodableImage("The PNG does not begin with its header.")
    width, height, bits = struct.unpack_from(">IIB", body, 16)
    frames = 1
    for kind, start, _ in islice(png_chunks(body), MAX_FRAMES_WALKED):
        if kind == b"acTL":
            frames = max(1, *struct.unpack_from(">I", body, start))
        if kind in (b"IDAT", b"acTL"):
            break
    return Header("png", width, height, frames, width * height * frames, bits)


def png_chunks(body: bytes) -> Iterator[tuple[bytes, int, int]]:
    """The chunks of a PNG: kind, offset and length of the content, which a cut-off file may not hold whole."""
    position = 8
    while position + 8 <= len(body):
        length, kind = struct.unpack_from(">I4s", body, position)
        yield kind, position + 8, length
        position += 12 + length


def png_content(body: bytes, wanted: bytes) -> bytes | None:
    """The content of the first chunk of kind `wanted`; None if there is none."""
    return _content(body, png_chunks(body), wanted)


_PNG_METADATA = frozenset((b"iCCP", b"tEXt", b"zTXt", b"iTXt", b"eXIf"))


def png_bare(body: bytes) -> bytes:
    """The PNG without its metadata, which a decoder would inflate, and refuse the picture for being too large."""
    parts, kept = [], 0
    for kind, start, length in islice(png_chunks(body), MAX_FRAMES_WALKED):
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
    """The one grey value that a grey PNG of 16 bits declares transparent (tRNS); None if there is none."""
    for kind, start, length in islice(png_chunks(body), MAX_FRAMES_WALKED):
        if kind == b"IDAT" or body[25] != 0:
            return None
        if kind == b"tRNS" and length == 2:
            return int.from_bytes(body[start : start + 2], "big")
    return None


def _webp(body: bytes) -> Header:
    kind = body[12:16]
    if kind == b"VP8X":
        width, height = (int.from_bytes(body[at : at + 3], "little") + 1 for at in (24, 27))
        if len(body) < 30:
            raise UndecodableImage("The image's header is cut off.")
        frames = _webp_pictures(body)
    elif kind == b"VP8 ":
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", body, 26))
        frames = 1
    elif kind == b"VP8L":
        (packed,) = struct.unpack_from("<I", body, 21)
        width, height, frames = (packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1, 1
    else:
        raise UndecodableImage("The WebP holds no picture.")
    return Header("webp", width, height, frames, width * height * frames, 8)


def _webp_pictures(body: bytes) -> int:
    kinds = [kind for kind, _, _ in islice(webp_chunks(body), MAX_FRAMES_WALKED)]
    if not {b"ANMF", b"VP8 ", b"VP8L"} & set(kinds):
        raise UndecodableImage("The WebP holds no picture.")
    return max(1, kinds.count(b"ANMF"))


def webp_chunks(body: bytes) -> Iterator[tuple[bytes, int, int]]:
    """The chunks of a WebP: kind, offset and length of the content, which a cut-off file may not hold whole."""
    position = 12
    while position + 8 <= len(body):
        kind, length = struct.unpack_from("<4sI", body, position)
        yield kind, position + 8, length
        position += 8 + length + (length & 1)


def webp_content(body: bytes, wanted: bytes) -> bytes | None:
    """The content of the first chunk of kind `wanted`; None if there is none."""
    return _content(body, webp_chunks(body), wanted)


def _content(body: bytes, chunks: Iterator[tuple[bytes, int, int]], wanted: bytes) -> bytes | None:
    for kind, start, length in islice(chunks, MAX_FRAMES_WALKED):
        if kind == wanted:
            return body[start : start + length]
    return None


def _bmp(body: bytes) -> Header:
    (size,) = struct.unpack_from("<I", body, 14)
    if size == 12:
        width, height, _, bits = struct.unpack_from("<HHHH", body, 18)
        return Header("bmp", width, height, 1, width * height, bits)
    width, height, _, bits, compression = struct.unpack_from("<iiHHI", body, 18)
    if compression in (1, 2):
        raise UndecodableImage("Run-length coded BMP is not supported.")
    if width < 0:
        raise UndecodableImage("The BMP's width is negative.")
    return Header("bmp", width, abs(height), 1, width * abs(height), min(bits, 8))


def _tiff(body: bytes) -> Header:
    order = "<" if body[:2] == b"II" else ">"
    (offset,) = struct.unpack_from(order + "I", body, 4)
    first: dict[int, int] = {}
    pixels = frames = 0
    seen: set[int] = set()
    unread = len(body)
    while offset and offset not in seen and frames < MAX_FRAMES_WALKED:
        seen.add(offset)
        unread -= _tiff_directory_length(body, order, offset)
        if unread < 0:
            raise UndecodableImage("The TIFF's directories overlap.")
        entries, following = _tiff_directory(body, order, offset)
        if not first:
            first = entries
        frames += 1
        pixels += max(entries.get(0x100, 0) * entries.get(0x101, 0), _tile_pixels(entries))
        offset = following
    if not first:
        raise UndecodableImage("The TIFF holds no picture.")
    return Header("tiff", first.get(0x100, 0), first.get(0x101, 0), frames, pixels, first.get(0x102, 1))


def _tiff_directory_length(body: bytes, order: str, offset: int) -> int:
    # Directories that share their bytes would make a small file a walk without end.
    (count,) = struct.unpack_from(order + "H", body, offset)
    return 2 + 12 * int(count) + 4


def _tile_pixels(entries: dict[int, int]) -> int:
    # A small picture may be cut into tiles as large as the file likes, and a decoder allocates a whole tile.
    return entries.get(0x142, 0) * entries.get(0x143, 0)


def _tiff_directory(body: bytes, order: str, offset: int) -> tuple[dict[int, int], int]:
    """The integer entries of the directory at `offset` (first value of each) and the offset of the next one."""
    (count,) = struct.unpack_from(order + "H", body, offset)
    entries: dict[int, int] = {}
    for at in range(offset + 2, offset + 2 + 12 * count, 12):
        tag, kind, length = struct.unpack_from(order + "HHI", body, at)
        if (letter := _TIFF_INTEGERS.get(kind)) is None or length == 0:
            continue
        where = at + 8
        if length * struct.calcsize(letter) > 4:
            (where,) = struct.unpack_from(order + "I", body, where)
        if where + 4 <= len(body):
            (entries[tag],) = struct.unpack_from(order + letter, body, where)
    end = offset + 2 + 12 * count
    following = struct.unpack_from(order + "I", body, end)[0] if end + 4 <= len(body) else 0
    return entries, following


_READERS = {"jpeg": _jpeg, "png": _png, "webp": _webp, "tiff": _tiff, "bmp": _bmp}


@dataclass(frozen=True, slots=True)
class JpegFacts:
    """What a JPEG says of its pixels besides their size.

    Attributes:
        components: colour components, 1, 3 or 4 in any sane file.
        adobe: it bears Adobe's marker, so that four components are inverted CMYK.
        profile: its ICC profile, joined from its parts; None if it has none, or parts are missing.
        exif: its EXIF block, empty if it has none.
    """

    components: int
    adobe: bool
    profile: bytes | None
    exif: bytes


def jpeg_facts(body: bytes) -> JpegFacts:
    """The facts in front of the first scan.

    Raises:
        UndecodableImage: as `jpeg_segments`.
    """
    components, adobe, exif = 0, False, b""
    parts: dict[int, bytes] = {}
    for marker, _, content in jpeg_segments(body):
        if marker in _SOF_MARKERS and len(content) > 5:
            components = content[5]
        elif marker == 0xE1 and content.startswith(b"Exif\0") and not exif:
            exif = content
        elif marker == 0xE2 and content.startswith(b"ICC_PROFILE\0") and len(content) > 14:
            parts[content[12]] = content[14:]
        elif marker == 0xEE and content.startswith(b"Adobe"):
            adobe = True
    whole = parts and set(parts) == set(range(1, len(parts) + 1))
    return JpegFacts(components, adobe, b"".join(parts[n] for n in sorted(parts)) if whole else None, exif)


def exif_orientation(exif: bytes) -> int:
    """The orientation (1 to 8) that an EXIF block states; 1 when it states none, or nothing that can be read.

    Source: Exif 2.32, tag 0x0112 of the 0th IFD.
    """
    start = min((at for at in (exif.find(b"II*\x00", 0, 16), exif.find(b"MM\x00*", 0, 16)) if at >= 0), default=-1)
    if start < 0:
        return 1
    block = exif[start:]
    order = "<" if block[:2] == b"II" else ">"
    try:
        entries, _ = _tiff_directory(block, order, struct.unpack_from(order + "I", block, 4)[0])
    except struct.error:
        return 1
    orientation = entries.get(0x0112, 1)
    return orientation if 1 <= orientation <= 8 else 1
