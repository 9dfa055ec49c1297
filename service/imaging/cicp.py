"""Colours named by number (CICP) as an ICC profile, so that one way leads to sRGB.

Source: ITU-T H.273 (numbers, chromaticities), ICC.1:2022 (parametric curves), Bradford's adaptation to D50.
"""

from __future__ import annotations

import struct
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from service.errors import UndecodableImage

_D50 = np.array((0.9642, 1.0, 0.8249))
_BRADFORD = np.array(((0.8951, 0.2664, -0.1614), (-0.7502, 1.7135, 0.0367), (0.0389, -0.0685, 1.0296)))

_D65, _DCI = (0.3127, 0.3290), (0.314, 0.351)
_PRIMARIES: dict[int, tuple[tuple[float, float], ...]] = {  # red, green, blue, white
    5: ((0.64, 0.33), (0.29, 0.60), (0.15, 0.06), _D65),
    6: ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070), _D65),
    7: ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070), _D65),
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046), _D65),
    11: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), _DCI),
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), _D65),
}
_SRGB = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
_CURVES: dict[int, tuple[float, ...]] = {  # exponent, and a, b, c, d of ICC's third parametric curve
    4: (2.2,),
    5: (2.8,),
    8: (1.0,),
    17: (2.6,),
}
_HDR = {16: "PQ", 18: "HLG"}


@lru_cache(maxsize=32)
def profile_of_codes(primaries: int, transfer: int) -> bytes | None:
    """An ICC profile of RGB with these H.273 numbers; None where they mean sRGB, or nothing.

    BT.709's transfer is read as sRGB's: so browsers and phones do with pictures, whatever the number says.

    Raises:
        UndecodableImage: the samples are high dynamic range, which has no one meaning on 8 bits.
    """
    if transfer in _HDR:
        raise UndecodableImage(
            f"The picture is high dynamic range ({_HDR[transfer]}), which is not read: send it as an ordinary photo."
        )
    if primaries not in _PRIMARIES and transfer not in _CURVES:
        return None
    points = _PRIMARIES.get(primaries, ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06), _D65))
    return _profile(_to_d50(points), _CURVES.get(transfer, _SRGB))


def _xyz(point: tuple[float, float]) -> NDArray[np.float64]:
    x, y = point
    return np.array((x / y, 1.0, (1 - x - y) / y))


def _to_d50(points: tuple[tuple[float, float], ...]) -> NDArray[np.float64]:
    """(3, 3): the columns are red, green and blue in XYZ under D50."""
    colours = np.stack([_xyz(point) for point in points[:3]], axis=1)
    white = _xyz(points[3])
    linear = colours * np.linalg.solve(colours, white)
    scale = np.diag((_BRADFORD @ _D50) / (_BRADFORD @ white))
    adapted: NDArray[np.float64] = np.linalg.inv(_BRADFORD) @ scale @ _BRADFORD @ linear
    return adapted


def _fixed(values: NDArray[np.float64] | tuple[float, ...]) -> bytes:
    return b"".join(struct.pack(">i", round(float(value) * 65_536)) for value in values)


def _profile(colours: NDArray[np.float64], curve: tuple[float, ...]) -> bytes:
    kind = 3 if len(curve) == 5 else 0
    gamma = b"para" + bytes(4) + struct.pack(">HH", kind, 0) + _fixed(curve)
    text = b"mluc" + bytes(4) + struct.pack(">II2s2sII", 1, 12, b"en", b"US", 2, 28) + b"\0C\0\0"
    elements = [
        (b"desc", text),
        (b"cprt", text),
        (b"wtpt", b"XYZ " + bytes(4) + _fixed((0.9642, 1.0, 0.8249))),
        *((b"%cXYZ" % name, b"XYZ " + bytes(4) + _fixed(colours[:, i])) for i, name in enumerate(b"rgb")),
        *((b"%cTRC" % name, gamma) for name in b"rgb"),
    ]
    offset = 128 + 4 + 12 * len(elements)
    table, content = b"", b""
    for name, data in elements:
        table += name + struct.pack(">II", offset + len(content), len(data))
        content += data.ljust(-(-len(data) // 4) * 4, b"\0")
    rest = struct.pack(">I", len(elements)) + table + content
    head = struct.pack(">I4sI4s4s4s", 128 + len(rest), b"none", 0x04300000, b"mntr", b"RGB ", b"XYZ ")
    head = (head + bytes(12) + b"acsp").ljust(68, b"\0") + _fixed((0.9642, 1.0, 0.8249))
    return head.ljust(128, b"\0") + rest
