"""Large PNGs of 16 bits with transparency, a strip of rows at a time: OpenCV holds such a picture twice.

Rows of a PNG are inflated one after the other, and each may be told as differences to the row before it (PNG third
edition, 9). A strip is made a PNG of its own, which the usual decoder reads: the last row before it comes first, as
plain samples, and is left out of the result.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

from numpy.typing import NDArray

from service.errors import UndecodableImage
from service.imaging.png_chunks import MAX_CHUNKS_WALKED, png_chunks

LARGE_PIXELS = 4_000_000
"""Smaller pictures are decoded whole, which is simpler and takes little."""

_STRIP_BYTES = 16_000_000
_PIECE_BYTES = 65_536
_MOST_SPARE_BYTES = 1_000_000
"""Image data after the last row, which other readers pass over."""

_STORED = {4: [0, 3], 6: [2, 1, 0, 3]}
"""Where the samples of grey and of colour with transparency, as a PNG has them, are in OpenCV's BGRA."""

Rows = NDArray[Any]


def png_size(body: bytes) -> tuple[int, int]:
    """Width and height that a PNG states."""
    width, height = struct.unpack_from(">II", body, 16)
    return width, height


def in_strips(body: bytes) -> bool:
    """Whether `png_strips` reads this PNG: large, of 16 bits with transparency, not interlaced."""
    width, height = png_size(body)
    return width * height > LARGE_PIXELS and body[24] == 16 and body[25] in _STORED and body[28] == 0


def png_strips(body: bytes, decode: Callable[[bytes], Rows]) -> Iterator[tuple[slice, Rows]]:
    """Strips of rows with where they lie: each (h, W, 4) uint16 BGRA, as `decode` gives of a whole PNG.

    Raises:
        UndecodableImage: data are missing or damaged.
        zlib.error: the same.
    """
    width, height = png_size(body)
    stored = _STORED[body[25]]
    line = 1 + 2 * len(stored) * width
    most = max(1, _STRIP_BYTES // line)
    strips = [slice(top, min(height, top + most)) for top in range(0, height, most)]
    before = bytes(line)
    # `strict` runs the data to their end, where their checksum is.
    for rows, coded in zip(
        strips, _inflated(body, [line * (strip.stop - strip.start) for strip in strips]), strict=True
    ):
        count = rows.stop - rows.start
        decoded = decode(_png(body[24:29], width, count + 1, before + coded))
        if decoded.shape != (count + 1, width, 4):
            raise UndecodableImage("The PNG is damaged.")
        before = b"\0" + decoded[-1][:, stored].astype(">u2").tobytes()
        yield rows, decoded[1:]


def _inflated(body: bytes, lengths: Iterable[int]) -> Iterator[bytes]:
    """The image data in pieces of `lengths` bytes; no more is ever inflated."""
    inflater, pieces, piece = zlib.decompressobj(), _coded(body), b""
    for length in lengths:
        parts: list[bytes] = []
        missing = length
        while missing:
            piece = piece or next(pieces, b"")
            parts.append(inflater.decompress(piece, missing))
            missing -= len(parts[-1])
            if missing and (inflater.eof or not (piece or parts[-1])):
                raise UndecodableImage("The PNG is cut off.")
            piece = inflater.unconsumed_tail
        yield b"".join(parts)
    _require_end(inflater, piece, pieces)


def _require_end(inflater: zlib._Decompress, piece: bytes, pieces: Iterator[bytes]) -> None:
    """Read on to the checksum of all image data, which zlib holds against them."""
    spare = 0
    while not inflater.eof:
        piece = piece or next(pieces, b"")
        more = len(inflater.decompress(piece, _PIECE_BYTES))
        spare += more
        if spare > _MOST_SPARE_BYTES or not (piece or more):
            raise UndecodableImage("The PNG is damaged, or cut off.")
        piece = inflater.unconsumed_tail


def _coded(body: bytes) -> Iterator[bytes]:
    """The image data as they are stored, in small pieces, once their checksum was found right."""
    view = memoryview(body)
    for kind, start, length in islice(png_chunks(body), MAX_CHUNKS_WALKED):
        if kind != b"IDAT":
            continue
        if zlib.crc32(view[start - 4 : start + length]).to_bytes(4, "big") != view[start + length : start + length + 4]:
            raise UndecodableImage("The PNG is damaged.")
        for at in range(start, start + length, _PIECE_BYTES):
            yield bytes(view[at : min(start + length, at + _PIECE_BYTES)])


def _png(kind_of_samples: bytes, width: int, height: int, coded: bytes) -> bytes:
    header = struct.pack(">II", width, height) + kind_of_samples
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(coded, 0)), (b"IEND", b""))
    told = (
        struct.pack(">I", len(data)) + kind + data + zlib.crc32(kind + data).to_bytes(4, "big") for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(told)
