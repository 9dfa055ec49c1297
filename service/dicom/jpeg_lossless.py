"""Lossless JPEG (ITU-T T.81 process 14, with any predictor or the first) for pydicom, decoded in a process of its own.

libjpeg-turbo decodes it, through imagecodecs; of the two wheels that pydicom knows for it, one is GPL
(pylibjpeg-libjpeg) and one brings every other codec along (GDCM). Import this module and call `register` once.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydicom import uid
from pydicom.pixels.decoders.base import DecodeRunner, get_decoder

from service.imaging.isolated import decode_isolated

JPEG_LOSSLESS = (uid.JPEGLossless, uid.JPEGLosslessSV1)

DECODER_DEPENDENCIES = dict.fromkeys(JPEG_LOSSLESS, ("imagecodecs",))
"""What pydicom asks of a plugin's module; `is_available` and `_decode_frame` are too."""

_LABEL = "lamegan"


def register() -> None:
    """Make pydicom decode lossless JPEG with this module, and with nothing else."""
    for syntax in JPEG_LOSSLESS:
        decoder = get_decoder(syntax)
        if _LABEL not in decoder.available_plugins:
            decoder.add_plugin(_LABEL, (__name__, "_decode_frame"))


def is_available(transfer_syntax: str) -> bool:
    """Whether `transfer_syntax` is decoded here."""
    return transfer_syntax in JPEG_LOSSLESS


def plugin_of(transfer_syntax: uid.UID) -> str:
    """The name that pydicom has to be told for `transfer_syntax`; empty for its own choice."""
    return _LABEL if transfer_syntax in JPEG_LOSSLESS else ""


def _decode_frame(src: bytes, runner: DecodeRunner) -> bytearray:
    packed = decode_isolated("ljpeg", src, runner.rows * runner.columns)
    if runner.samples_per_pixel == 3:
        runner.set_option("planar_configuration", 0)
        return bytearray(packed.tobytes())
    levels: NDArray[np.int32] = packed[..., 0].astype(np.int32) | (packed[..., 1].astype(np.int32) << 8)
    if runner.pixel_representation == 1:  # the sign bit is the highest of those stored (PS3.5 8.1.1)
        sign = 1 << (runner.bits_stored - 1)
        levels = (levels ^ sign) - sign
    return bytearray(levels.astype(np.uint8 if runner.bits_allocated == 8 else "<u2").tobytes())
