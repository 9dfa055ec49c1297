"""The orientation that an EXIF block states. Source: Exif 2.32, tag 0x0112 of the 0th IFD."""

from __future__ import annotations

import struct

from service.imaging.tiff_directories import tiff_directory


def exif_orientation(exif: bytes) -> int:
    """The orientation (1 to 8) that an EXIF block states; 1 when it states none, or nothing that can be read."""
    return stated_orientation(exif) or 1


def stated_orientation(exif: bytes) -> int | None:
    """The orientation (1 to 8) that an EXIF block states; None when it states none, or nothing that can be read.

    Source: Exif 2.32, tag 0x0112 of the 0th IFD.
    """
    start = min((at for at in (exif.find(b"II*\x00", 0, 16), exif.find(b"MM\x00*", 0, 16)) if at >= 0), default=-1)
    if start < 0:
        return None
    block = exif[start:]
    order = "<" if block[:2] == b"II" else ">"
    try:
        entries, _ = tiff_directory(block, order, struct.unpack_from(order + "I", block, 4)[0])
    except struct.error:
        return None
    orientation = entries.get(0x0112, 0)
    return orientation if 1 <= orientation <= 8 else None
