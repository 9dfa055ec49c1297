"""What a TIFF says of its samples, and its channels as files of their own.

The libraries at hand read a planar TIFF (each channel stored on its own) wrong in several kinds, but any grey one
right; so each channel is given a directory that calls it a grey picture, and is read as such. Only the first picture
counts.
Source: TIFF 6.0; tags are named as there.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.errors import UndecodableImage
from service.lazy import lazy

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_INTEGERS = {1: "u1", 3: "u2", 4: "u4"}

_BITS, _COMPRESSION, _PHOTOMETRIC, _EXTRA, _FORMAT = 0x102, 0x103, 0x106, 0x152, 0x153
_COUNT, _PLANAR, _PROFILE = 0x115, 0x11C, 0x8773
_DATA = ((0x111, 0x117), (0x144, 0x145))  # offsets and lengths of strips, of tiles
_KEPT = (0x100, 0x101, 0x103, 0x10A, 0x112, 0x116, 0x13D, 0x142, 0x143, 0x15B)
"""What a channel's own directory takes over: size, compression, fill order, turn, strips, predictor, tiles, tables."""

_COLOURS = {0: 1, 1: 1, 2: 3, 5: 4}
"""Colour channels by PhotometricInterpretation: grey whose zero is white or black, RGB, CMYK."""

_UNREAD_COMPRESSIONS = {
    6: "old-style JPEG",
    34_661: "JBIG",
    34_712: "JPEG 2000",
    34_887: "LERC",
    34_892: "lossy JPEG of DNG",
    34_925: "LZMA",
    50_000: "Zstandard",
    50_001: "WebP",
    50_002: "JPEG XL",
    52_546: "JPEG XL",
}
"""Compressions by number that one of the libraries at hand, or both, cannot read."""

_MODES = {
    (channels, opacity): mode + letter
    for channels, mode in ((1, "L"), (3, "RGB"))
    for opacity, letter in ((0, ""), (1, "a"), (2, "A"))
} | {(4, 0): "CMYK"}
"""Pillow's mode by number of colours and kind of opacity: 0 none, 1 premultiplied, 2 plain."""


@dataclass(frozen=True, slots=True)
class _Entry:
    kind: int
    count: int
    where: int


class TiffSamples:
    """The first directory of a TIFF, asked for what its samples mean.

    Raises:
        struct.error, ValueError, KeyError: anywhere, if the bytes end too soon or a tag has a type it cannot have.
    """

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._order = "<" if body[:2] == b"II" else ">"
        (start,) = struct.unpack_from(self._order + "I", body, 4)
        (length,) = struct.unpack_from(self._order + "H", body, start)
        self._entries = dict(self._entry(start + 2 + 12 * index) for index in range(length))

    def _entry(self, at: int) -> tuple[int, _Entry]:
        tag, kind, count = struct.unpack_from(self._order + "HHI", self._body, at)
        where = at + 8
        if count * _SIZES.get(kind, 8) > 4:
            (where,) = struct.unpack_from(self._order + "I", self._body, where)
        return tag, _Entry(kind, count, where)

    def numbers(self, tag: int, otherwise: tuple[int, ...] = ()) -> tuple[int, ...]:
        """The integers of `tag`, or `otherwise` where the file lacks it."""
        return tuple(map(int, self._array(tag))) or otherwise

    def _array(self, tag: int) -> NDArray[np.unsignedinteger]:
        entry = self._entries.get(tag)
        if entry is None or entry.count == 0:
            return np.empty(0, np.uint8)
        return np.frombuffer(self._body, self._order + _INTEGERS[entry.kind], entry.count, entry.where)

    @lazy
    def profile(self) -> bytes | None:
        """The ICC profile."""
        entry = self._entries.get(_PROFILE)
        return self._body[entry.where : entry.where + entry.count] if entry else None

    @lazy
    def cut_off(self) -> bool:
        """Some of the pixels lie beyond the end of the file."""
        for starts, lengths in (map(self._array, pair) for pair in _DATA):
            known = min(len(starts), len(lengths))
            ends = starts[:known].astype(np.uint64) + lengths[:known]
            if ends.max(initial=0) > len(self._body):
                return True
        return False

    def require_known_compression(self) -> None:
        """Refuse what no library at hand reads, by its name.

        Raises:
            UndecodableImage: the samples are compressed in such a way.
        """
        (number, *_) = self.numbers(_COMPRESSION, (1,))
        if (name := _UNREAD_COMPRESSIONS.get(number)) is not None:
            raise UndecodableImage(
                f"This TIFF is compressed with {name}, which is not read: save it with LZW, Deflate or none."
            )

    @lazy
    def bits(self) -> int:
        """Bits of each sample; 0 if the samples are not unsigned integers, or differ."""
        widths = set(self.numbers(_BITS, (1,)))
        return widths.pop() if len(widths) == 1 and set(self.numbers(_FORMAT, (1,))) == {1} else 0

    @lazy
    def zero_is_white(self) -> bool:
        """Grey is stored inverted."""
        return self.numbers(_PHOTOMETRIC) == (0,)

    @lazy
    def channels(self) -> int:
        """Samples of one pixel."""
        return self.numbers(_COUNT, (1,))[0]

    @lazy
    def colours(self) -> int:
        """How many of the channels are colours: 1 grey, 3 RGB, 4 CMYK; 0 for other colours."""
        return _COLOURS.get(self.numbers(_PHOTOMETRIC, (0,))[0], 0)

    @lazy
    def planar(self) -> bool:
        """Each channel is stored on its own."""
        return self.numbers(_PLANAR, (1,))[0] == 2

    @lazy
    def extra(self) -> tuple[int, ...]:
        """What the channels behind the colours mean: 0 nothing known, 1 premultiplied opacity, 2 plain opacity.

        A file of one channel too many that does not say what it is means plain opacity, as Pillow has it.
        """
        return self.numbers(_EXTRA, (2,) * (self.channels - self.colours == 1))

    @lazy
    def opacity(self) -> int | None:
        """Which channel is the opacity; None if none is."""
        return next((self.colours + index for index, meaning in enumerate(self.extra) if meaning), None)

    @lazy
    def mode(self) -> str | None:
        """The mode Pillow has for colours and opacity, such as RGBa for premultiplied; None if they are not read."""
        if len(self.extra) != self.channels - self.colours or not set(self.extra) <= {0, 1, 2}:
            return None
        kind = next(filter(None, self.extra), 0)
        if kind == 1 and self.zero_is_white:  # the standard does not say what was multiplied
            return None
        return _MODES.get((self.colours, kind))

    def channel(self, index: int) -> bytes:
        """A TIFF that shows this one channel of a planar one as grey.

        Raises:
            UndecodableImage: strips or tiles cannot be shared out among the channels.
        """
        records = {_BITS: self._short(self.bits), _PHOTOMETRIC: self._short(1), _COUNT: self._short(1)}
        records |= {tag: self._record(tag) for tag in _KEPT if tag in self._entries}
        data = [tag for pair in _DATA for tag in pair if tag in self._entries]
        for tag in data:
            share, rest = divmod(self._entries[tag].count, self.channels)
            if rest or not share or self._entries[tag].count != self._entries[data[0]].count:
                raise UndecodableImage("The TIFF's strips do not fit its channels.")
            records[tag] = self._record(tag, index * share, share)
        return self._file(records)

    def contiguous(self) -> bytes:
        """The same picture without PlanarConfiguration, which says nothing of a single channel but misleads Pillow."""
        return self._file({tag: self._record(tag) for tag in self._entries if tag != _PLANAR})

    def _short(self, number: int) -> bytes:
        return struct.pack(self._order + "HIHH", 3, 1, number, 0)

    def _record(self, tag: int, first: int = 0, count: int | None = None) -> bytes:
        """`count` values of `tag`, from the `first` on, as the directory's entry after the tag's number."""
        entry = self._entries[tag]
        size = _SIZES.get(entry.kind, 8)
        count = entry.count if count is None else count
        where = entry.where + first * size
        inline = self._body[where : where + count * size].ljust(4, b"\0")
        value = inline if count * size <= 4 else struct.pack(self._order + "I", where)
        return struct.pack(self._order + "HI", entry.kind, count) + value

    def _file(self, records: dict[int, bytes]) -> bytes:
        start = len(self._body) + len(self._body) % 2
        directory = struct.pack(self._order + "H", len(records))
        directory += b"".join(struct.pack(self._order + "H", tag) + records[tag] for tag in sorted(records))
        head = self._body[:4] + struct.pack(self._order + "I", start)
        return b"".join((head, self._body[8:].ljust(start - 8, b"\0"), directory, bytes(4)))
