"""How large a GIF is and how many frames it has. Source: the Graphics Interchange Format, version 89a."""

from __future__ import annotations

import struct

from service.errors import UndecodableImage

MAX_BLOCKS = 200_000
_EXTENSION, _IMAGE, _END = 0x21, 0x2C, 0x3B


def picture_size(body: bytes) -> tuple[int, int, int]:
    """Width, height and number of frames; no frame is larger than the screen that the size is of.

    Raises:
        UndecodableImage: it holds no frame, a frame lies outside the screen, or there are far too many blocks.
        IndexError, struct.error: the bytes end within the header.
    """
    width, height, packed = struct.unpack_from("<HHB", body, 6)
    position = 13 + _table(packed)
    frames = 0
    for _ in range(MAX_BLOCKS):
        if position >= len(body) or body[position] not in (_EXTENSION, _IMAGE):
            break
        if body[position] == _EXTENSION:
            position = _after_blocks(body, position + 2)
            continue
        if position + 10 > len(body):
            break
        left, top, wide, high, packed = struct.unpack_from("<HHHHB", body, position + 1)
        if not frames and (left + wide > width or top + high > height):
            raise UndecodableImage("The GIF's first frame lies outside its screen.")
        frames += 1
        position = _after_blocks(body, position + 10 + _table(packed) + 1)
    if not frames:
        raise UndecodableImage("The GIF holds no picture.")
    return width, height, frames


def _table(packed: int) -> int:
    return 3 * 2 ** ((packed & 7) + 1) if packed & 0x80 else 0


def _after_blocks(body: bytes, position: int) -> int:
    for _ in range(len(body) // 2 + 1):
        if position >= len(body) or body[position] == 0:
            break
        position += body[position] + 1
    return position + 1
