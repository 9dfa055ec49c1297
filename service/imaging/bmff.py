"""HEIC and AVIF files before anything is decoded: which of the two, how large, and in what colours.

Source: ISO/IEC 14496-12 (boxes), ISO/IEC 23008-12 (HEIF: `meta`, `pitm`, `iprp`), AV1 Image File Format 1.1.0.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import islice
from typing import Literal

from service.errors import UndecodableImage

HEIC_BRANDS = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"))
AVIF_BRANDS = frozenset((b"avif", b"avis"))

MAX_BOXES = 10_000
"""Boxes of one level walked before giving up; a photo of a thousand tiles has some thousand properties."""

Box = tuple[bytes, int, int]
"""Kind, start and end of the content."""


def brands(body: bytes) -> frozenset[bytes]:
    """The major and compatible brands of the file; empty if it is no ISO base media file."""
    if body[4:8] != b"ftyp":
        return frozenset()
    length = min(int.from_bytes(body[:4], "big"), len(body), 1024)
    return frozenset(body[at : at + 4] for at in (8, *range(16, length - 3, 4)))


def sniff_bmff(body: bytes) -> Literal["heic", "avif"] | None:
    """Which of the two the file is by its brands; None if it is neither."""
    found = brands(body)
    if found & AVIF_BRANDS:
        return "avif"
    return "heic" if found & HEIC_BRANDS else None


def picture_size(body: bytes) -> tuple[int, int, int]:
    """Width and height of the primary picture before any turn, and the most pixels that any item claims.

    Raises:
        UndecodableImage: the file holds no still picture, or does not say its size.
    """
    properties, primary = _properties(body)
    sizes = [struct.unpack_from(">II", body, start + 4) for kind, start, _ in properties if kind == b"ispe"]
    own = [index for index in primary if index < len(properties) and properties[index][0] == b"ispe"]
    if not own:
        raise UndecodableImage("The file holds no still picture, or does not say how large it is.")
    width, height = struct.unpack_from(">II", body, properties[own[0]][1] + 4)
    return int(width), int(height), max(int(w) * int(h) for w, h in sizes)


def colour_codes(body: bytes) -> tuple[int, int] | None:
    """Primaries and transfer of the primary picture by ITU-T H.273; None where it has a profile or says nothing."""
    properties, primary = _properties(body)
    colours = [properties[i] for i in primary if i < len(properties) and properties[i][0] == b"colr"]
    if any(body[start : start + 4] in (b"prof", b"rICC") for _, start, _ in colours):
        return None
    for _, start, _ in colours:
        if body[start : start + 4] == b"nclx":
            first, second = struct.unpack_from(">HH", body, start + 4)
            return int(first), int(second)
    return None


def _boxes(body: bytes, start: int, end: int) -> Iterator[Box]:
    for _ in range(MAX_BOXES):
        if start + 8 > end:
            return
        length, kind = struct.unpack_from(">I4s", body, start)
        head = 8
        if length == 1:
            (length,) = struct.unpack_from(">Q", body, start + 8)
            head = 16
        length = end - start if length == 0 else length
        if length < head or start + length > end:
            raise UndecodableImage("The file's boxes are damaged or cut off.")
        yield kind, start + head, start + length
        start += length
    raise UndecodableImage("The file has far too many boxes.", limit=MAX_BOXES)


def _child(body: bytes, parent: Box, kind: bytes, skip: int = 0) -> Box:
    for box in _boxes(body, parent[1] + skip, parent[2]):
        if box[0] == kind:
            return box
    raise UndecodableImage(f"The file has no {kind.decode()} box.")


def _properties(body: bytes) -> tuple[list[Box], list[int]]:
    """All item properties, and the indices of those that belong to the primary item."""
    for box in _boxes(body, 0, len(body)):
        if box[0] == b"meta":
            meta = box
            break
    else:
        raise UndecodableImage("The file holds no still picture; of a sequence or a film, send one frame as JPEG.")
    pitm, iprp = _child(body, meta, b"pitm", 4), _child(body, meta, b"iprp", 4)
    wide = body[pitm[1]] > 0
    (primary,) = struct.unpack_from(">I" if wide else ">H", body, pitm[1] + 4)
    properties = list(_boxes(body, *_child(body, iprp, b"ipco")[1:]))
    return properties, list(_associated(body, _child(body, iprp, b"ipma"), primary))


def _associated(body: bytes, ipma: Box, item: int) -> Iterator[int]:
    version, flags = body[ipma[1]], body[ipma[1] + 3]
    (count,) = struct.unpack_from(">I", body, ipma[1] + 4)
    at = ipma[1] + 8
    number, step = (">I", 4) if version else (">H", 2)
    index, width, mask = (">H", 2, 0x7FFF) if flags & 1 else (">B", 1, 0x7F)
    for _ in islice(range(count), MAX_BOXES):
        if at >= ipma[2]:
            return
        (owner,) = struct.unpack_from(number, body, at)
        entries = body[at + step]
        at += step + 1
        if owner == item:
            for entry in range(entries):
                yield (struct.unpack_from(index, body, at + entry * width)[0] & mask) - 1
            return
        at += entries * width
