"""The directories of a TIFF: how large its pictures are, and which one is meant. Source: TIFF 6.0."""

from __future__ import annotations

import struct

from service.errors import UndecodableImage

MAX_THUMBNAILS = 16
"""Reduced pictures in front of a TIFF's full one that are passed over."""

_SUBFILE = 0xFE
_TIFF_INTEGERS = {1: "B", 3: "H", 4: "I"}


def tiff_size(body: bytes, most_frames: int) -> tuple[int, int, int, int, int]:
    """Width, height and bits of the first full picture, the number of all, and the pixels of all together.

    Raises:
        UndecodableImage: there is no full picture, or the directories overlap.
        struct.error: the bytes end first.
    """
    order = "<" if body[:2] == b"II" else ">"
    (offset,) = struct.unpack_from(order + "I", body, 4)
    first: dict[int, int] = {}
    reduced = False
    pixels = frames = 0
    seen: set[int] = set()
    unread = len(body)
    while offset and offset not in seen and frames < most_frames:
        seen.add(offset)
        unread -= _directory_length(body, order, offset)
        if unread < 0:
            raise UndecodableImage("The TIFF's directories overlap.")
        entries, following = tiff_directory(body, order, offset)
        if not first or (reduced and not entries.get(_SUBFILE, 0) & 1):
            first, reduced = entries, bool(entries.get(_SUBFILE, 0) & 1)
        frames += 1
        pixels += max(entries.get(0x100, 0) * entries.get(0x101, 0), _tile_pixels(entries))
        offset = following
    if not first:
        raise UndecodableImage("The TIFF holds no picture.")
    return first.get(0x100, 0), first.get(0x101, 0), first.get(0x102, 1), frames, pixels


def tiff_picture(body: bytes) -> bytes:
    """The TIFF with its first full picture as its first: some put a reduced one, a thumbnail, in front.

    Source: TIFF 6.0, NewSubfileType.
    """
    order = "<" if body[:2] == b"II" else ">"
    (offset,) = struct.unpack_from(order + "I", body, 4)
    for _ in range(MAX_THUMBNAILS):
        entries, following = tiff_directory(body, order, offset)
        if not entries.get(_SUBFILE, 0) & 1:
            return body[:4] + struct.pack(order + "I", offset) + body[8:]
        if not following or following + 2 > len(body):
            break
        offset = following
    return body


def _directory_length(body: bytes, order: str, offset: int) -> int:
    # Directories that share their bytes would make a small file a walk without end.
    (count,) = struct.unpack_from(order + "H", body, offset)
    return 2 + 12 * int(count) + 4


def _tile_pixels(entries: dict[int, int]) -> int:
    # A small picture may be cut into tiles as large as the file likes, and a decoder allocates a whole tile.
    return entries.get(0x142, 0) * entries.get(0x143, 0)


def tiff_directory(body: bytes, order: str, offset: int) -> tuple[dict[int, int], int]:
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
