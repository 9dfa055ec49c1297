"""TIFF files of any layout, written by hand: what no library at hand writes, and so an oracle for those that read.

Source: TIFF 6.0 (sections 7, 9, 13, 14, 15 and 18 for layout, PackBits, LZW, predictor, tiles and extra samples).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.uint8] | NDArray[np.uint16]

_ROWS_PER_STRIP = 50
_TILE = 64
_LITERALS = 250  # below 254 codes after each clear code, LZW codes stay 9 bits wide


def _packbits(data: bytes) -> bytes:
    parts = (data[at : at + 128] for at in range(0, len(data), 128))
    return b"".join(bytes((len(part) - 1,)) + part for part in parts)


def _lzw(data: bytes) -> bytes:
    codes: list[int] = []
    for at in range(0, len(data), _LITERALS):
        codes += [256, *data[at : at + _LITERALS]]
    numbers = np.array([*codes, 257], np.uint16)
    return np.packbits(((numbers[:, None] >> np.arange(9)[::-1]) & 1).astype(np.uint8)).tobytes()


_COMPRESSIONS: dict[str, tuple[int, Callable[[bytes], bytes]]] = {
    "none": (1, lambda data: data),
    "lzw": (5, _lzw),
    "deflate": (8, zlib.compress),
    "packbits": (32_773, _packbits),
}
"""Number in tag 259 and the coder of each compression."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How samples lie in the file.

    Attributes:
        order: byte order, as in `struct`.
        planar: each channel on its own (PlanarConfiguration 2) instead of pixel by pixel.
        tiled: in tiles of 64 x 64 instead of strips of 50 rows.
        compression: one of `COMPRESSIONS`.
        predictor: horizontal differencing (tag 317), which only the compressed kinds may have.
    """

    order: Literal["<", ">"] = "<"
    planar: bool = False
    tiled: bool = False
    compression: str = "none"
    predictor: bool = False


def layouts() -> Iterator[Layout]:
    """Every layout there is."""
    for order in ("<", ">"):
        for planar in (False, True):
            for tiled in (False, True):
                for compression in _COMPRESSIONS:
                    yield Layout(order, planar, tiled, compression)
                    if compression in ("lzw", "deflate"):
                        yield Layout(order, planar, tiled, compression, predictor=True)


def tiff_file(
    samples: Samples, photometric: int, *, extra: int | None = None, layout: Layout | None = None, orientation: int = 1
) -> bytes:
    """`samples`, (H, W, C), as a TIFF that stores these very numbers.

    Args:
        samples: uint8 or uint16; what they mean is left to the tags.
        photometric: tag 262; 0 zero is white, 1 zero is black, 2 RGB.
        extra: tag 338, the meaning of the channel behind the colours; None leaves the tag out.
        layout: how they lie in the file.
        orientation: tag 274.
    """
    layout = layout or Layout()
    height, width, channels = samples.shape
    number, coder = _COMPRESSIONS[layout.compression]
    blocks = [coder(block.tobytes()) for block in _blocks(samples, layout)]
    lengths = [len(block) for block in blocks]
    offsets = (8 + np.cumsum([0, *lengths[:-1]])).tolist()
    shorts = {258: [samples.itemsize * 8] * channels, 259: [number], 262: [photometric], 274: [orientation]}
    shorts |= {277: [channels], 284: [2 if layout.planar else 1]}
    shorts |= {317: [2]} if layout.predictor else {}
    shorts |= {} if extra is None else {338: [extra]}
    longs = {256: [width], 257: [height]}
    longs |= {322: [_TILE], 323: [_TILE], 324: offsets, 325: lengths} if layout.tiled else {}
    longs |= {} if layout.tiled else {278: [_ROWS_PER_STRIP], 273: offsets, 279: lengths}
    return _file(layout.order, b"".join(blocks), shorts, longs)


def _blocks(samples: Samples, layout: Layout) -> Iterator[Samples]:
    """The strips or tiles in the order of the file, tiles filled up at the edges."""
    planes = [samples[..., index : index + 1] for index in range(samples.shape[2])] if layout.planar else [samples]
    for plane in planes:
        for top in range(0, plane.shape[0], _TILE if layout.tiled else _ROWS_PER_STRIP):
            if not layout.tiled:
                yield _coded(plane[top : top + _ROWS_PER_STRIP], layout)
                continue
            for left in range(0, plane.shape[1], _TILE):
                tile = plane[top : top + _TILE, left : left + _TILE]
                missing = ((0, _TILE - tile.shape[0]), (0, _TILE - tile.shape[1]), (0, 0))
                yield _coded(np.pad(tile, missing, mode="edge"), layout)


def _coded(block: Samples, layout: Layout) -> Samples:
    if layout.predictor:
        block = np.concatenate([block[:, :1], block[:, 1:] - block[:, :-1]], axis=1)
    coded: Samples = block.astype(block.dtype.newbyteorder(layout.order))
    return coded


def _file(order: str, data: bytes, shorts: dict[int, list[int]], longs: dict[int, list[int]]) -> bytes:
    start = 8 + len(data) + len(data) % 2
    tags = {tag: (3, "H", numbers) for tag, numbers in shorts.items()}
    tags |= {tag: (4, "I", numbers) for tag, numbers in longs.items()}
    entries, behind = b"", b""
    for tag, (kind, letter, numbers) in sorted(tags.items()):
        packed = struct.pack(f"{order}{len(numbers)}{letter}", *numbers)
        if len(packed) > 4:
            place = start + 2 + 12 * len(tags) + 4 + len(behind)
            behind += packed + bytes(len(packed) % 2)
            packed = struct.pack(order + "I", place)
        entries += struct.pack(order + "HHI", tag, kind, len(numbers)) + packed.ljust(4, b"\0")
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", start)
    directory = struct.pack(order + "H", len(tags)) + entries + bytes(4)
    return head + data.ljust(start - 8, b"\0") + directory + behind
