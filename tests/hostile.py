"""A corpus of hostile and merely odd files, each with the error it must end in, made in code so that none is stored.

`hostile_files()` is for any door that takes an image: the codecs, the HTTP service, the command line. `heavy_files()`
are honest images just under the pixel limit, in the kinds that cost most memory to decode.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

CASES = Path(__file__).parent / "data" / "cases"
SIGNATURES = {
    "jpeg": b"\xff\xd8\xff\xe0",
    "png": b"\x89PNG\r\n\x1a\n",
    "webp": b"RIFF\x00\x10\x00\x00WEBPVP8 ",
    "tiff": b"II*\x00",
    "bmp": b"BM",
}
MEDIA_TYPES = {name: f"image/{name}" for name in SIGNATURES}


@dataclass(frozen=True, slots=True)
class HostileFile:
    """One file of the corpus.

    Attributes:
        name: what is wrong with it.
        body: its bytes.
        declared_type: what the sender calls it; None says nothing.
        code: the error it must end in; None: it is odd but harmless and must be served.
    """

    name: str
    body: bytes
    declared_type: str | None
    code: str | None


@lru_cache(maxsize=1)
def photo_pixels() -> NDArray[np.uint8]:
    """(120, 160, 3) uint8: a soft, throat-coloured picture with some detail."""
    rng = np.random.default_rng(4)
    rough = rng.normal(0, 40, (120, 160, 3)).astype(np.float32)
    soft = cv2.GaussianBlur(rough, (0, 0), 4) * 6 + cv2.GaussianBlur(rough, (0, 0), 1.2)
    return np.clip(soft + np.array((170, 95, 85)), 0, 255).astype(np.uint8)


def saved(pixels: NDArray[np.generic], form: str, **options: object) -> bytes:
    """`pixels` as a file by Pillow."""
    buffer = BytesIO()
    Image.fromarray(np.asarray(pixels)).save(buffer, form, **options)
    return buffer.getvalue()


@lru_cache(maxsize=1)
def good_files() -> dict[str, bytes]:
    """One sound file of each served format."""
    return {name: saved(photo_pixels(), name.upper()) for name in SIGNATURES}


def png_chunk(kind: bytes, data: bytes) -> bytes:
    """A PNG chunk with its checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(
    width: int, height: int, *, bits: int = 8, colour: int = 2, raw: bytes = b"", before: tuple[bytes, ...] = ()
) -> bytes:
    """A PNG of these header fields, whatever they say, with `raw` scan lines and the chunks `before` them."""
    header = struct.pack(">IIBBBBB", width & 0xFFFFFFFF, height & 0xFFFFFFFF, bits, colour, 0, 0, 0)
    chunks = (png_chunk(b"IHDR", header), *before, png_chunk(b"IDAT", zlib.compress(raw, 1)), png_chunk(b"IEND", b""))
    return SIGNATURES["png"] + b"".join(chunks)


def tiff(tags: dict[int, tuple[int, int, int]], *, following: int = 0, data: bytes = b"\x80" * 64) -> bytes:
    """A little-endian TIFF of one directory: tag -> (type, count, value); `data` lies at offset 8."""
    start = 8 + len(data) + len(data) % 2
    entries = b"".join(struct.pack("<HHII", tag, *tags[tag]) for tag in sorted(tags))
    directory = struct.pack("<H", len(tags)) + entries + struct.pack("<I", following)
    return b"II*\x00" + struct.pack("<I", start) + data.ljust(start - 8, b"\0") + directory


def grey_tiff_tags(width: int, height: int) -> dict[int, tuple[int, int, int]]:
    """The tags of an uncompressed 8-bit grey TIFF of one strip at offset 8."""
    return {
        0x100: (4, 1, width),
        0x101: (4, 1, height),
        0x102: (3, 1, 8),
        0x103: (3, 1, 1),
        0x106: (3, 1, 1),
        0x111: (4, 1, 8),
        0x115: (3, 1, 1),
        0x116: (4, 1, height),
        0x117: (4, 1, min(0xFFFFFFFF, width * height)),
    }


def bmp(width: int, height: int, *, bits: int = 24, compression: int = 0, offset: int = 54) -> bytes:
    """A BMP of these header fields with a little data."""
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 200, 0, 0, offset) + header + b"\x80" * 200


def jpeg_of_size(width: int, height: int) -> bytes:
    """A sound JPEG whose frame header claims another size."""
    body = good_files()["jpeg"]
    at = body.index(b"\xff\xc0") + 5
    return body[:at] + struct.pack(">HH", height, width) + body[at + 4 :]


def jpeg_with_segments(*segments: tuple[int, bytes]) -> bytes:
    """A sound JPEG with segments (marker, content) put in front."""
    packed = b"".join(bytes((0xFF, mark)) + struct.pack(">H", len(data) + 2) + data for mark, data in segments)
    return b"\xff\xd8" + packed + good_files()["jpeg"][2:]


def webp_chunk(kind: bytes, data: bytes) -> bytes:
    """A RIFF chunk, padded to even length."""
    return kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)


def webp_file(*chunks: bytes) -> bytes:
    """A WebP container of `chunks`."""
    content = b"WEBP" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(content)) + content


def webp_extended(width: int, height: int, flags: int = 0) -> bytes:
    """The VP8X chunk of a canvas."""
    sides = struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    return webp_chunk(b"VP8X", bytes((flags, 0, 0, 0)) + sides)


def animated_webp(frames: int, width: int = 240, height: int = 240) -> bytes:
    """An animation of one picture repeated."""
    still = saved(np.zeros((height, width, 3), np.uint8), "WEBP", lossless=True)[12:]
    sides = struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    frame = webp_chunk(b"ANMF", b"\0" * 6 + sides + b"\x28\0\0\0" + still)
    return webp_file(webp_extended(width, height, 2), webp_chunk(b"ANIM", b"\0" * 6), frame * frames)


def paged_tiff(pages: int, width: int = 240, height: int = 240) -> bytes:
    """`pages` directories that share one strip."""
    tags = grey_tiff_tags(width, height)
    data = b"\x80" * (width * height)
    directory_length = 2 + 12 * len(tags) + 4
    start = 8 + len(data)
    body = bytearray(b"II*\x00" + struct.pack("<I", start) + data)
    for page in range(pages):
        following = start + directory_length * (page + 1) if page < pages - 1 else 0
        entries = b"".join(struct.pack("<HHII", tag, *tags[tag]) for tag in sorted(tags))
        body += struct.pack("<H", len(tags)) + entries + struct.pack("<I", following)
    return bytes(body)


def case(name: str) -> bytes:
    """A file of tests/data/cases."""
    return (CASES / name).read_bytes()


def heif_of_size(body: bytes, width: int, height: int) -> bytes:
    """A HEIC or AVIF that claims another size; its picture is as it was."""
    at = body.index(b"ispe") + 8
    return body[:at] + struct.pack(">II", width, height) + body[at + 8 :]


def gif_frame() -> bytes:
    """A frame of one pixel without colours."""
    return b"\x2c\0\0\0\0\1\0\1\0\0\2\2\x44\1\0"


def hostile_files() -> Iterator[HostileFile]:
    """The corpus, well over a hundred files, none larger than 10 MB."""
    for kind in (_fragments, _foreign, _wrongly_declared, _truncated, _bombs, _malformed, _out_of_size, _polyglots):
        yield from kind()


def _fragments() -> Iterator[HostileFile]:
    yield HostileFile("nothing at all", b"", None, "missing-image")
    yield HostileFile("nothing, declared as JPEG", b"", "image/jpeg", "missing-image")
    yield HostileFile("one zero byte", b"\0", None, "unsupported-type")
    rng = np.random.default_rng(9)
    for name, signature in SIGNATURES.items():
        yield HostileFile(f"{name} signature alone", signature, MEDIA_TYPES[name], "undecodable-image")
        yield HostileFile(f"{name} signature and noise", signature + rng.bytes(4096), None, "undecodable-image")
    for index in range(3):
        yield HostileFile(f"noise {index}", b"\0" + rng.bytes(5000), None, "unsupported-type")


def _foreign() -> Iterator[HostileFile]:
    bodies = {
        "text": b"Say aah.\n" * 40,
        "HTML": b"<!doctype html><script>alert(1)</script>",
        "JSON": b'{"image": "none"}',
        "SVG": b'<svg xmlns="http://www.w3.org/2000/svg" width="500" height="500"/>',
        "XML with an entity bomb": b'<!DOCTYPE z [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;&a;">]><z>&b;</z>',
        "PDF": b"%PDF-1.7\n1 0 obj<<>>endobj\ntrailer<<>>",
        "ZIP": b"PK\x03\x04" + bytes(60),
        "gzip": b"\x1f\x8b\x08\x00" + bytes(60),
        "ELF": b"\x7fELF\x02\x01\x01" + bytes(60),
        "Windows program": b"MZ\x90\x00" + bytes(60),
        "MP4": b"\0\0\0\x18ftypmp42" + bytes(60),
        "JPEG 2000": b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(60),
        "icon": b"\0\0\x01\0\x01\0" + bytes(60),
        "Photoshop": b"8BPS\0\x01" + bytes(60),
        "BigTIFF": b"II+\0\x08\0\0\0" + bytes(60),
        "AVI in a RIFF": b"RIFF\x40\0\0\0AVI LIST" + bytes(60),
        "EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n",
        "PNM of 10^9 pixels": b"P6 1000000000 1 255\n",
    }
    for name, body in bodies.items():
        yield HostileFile(name, body, None, "unsupported-type")


def _wrongly_declared() -> Iterator[HostileFile]:
    names = list(SIGNATURES)
    for name, other in zip(names, names[1:] + names[:1], strict=True):
        yield HostileFile(f"{name} declared as {other}", good_files()[name], MEDIA_TYPES[other], "unsupported-type")
    for declared in ("text/html", "image/gif", "application/json", "image/svg+xml", "image/heic"):
        yield HostileFile(f"png declared as {declared}", good_files()["png"], declared, "unsupported-type")
    yield HostileFile("GIF declared as PNG", saved(photo_pixels()[..., 0], "GIF"), "image/png", "unsupported-type")


def _truncated() -> Iterator[HostileFile]:
    wide = np.repeat(photo_pixels().astype(np.uint16) * 257, 1, axis=0)
    whole = {
        **good_files(),
        "progressive jpeg": saved(photo_pixels(), "JPEG", progressive=True),
        "16-bit png": cv2.imencode(".png", wide)[1].tobytes(),
        "deflated tiff": saved(photo_pixels(), "TIFF", compression="tiff_adobe_deflate"),
        "lossless webp": saved(photo_pixels(), "WEBP", lossless=True),
        "gif": saved(photo_pixels()[..., 0], "GIF"),
        "heic": case("iphone.heic"),
        "avif": case("android.avif"),
        "jxl": case("photo.jxl"),
        "jpeg of 12 bits": case("twelve-bit.jpg"),
    }
    for name, body in whole.items():
        for tenth in range(1, 10):
            cut = body[: len(body) * tenth // 10]
            yield HostileFile(f"{name} cut off at {tenth}0 %", cut, None, "undecodable-image")


def _bombs() -> Iterator[HostileFile]:
    too_large = "image-dimensions"
    zeros = bytes(20_000 * 2_501)
    still = good_files()["webp"][12:]
    yield HostileFile("png of 20000x20000 in 50 kB", png(20_000, 20_000, bits=1, colour=0, raw=zeros), None, too_large)
    yield HostileFile("png header of 20000x20000", png(20_000, 20_000), None, too_large)
    yield HostileFile("png of 2^31-1 squared", png(2**31 - 1, 2**31 - 1), None, too_large)
    yield HostileFile("jpeg header of 20000x20000", jpeg_of_size(20_000, 20_000), None, too_large)
    yield HostileFile("jpeg header of 65535x65535", jpeg_of_size(65_535, 65_535), None, too_large)
    yield HostileFile("webp canvas of 16383x16383", webp_file(webp_extended(16_383, 16_383), still), None, too_large)
    yield HostileFile("webp canvas of 2^24 squared", webp_file(webp_extended(2**24, 2**24), still), None, too_large)
    yield HostileFile("tiff header of 20000x20000", tiff(grey_tiff_tags(20_000, 20_000)), None, too_large)
    yield HostileFile("tiff of 2^32-1 squared", tiff(grey_tiff_tags(2**32 - 1, 2**32 - 1)), None, too_large)
    tiles = {0x142: (4, 1, 1 << 20), 0x143: (4, 1, 1 << 20), 0x144: (4, 1, 8), 0x145: (4, 1, 64)}
    yield HostileFile("tiff tiles of 2^20 squared", tiff(grey_tiff_tags(64, 64) | tiles), None, too_large)
    yield HostileFile("bmp header of 20000x20000", bmp(20_000, 20_000), None, too_large)
    yield HostileFile("bmp upside down, 2^31 rows", bmp(100, -(2**31)), None, too_large)
    heic, avif, jxl = (case(name) for name in ("iphone.heic", "android.avif", "photo.jxl"))
    for side in (10_000, 2**31 - 1):
        yield HostileFile(f"heic of {side} squared", heif_of_size(heic, side, side), None, too_large)
        yield HostileFile(f"avif of {side} squared", heif_of_size(avif, side, side), None, too_large)
    huge = int.from_bytes(b"\xff\x0a", "little") | (3 << 1 | (2**30 - 1) << 3 | 1 << 33) << 16
    yield HostileFile("jxl of 2^30 squared", jxl_of_bits(huge, jxl), None, too_large)
    yield HostileFile("gif of 65535x65535", b"GIF89a\xff\xff\xff\xff\0\0\0" + gif_frame() + b";", None, too_large)
    yield HostileFile("gif of 10000 frames", b"GIF89a\x60\0\x60\0\0\0\0" + gif_frame() * 10_000, None, too_large)
    yield HostileFile("webp of 2000 frames", animated_webp(2000), None, too_large)
    yield HostileFile("tiff of 2000 pages", paged_tiff(2000), None, too_large)
    animated = png_chunk(b"acTL", struct.pack(">II", 2000, 0))
    yield HostileFile("png of 2000 frames", png(240, 240, raw=bytes(240 * 721), before=(animated,)), None, too_large)
    scans = good_files()["jpeg"][:-2] + good_files()["jpeg"][good_files()["jpeg"].index(b"\xff\xda") : -2] * 500
    yield HostileFile("jpeg of 500 scans", scans + b"\xff\xd9", None, "undecodable-image")
    profile = png_chunk(b"iCCP", b"p\0\0" + zlib.compress(bytes(100 << 20), 9))
    yield HostileFile("png profile of 100 MB in 100 kB", _png_photo(profile), None, None)
    text = png_chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(30 << 20), 9))
    yield HostileFile("png texts of 3 GB in 3 MB", _png_photo(text * 100), None, None)


def _png_photo(*before: bytes) -> bytes:
    pixels = photo_pixels()
    height, width = pixels.shape[:2]
    raw = b"".join(b"\0" + row.tobytes() for row in pixels)
    return png(width, height, raw=raw, before=before)


def _malformed() -> Iterator[HostileFile]:
    good, broken = good_files(), "undecodable-image"
    lines = b"".join(b"\0" + row.tobytes() for row in photo_pixels())
    tags = grey_tiff_tags(100, 100)
    bodies = {
        "png 0x0": png(0, 0),
        "png 0 wide": png(0, 100),
        "jpeg 0 high": jpeg_of_size(160, 0),
        "jpeg 0 wide": jpeg_of_size(0, 120),
        "tiff 0x0": tiff(grey_tiff_tags(0, 0)),
        "bmp 0x0": bmp(0, 0),
        "bmp of negative width": bmp(-100, 100),
        "webp 0x0": webp_file(webp_chunk(b"VP8 ", b"\x10\0\0\x9d\x01\x2a\0\0\0\0" + bytes(40))),
        "png of broken checksum": good["png"][:29] + b"\xff\xff" + good["png"][31:],
        "png without its palette": png(100, 100, colour=3, raw=bytes(100 * 101)),
        "png of colour type 7": png(100, 100, colour=7, raw=bytes(100 * 401)),
        "png of 3 bits": png(100, 100, bits=3, colour=0, raw=bytes(100 * 101)),
        "png of filter type 9": png(160, 120, raw=b"\x09" + lines[1:]),
        "png with too few lines": png(160, 120, raw=lines[:5000]),
        "png without data": SIGNATURES["png"] + png_chunk(b"IHDR", struct.pack(">IIBBBBB", 100, 100, 8, 2, 0, 0, 0)),
        "jpeg without frame": b"\xff\xd8\xff\xda\0\x08\x01\x01\0\0\x3f\0" + bytes(400),
        "jpeg without tables": good["jpeg"].replace(b"\xff\xc4", b"\xff\xec").replace(b"\xff\xdb", b"\xff\xec"),
        "jpeg whose second half is lost": good["jpeg"][: len(good["jpeg"]) // 2] + b"\xff\xd9",
        "jpeg of 16 bits": good["jpeg"].replace(b"\xff\xc0\0\x11\x08", b"\xff\xc0\0\x11\x10"),
        "jpeg of segment length 0": b"\xff\xd8\xff\xe0\0\0" + good["jpeg"][20:60],
        "heic and nothing": b"\0\0\0\x18ftypheic" + bytes(60),
        "avif and nothing": b"\0\0\0\x18ftypavif" + bytes(60),
        "jxl and nothing": case("photo.jxl")[:60] + bytes(60),
        "gif header alone": b"GIF89a\xff\xff\xff\xff\xf7\0\0",
        "gif frame outside its screen": b"GIF89a\x60\0\x60\0\0\0\0\x2c\x60\0\0\0\1\0\1\0\0\2\2\x44\1\0;",
        "heic whose picture is smaller than it says": heif_of_size(case("iphone.heic"), 1000, 1000),
        "jpeg height in no segment": case("dnl-height-0.jpg").replace(b"\xff\xdc", b"\xff\xfe"),
        "jpeg scans missing and no end": _without_last_scan(),
        "cgbi png": case("cgbi-ios.png"),
        "webp without picture": webp_file(webp_extended(100, 100)),
        "webp lossless garbage": webp_file(webp_chunk(b"VP8L", b"\x2f\x63\xc0\x18\0" + b"\xaa" * 100)),
        "webp frame outside its canvas": animated_webp(1).replace(
            webp_extended(240, 240, 2), webp_extended(100, 100, 2)
        ),
        "webp frame claims 2^32-1 bytes": good["webp"][:16] + b"\xff\xff\xff\xff" + good["webp"][20:],
        "tiff directory beyond the end": b"II*\0\xff\xff\xff\x7f" + bytes(40),
        "tiff directory of 65535 entries": b"II*\0\x08\0\0\0\xff\xff" + bytes(100),
        "tiff of overlapping directories": _overlapping_tiff(),
        "tiff without directory": b"II*\0\0\0\0\0",
        "tiff of unknown compression": tiff(tags | {0x103: (3, 1, 50_000)}),
        "tiff of 65535 samples": tiff(tags | {0x115: (3, 1, 65_535)}),
        "tiff strip beyond the end": tiff(tags | {0x111: (4, 1, 2**31)}),
        "tiff with too little data": tiff(tags),
        "tiff of 64-bit samples": tiff(tags | {0x102: (3, 1, 64)}),
        "tiff of float samples": saved(np.zeros((100, 100), np.float32), "TIFF"),
        "run-length coded bmp": bmp(100, 100, bits=8, compression=1),
        "bmp of 17 bits": bmp(100, 100, bits=17),
        "bmp data beyond the end": bmp(100, 100, offset=2**31),
        "bmp with too little data": bmp(100, 100),
        "bmp of header size 2^32-1": b"BM" + bytes(12) + b"\xff" * 4 + bytes(60),
    }
    for name, body in bodies.items():
        yield HostileFile(name, body, None, broken)


def _without_last_scan() -> bytes:
    body = saved(photo_pixels(), "JPEG", progressive=True)
    return body[: body.rindex(b"\xff\xda")]


def jxl_of_bits(head: int, body: bytes) -> bytes:
    """A JPEG XL whose first bits are `head`, signature included."""
    return head.to_bytes(16, "little") + body[16:]


def _out_of_size() -> Iterator[HostileFile]:
    for width, height in ((1, 1), (1, 1000), (1000, 1), (48, 48), (2000, 50), (50, 3000)):
        body = saved(np.full((height, width, 3), 128, np.uint8), "PNG")
        yield HostileFile(f"png of {width}x{height}", body, "image/png", "image-dimensions")
    dot = np.full((1, 1, 3), 128, np.uint8)
    for name in SIGNATURES:
        yield HostileFile(f"{name} of one pixel", saved(dot, name.upper()), None, "image-dimensions")


def _polyglots() -> Iterator[HostileFile]:
    good = good_files()
    refused, broken = "unsupported-type", "undecodable-image"
    archive = b"PK\x03\x04" + bytes(26) + b"evil.txt" + b"PK\x05\x06" + bytes(18)
    yield HostileFile("GIF in front of a JPEG", b"GIF89a/*" + good["jpeg"], None, broken)
    yield HostileFile("PDF round a JPEG", b"%PDF-1.4\nstream\n" + good["jpeg"], "image/jpeg", refused)
    yield HostileFile("script in front of a PNG", b"<script>/*" + good["png"], "image/png", refused)
    yield HostileFile("bmp that is a script", b"BM=1;alert(document.domain)//" + bytes(40), None, "image-dimensions")
    yield HostileFile("two JPEG starts, no more", b"\xff\xd8\xff\xd8\xff\xd8", None, broken)
    endless = good["png"][:33] + struct.pack(">I", 2**31) + good["png"][37:]
    yield HostileFile("png data that claims 2 GB, all pixels there", endless, "image/png", None)
    yield HostileFile("ZIP behind a JPEG", good["jpeg"] + archive, "image/jpeg", None)
    yield HostileFile("JPEG behind a JPEG", good["jpeg"] * 2, "image/jpeg", None)
    filled = good["jpeg"][:-40] + b"\xff" * 3_000_000 + good["jpeg"][-40:]
    yield HostileFile("jpeg of 3 MB of fill bytes in its scan", filled, "image/jpeg", broken)
    yield HostileFile("a card's fill bytes behind a JPEG", good["jpeg"] + b"\xff" * 3_000_000, "image/jpeg", None)
    yield HostileFile("script in a JPEG comment", jpeg_with_segments((0xFE, b"<script>alert(1)</script>")), None, None)
    chunks = [(0xE2, b"ICC_PROFILE\0" + bytes((n, 120)) + b"\xaa" * 65_000) for n in range(1, 121)]
    yield HostileFile("jpeg profile of 8 MB of garbage", jpeg_with_segments(*chunks), None, None)
    exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\xff\xff\0\0"
    yield HostileFile("jpeg of orientation 65535", jpeg_with_segments((0xE1, exif)), None, None)
    loop = b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\x01\x12" * 20
    yield HostileFile("jpeg of EXIF that never ends", jpeg_with_segments((0xE1, loop)), None, None)
    yield HostileFile("script in a PNG text", _png_photo(png_chunk(b"tEXt", b"k\0<script>")), None, None)
    yield HostileFile("tiff whose pages go in a circle", _circular_tiff(), None, None)


def _overlapping_tiff(directories: int = 1500) -> bytes:
    """Directories of 65,535 entries each, four bytes apart, each of which leads to the next."""
    length = 2 + 12 * 65_535
    body = bytearray(b"II*\0" + struct.pack("<I", 8) + b"\xff" * (length + 4 * directories))
    for index in range(directories):
        struct.pack_into("<I", body, 8 + 4 * index + length, 8 + 4 * (index + 1))
    return bytes(body)


def _circular_tiff() -> bytes:
    data = photo_pixels()[..., 0].tobytes()
    return tiff(grey_tiff_tags(160, 120), following=8 + len(data), data=data)


def heavy_files() -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Honest images of 64 MP, in the kinds whose decoding takes most memory, each made when called for."""
    side = 8000

    def row_of(samples: int) -> bytes:
        return bytes(1) + bytes(range(1, 9)) * (side * samples // 8)

    yield "png RGB", lambda: png(side, side, raw=row_of(3) * side)
    yield "png RGBA", lambda: png(side, side, colour=6, raw=row_of(4) * side)
    yield "png RGBA of 16 bits", lambda: png(side, side, bits=16, colour=6, raw=row_of(8) * side)
    yield "png grey and alpha of 16 bits", lambda: png(side, side, bits=16, colour=4, raw=row_of(4) * side)
    yield "jpeg", lambda: _heavy_jpeg(side)
    yield "progressive jpeg", lambda: saved(np.zeros((side, side, 3), np.uint8), "JPEG", progressive=True)
    yield "jpeg CMYK", lambda: _heavy_cmyk(side)
    yield "webp", lambda: saved(np.full((side, side, 3), 90, np.uint8), "WEBP", method=0)
    yield (
        "tiff RGBA deflated",
        lambda: saved(np.full((side, side, 4), 90, np.uint8), "TIFF", compression="tiff_adobe_deflate"),
    )


def _heavy_jpeg(side: int) -> bytes:
    return bytes(cv2.imencode(".jpg", np.full((side, side, 3), 90, np.uint8))[1].tobytes())


def _heavy_cmyk(side: int) -> bytes:
    buffer = BytesIO()
    Image.new("CMYK", (side, side), (10, 60, 50, 20)).save(buffer, "JPEG")
    return buffer.getvalue()
