"""What an image file says of itself before anything is decoded: format, size, frames, and what decoding would cost.

Only fixed-size fields are read, with every offset checked, so a hostile file costs no more than a walk along its own
bytes. Sources: ITU-T T.81 (JPEG), PNG third edition, the WebP container specification, TIFF 6.0, Windows DIB headers.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from service.errors import UndecodableImage, UnsupportedType
from service.imaging import bmff, gif, jpeg_xl
from service.imaging.foreign_files import name_foreign
from service.imaging.jpeg_header import JPEG_LS, MAX_SCANS, SOF_MARKERS, jpeg_scans, jpeg_segments
from service.imaging.jpeg_repair import height_behind
from service.imaging.png_chunks import png_chunks
from service.imaging.tiff_directories import tiff_size

SourceFormat = Literal["jpeg", "png", "webp", "tiff", "bmp", "gif", "heic", "avif", "jxl"]

MAX_FRAMES_WALKED = 100_000
"""Frames counted before giving up; any real pixel limit is passed long before."""


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
        UnsupportedType: they are not a served format.
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
    if body.startswith((b"GIF87a", b"GIF89a")):
        return "gif"
    if body.startswith((jpeg_xl.CODESTREAM, jpeg_xl.CONTAINER)):
        return "jxl"
    if (found := bmff.sniff_bmff(body)) is not None:
        return found
    raise UnsupportedType(name_foreign(body))


def read_header(body: bytes) -> Header:
    """The header of `body`.

    Raises:
        UnsupportedType: the bytes are not a served format.
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


def _jpeg(body: bytes) -> Header:
    frames = (segment for segment in jpeg_segments(body) if segment[0] in SOF_MARKERS or segment[0] == JPEG_LS)
    marker, position, content = next(frames, (0, 0, b""))
    if not marker:
        raise UndecodableImage("The JPEG has no frame before its data.")
    if marker == JPEG_LS:
        raise UnsupportedType("This is a JPEG-LS file, which is not read: send the photo as PNG or TIFF.")
    bits, height, width = struct.unpack_from(">BHH", content)
    if jpeg_scans(body, position) > MAX_SCANS:
        raise UndecodableImage(f"The JPEG has more than {MAX_SCANS} scans.", limit=MAX_SCANS)
    height = height or height_behind(body, position)
    if not height:
        raise UndecodableImage("The JPEG does not say how high it is: its height is 0, and no DNL segment follows.")
    return Header("jpeg", width, height, 1, width * height, bits)


def _png(body: bytes) -> Header:
    if body[12:16] == b"CgBI":
        raise UndecodableImage("This is a PNG for iOS apps alone (CgBI), which is not read: send the original PNG.")
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
    """The content of the first chunk of kind `wanted`; None where it is absent."""
    for kind, start, length in islice(webp_chunks(body), MAX_FRAMES_WALKED):
        if kind == wanted:
            return body[start : start + length]
    return None


def _bmp(body: bytes) -> Header:
    (size,) = struct.unpack_from("<I", body, 14)
    if size == 12:
        width, height, _, bits = struct.unpack_from("<HHHH", body, 18)
        return Header("bmp", width, height, 1, width * height, bits)
    width, height, _, bits = struct.unpack_from("<iiHH", body, 18)
    if width < 0:
        raise UndecodableImage("The BMP's width is negative.")
    return Header("bmp", width, abs(height), 1, width * abs(height), min(bits, 8))


def _tiff(body: bytes) -> Header:
    width, height, bits, frames, pixels = tiff_size(body, MAX_FRAMES_WALKED)
    return Header("tiff", width, height, frames, pixels, bits)


def _gif(body: bytes) -> Header:
    width, height, frames = gif.picture_size(body)
    return Header("gif", width, height, frames, width * height * frames, 8)


def _heic(body: bytes) -> Header:
    width, height, most = bmff.picture_size(body)
    return Header("heic", width, height, 1, most, 8)


def _avif(body: bytes) -> Header:
    width, height, most = bmff.picture_size(body)
    return Header("avif", width, height, 1, most, 8)


def _jxl(body: bytes) -> Header:
    width, height = jpeg_xl.picture_size(body)
    return Header("jxl", width, height, 1, width * height, 8)


_READERS = {
    "jpeg": _jpeg,
    "png": _png,
    "webp": _webp,
    "tiff": _tiff,
    "bmp": _bmp,
    "gif": _gif,
    "heic": _heic,
    "avif": _avif,
    "jxl": _jxl,
}
