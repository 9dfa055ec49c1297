"""Size of a compressed frame as its own codestream states it, read before anything is decoded.

A frame may claim other dimensions than the object's Rows and Columns; decoders allocate what the frame claims.
Sources: ITU-T T.81 B.2.2 (JPEG), ITU-T T.87 C.2.2 (JPEG-LS), ITU-T T.800 A.5.1 (JPEG 2000).
"""

from __future__ import annotations

import struct

from pydicom import uid
from pydicom.uid import UID

from service.errors import UndecodableImage
from service.imaging.headers import read_header
from service.imaging.jpeg_header import jpeg_segments

_END_OF_IMAGE = b"\xff\xd9"
_SOF3, _SOF55 = 0xC3, 0xF7
_J2K_START = b"\xff\x4f\xff\x51"
_JP2_BOX = b"\x00\x00\x00\x0cjP  "


def frame_size(frame: bytes, transfer_syntax: UID) -> tuple[int, int] | None:
    """(width, height) that the compressed `frame` states; None for run lengths, which state none.

    Raises:
        UndecodableImage: it is not a frame of this transfer syntax.
    """
    if transfer_syntax == uid.RLELossless:
        return None
    try:
        if transfer_syntax == uid.JPEGBaseline8Bit:
            header = read_header(frame)
            return header.width, header.height
        if transfer_syntax in (uid.JPEGLSLossless, uid.JPEGLSNearLossless):
            return _sof_size(frame, _SOF55, "JPEG-LS")
        if transfer_syntax in (uid.JPEGLossless, uid.JPEGLosslessSV1):
            if _END_OF_IMAGE not in frame[-4:]:  # at most padding follows; the decoder would fill what is missing
                raise UndecodableImage("A frame of the object is cut off.")
            return _sof_size(frame, _SOF3, "lossless JPEG")
        return _jpeg_2000_size(frame)
    except (struct.error, IndexError) as error:
        raise UndecodableImage("A frame of the object is cut off.") from error


def _sof_size(frame: bytes, start_of_frame: int, name: str) -> tuple[int, int]:
    for marker, _, content in jpeg_segments(frame):
        if marker == start_of_frame:
            height, width = struct.unpack_from(">HH", content, 1)
            return width, height
    raise UndecodableImage(f"A frame of the object is not {name}, as its transfer syntax says.")


def _jpeg_2000_size(frame: bytes) -> tuple[int, int]:
    start = frame.find(_J2K_START, 0, 4096) if frame.startswith(_JP2_BOX) else 0
    if start < 0 or frame[start : start + 4] != _J2K_START:
        raise UndecodableImage("A frame of the object is not JPEG 2000, as its transfer syntax says.")
    right, bottom, left, top = struct.unpack_from(">4I", frame, start + 8)
    return right - left, bottom - top
