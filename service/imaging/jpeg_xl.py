"""How large a JPEG XL is, read from its first bytes. Source: ISO/IEC 18181-1, SizeHeader; 18181-2, the container."""

from __future__ import annotations

import struct

from service.errors import UndecodableImage

CODESTREAM = b"\xff\x0a"
CONTAINER = b"\0\0\0\x0cJXL \r\n\x87\n"

MAX_BOXES = 1000

_RATIOS = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}
_SIDE_BITS = (9, 13, 18, 30)


def picture_size(body: bytes) -> tuple[int, int]:
    """Width and height before any turn.

    Raises:
        UndecodableImage: the codestream is not there, or begins too late.
        IndexError, struct.error: the bytes end first.
    """
    bits = _Bits(body, _codestream(body) + 2)
    small = bits.take(1)
    height = _side(bits, small)
    ratio = bits.take(3)
    if ratio == 0:
        return _side(bits, small), height
    over, under = _RATIOS[ratio]
    return height * over // under, height


def _side(bits: _Bits, small: int) -> int:
    return (bits.take(5) + 1) * 8 if small else bits.take(_SIDE_BITS[bits.take(2)]) + 1


def _codestream(body: bytes) -> int:
    if body.startswith(CODESTREAM):
        return 0
    position = 0
    for _ in range(MAX_BOXES):
        length, kind = struct.unpack_from(">I4s", body, position)
        head = 8
        if length == 1:
            (length,) = struct.unpack_from(">Q", body, position + 8)
            head = 16
        found = position + head + (4 if kind == b"jxlp" else 0)
        if kind in (b"jxlc", b"jxlp"):
            if body[found : found + 2] != CODESTREAM:
                break
            return found
        if length < head:
            break
        position += length
    raise UndecodableImage("The JPEG XL holds no picture.")


class _Bits:
    """Reads bits, the lowest of each byte first."""

    def __init__(self, body: bytes, at: int) -> None:
        if len(body) < at + 9:
            raise UndecodableImage("The image's header is cut off.")
        self._left = int.from_bytes(body[at : at + 16], "little")

    def take(self, count: int) -> int:
        value = self._left & ((1 << count) - 1)
        self._left >>= count
        return value
