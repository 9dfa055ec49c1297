"""A large PNG of 16 bits with transparency gives the same picture, strip by strip, as decoded whole."""

from __future__ import annotations

import zlib
from random import Random

import cv2
import numpy as np
import pytest

from service.errors import BadRequest, UndecodableImage
from service.imaging import png_strips
from service.imaging.codecs import decode
from service.imaging.png_chunks import png_chunks, png_content
from tests.fuzz import mutated
from tests.hostile import photo_pixels, png


def samples(opacity: np.ndarray | int) -> np.ndarray:
    """(h, w, 4) uint16 BGRA with some grain, so that a writer picks filters of every kind."""
    photo = photo_pixels().astype(np.uint16) * 257
    photo += np.random.default_rng(16).integers(0, 200, photo.shape, np.uint16) * (photo < 60_000)
    return np.dstack([photo, np.broadcast_to(np.asarray(opacity, np.uint16), photo.shape[:2])])


def written(stored: np.ndarray, filters: int) -> bytes:
    done, body = cv2.imencode(".png", stored, [cv2.IMWRITE_PNG_FILTER, filters])
    assert done
    return bytes(body)


@pytest.fixture
def small_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(png_strips, "LARGE_PIXELS", 0)
    monkeypatch.setattr(png_strips, "_STRIP_BYTES", 5_000)
    monkeypatch.setattr(png_strips, "_PIECE_BYTES", 1000)


FILTERS = {name: getattr(cv2, f"IMWRITE_PNG_{name}") for name in ("FILTER_NONE", "FILTER_UP", "ALL_FILTERS")}
OPACITIES = {"opaque": 65_535, "clear": 0, "nearly clear": 100, "half": 30_000}


@pytest.mark.parametrize("opacity", OPACITIES.values(), ids=OPACITIES)
@pytest.mark.parametrize("filters", FILTERS.values(), ids=FILTERS)
def test_strips_give_the_picture_decoded_whole(filters: int, opacity: int, request: pytest.FixtureRequest) -> None:
    body = written(samples(opacity), filters)
    assert not png_strips.in_strips(body)
    whole = decode(body).pixels
    request.getfixturevalue("small_strips")
    assert png_strips.in_strips(body)
    np.testing.assert_array_equal(decode(body).pixels, whole)


def test_so_do_grey_pictures_with_transparency(request: pytest.FixtureRequest) -> None:
    random = np.random.default_rng(16)
    rows = [bytes([kind]) + random.bytes(4 * 40) for kind in (0, 1, 2, 3, 4) * 12]
    body = png(40, len(rows), bits=16, colour=4, raw=b"".join(rows))
    whole = decode(body).pixels
    request.getfixturevalue("small_strips")
    assert png_strips.in_strips(body)
    np.testing.assert_array_equal(decode(body).pixels, whole)


def rebuilt(body: bytes, data: bytes) -> bytes:
    """`body` with other image data, in one chunk with the right checksum."""
    header = next(start for kind, start, _ in png_chunks(body) if kind == b"IDAT") - 8
    chunk = b"IDAT" + data
    end = b"\0\0\0\0IEND" + zlib.crc32(b"IEND").to_bytes(4, "big")
    return body[:header] + len(data).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big") + end


@pytest.mark.usefixtures("small_strips")
def test_missing_and_damaged_data_are_refused() -> None:
    body = written(samples(65_535), FILTERS["ALL_FILTERS"])
    coded = b"".join(body[start : start + length] for kind, start, length in png_chunks(body) if kind == b"IDAT")
    rows = zlib.decompress(coded)
    decode(rebuilt(body, coded))
    decode(rebuilt(body, zlib.compress(rows + bytes(1000))))
    damaged = bytearray(rebuilt(body, coded))
    damaged[-20] ^= 1
    bad = [
        bytes(damaged),
        rebuilt(body, coded[: len(coded) // 2]),
        rebuilt(body, zlib.compress(rows[:-1])),
        rebuilt(body, zlib.compress(b"\x09" + rows[1:])),
        rebuilt(body, coded[:-1] + bytes([coded[-1] ^ 1])),
        rebuilt(body, coded[:-4]),
        rebuilt(body, zlib.compress(rows + bytes(2_000_000))),
        rebuilt(body, b""),
        rebuilt(body, b"no zlib data"),
    ]
    for one in bad:
        with pytest.raises(UndecodableImage):
            decode(one)
    assert png_content(body, b"IEND") == b""


def end(body: bytes) -> str:
    try:
        return zlib.crc32(decode(body).pixels.tobytes()).to_bytes(4, "big").hex()
    except BadRequest as refused:
        return refused.code


def test_damaged_data_end_alike_in_strips_and_whole(request: pytest.FixtureRequest) -> None:
    random, files = Random(16), []
    for index in range(200):
        rows = b"".join(bytes([random.randrange(5)]) + random.randbytes(8 * 20) for _ in range(40))
        body = png(20, 40, bits=16, colour=6, raw=rows)
        data = mutated(zlib.compress(rows), random) if index % 2 else zlib.compress(mutated(rows, random))
        files.append(rebuilt(body, data))
    whole = [end(file) for file in files]
    request.getfixturevalue("small_strips")
    assert [end(file) for file in files] == whole
    assert len(set(whole)) > 10
