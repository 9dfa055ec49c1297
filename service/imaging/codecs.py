"""Bytes to photos and photos to bytes.

What comes in may be odd or hostile; what comes out of `decode` is always (H, W, 3) uint8 sRGB, upright. What goes out
of `encode` carries pixels alone: no EXIF, GPS, thumbnail or profile. Choices a user can notice:

- Transparent places are laid on black, the ground of an endoscope's picture.
- Of several frames or pages the first is used; all of them count towards the pixel limit.
- 16-bit samples are rounded to 8 bits. CMYK without a profile is converted by (255 - C)(255 - K) / 255.
- Not read: BigTIFF, run-length coded BMP, samples of more than 16 bits, GIF.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import Literal

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import BmpImagePlugin, Image, JpegImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin

from service.errors import ImageDimensions, InvalidParameter, MissingImage, UndecodableImage, UnsupportedType
from service.imaging.colour_profile import to_srgb
from service.imaging.headers import (
    Header,
    SourceFormat,
    exif_orientation,
    jpeg_facts,
    png_content,
    read_header,
    webp_content,
)

Pixels = NDArray[np.uint8]
OutputFormat = Literal["same", "jpeg", "png", "webp"]

MEDIA_TYPES: dict[SourceFormat, str] = {
    "jpeg": "image/jpeg",
    "png": "image/png",
    "webp": "image/webp",
    "tiff": "image/tiff",
    "bmp": "image/bmp",
}
"""Media type of each served format."""

SUFFIXES: dict[SourceFormat, str] = {
    "jpeg": ".jpg",
    "png": ".png",
    "webp": ".webp",
    "tiff": ".tif",
    "bmp": ".bmp",
}
"""File name ending of each served format."""

_DECLARED: dict[str, SourceFormat] = {
    **{media: source for source, media in MEDIA_TYPES.items()},
    "image/jpg": "jpeg",
    "image/pjpeg": "jpeg",
    "image/x-png": "png",
    "image/tif": "tiff",
    "image/x-ms-bmp": "bmp",
    "image/x-bmp": "bmp",
}
_UNDECLARED = ("", "application/octet-stream", "binary/octet-stream")

_LONGEST_SIDE: dict[SourceFormat, int] = {"jpeg": 65_500, "webp": 16_383}
_STRIP_ROWS = 256


@dataclass(frozen=True, slots=True)
class Photo:
    """A decoded photo.

    Attributes:
        pixels: (H, W, 3) uint8 sRGB, upright.
        format: what the bytes were.
        bits: bits of one sample in the file.
        frames: pictures in the file; `pixels` is the first.
    """

    pixels: Pixels
    format: SourceFormat
    bits: int
    frames: int


def decode(body: bytes, declared_type: str | None = None, *, max_pixels: int = 50_000_000) -> Photo:
    """The photo in `body`; its bytes decide the format, `declared_type` only has to agree.

    Args:
        body: a whole file.
        declared_type: a media type, parameters allowed; None, empty and octet-stream leave it to the bytes.
        max_pixels: most pixels of all frames together, checked before anything is decoded.

    Raises:
        MissingImage: `body` is empty.
        UnsupportedType: not a served format, or another than declared.
        ImageDimensions: more than `max_pixels`.
        UndecodableImage: damaged, cut off, zero-sized, or of a kind not read.
    """
    header = inspect(body, declared_type, max_pixels=max_pixels)
    try:
        pixels = _DECODERS[header.format](body)
    except UndecodableImage:
        raise
    # Decoders fed with hostile bytes raise nearly anything; whatever it is, it means that this file cannot be read.
    except Exception as error:
        raise UndecodableImage("The image is damaged or cut off.") from error
    if sorted(pixels.shape[:2]) != sorted((header.height, header.width)):
        raise UndecodableImage("The image's data and header disagree on its size.")
    return Photo(pixels, header.format, header.bits, header.frames)


def inspect(body: bytes, declared_type: str | None = None, *, max_pixels: int = 50_000_000) -> Header:
    """What `body` says of itself, held to the limits; nothing is decoded.

    Arguments and errors: as `decode`.
    """
    if not body:
        raise MissingImage("The image is empty.")
    header = read_header(body)
    declared = (declared_type or "").partition(";")[0].strip().lower()
    if declared not in _UNDECLARED and _DECLARED.get(declared) != header.format:
        raise UnsupportedType(f"The bytes are {MEDIA_TYPES[header.format]}, another type than declared.")
    if header.pixels > max_pixels:
        raise ImageDimensions(
            "The image has too many pixels, all frames counted.", limit=max_pixels, actual=header.pixels
        )
    return header


def _decode_jpeg(body: bytes) -> Pixels:
    facts = jpeg_facts(body)
    if facts.components == 3 or (facts.components == 1 and to_srgb(facts.profile, "L") is None):
        pixels = _turned(_fast_jpeg(body), to_srgb(facts.profile, "RGB"))
    else:
        before = _inverted if facts.components == 4 and not facts.adobe else None
        pixels = _flattened(JpegImagePlugin.JpegImageFile(BytesIO(body)), facts.profile, before)
    return _upright(pixels, exif_orientation(facts.exif))


def _fast_jpeg(body: bytes) -> Pixels:
    """libjpeg-turbo without a detour; it refuses what is merely unclean, and then Pillow decides if that is fatal."""
    try:
        pixels: Pixels = simplejpeg.decode_jpeg(body, "RGB", strict=True)
    except ValueError:
        pixels = _flattened(JpegImagePlugin.JpegImageFile(BytesIO(body)), None)
    return pixels


def _inverted(strip: Image.Image) -> Image.Image:
    # Pillow takes every CMYK JPEG for Adobe's, whose values are inverted; without Adobe's marker they are not.
    return Image.eval(strip, lambda value: 255 - value)


def _decode_png(body: bytes) -> Pixels:
    image = PngImagePlugin.PngImageFile(BytesIO(body))
    if image.mode == "P" and image.palette is None:
        raise UndecodableImage("The PNG lacks its palette.")
    profile = image.info.get("icc_profile")
    if body[24] == 16:
        if png_content(body, b"IEND") is None:
            raise UndecodableImage("The PNG is cut off.")
        pixels = _by_opencv(body, profile)
    else:
        pixels = _flattened(image, profile)
    return _upright(pixels, exif_orientation(png_content(body, b"eXIf") or b""))


def _decode_webp(body: bytes) -> Pixels:
    profile = webp_content(body, b"ICCP")
    if webp_content(body, b"ANIM") is None:
        pixels = _by_opencv(body, profile)  # a tenth of the time and a third of the memory that Pillow takes
    else:
        pixels = _flattened(WebPImagePlugin.WebPImageFile(BytesIO(body)), profile)
    return _upright(pixels, exif_orientation(webp_content(body, b"EXIF") or b""))


def _decode_bmp(body: bytes) -> Pixels:
    return _flattened(BmpImagePlugin.BmpImageFile(BytesIO(body)), None)


def _decode_tiff(body: bytes) -> Pixels:
    # Pillow and OpenCV both turn a TIFF upright themselves, unlike the other formats.
    image = TiffImagePlugin.TiffImageFile(BytesIO(body))
    tags = image.tag_v2
    profile = image.info.get("icc_profile")
    if image.mode.startswith("I;16") and tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0:
        return 255 - _flattened(image, profile)
    chunky = tags.get(TiffImagePlugin.PLANAR_CONFIGURATION, 1) == 1
    if image.mode in ("RGB", "RGBA") and set(tags.get(TiffImagePlugin.BITSPERSAMPLE, ())) == {16} and chunky:
        return _by_opencv(body, profile)
    return _flattened(image, profile)


_DECODERS: dict[SourceFormat, Callable[[bytes], Pixels]] = {
    "jpeg": _decode_jpeg,
    "png": _decode_png,
    "webp": _decode_webp,
    "tiff": _decode_tiff,
    "bmp": _decode_bmp,
}


def _by_opencv(body: bytes, profile: bytes | None) -> Pixels:
    """Decoded by OpenCV, which keeps all 16 bits of a sample; they are rounded to 8, where Pillow would cut them."""
    stored = cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_UNCHANGED)
    if stored is None:
        raise UndecodableImage("The image is damaged or cut off.")
    if stored.dtype not in (np.uint8, np.uint16):
        raise UndecodableImage("Samples of this kind are not read.")
    pixels = np.empty((*stored.shape[:2], 3), np.uint8)
    for rows in _strips(len(stored)):
        scale = 1 / 257 if stored.dtype == np.uint16 else 1.0
        strip = np.asarray(cv2.convertScaleAbs(stored[rows], alpha=scale), np.uint8).reshape(stored[rows].shape)
        pixels[rows] = _flat_strip(Image.fromarray(_red_first(strip)), profile)
    return pixels


def _red_first(strip: NDArray[np.uint8]) -> Pixels:
    """OpenCV's blue-first pixels as Pillow wants them; grey stays grey."""
    if strip.ndim == 2:
        return strip
    order = cv2.COLOR_BGRA2RGBA if strip.shape[2] == 4 else cv2.COLOR_BGR2RGB
    return np.asarray(cv2.cvtColor(strip, order), np.uint8)


def _flattened(
    image: Image.Image, profile: bytes | None, before: Callable[[Image.Image], Image.Image] | None = None
) -> Pixels:
    """Any Pillow image as (H, W, 3) uint8 sRGB, a strip at a time so that no second whole copy is held."""
    image.load()
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    for rows in _strips(image.height):
        strip = image.crop((0, rows.start, image.width, rows.stop))
        pixels[rows] = _flat_strip(before(strip) if before else strip, profile)
    return pixels


def _flat_strip(strip: Image.Image, profile: bytes | None) -> Pixels:
    if strip.mode.startswith("I;16"):
        grey = (np.asarray(strip).astype(np.uint32) * 255 + 32_767) // 65_535
        strip = Image.fromarray(grey.astype(np.uint8))
    if strip.mode in ("I", "F", "LAB", "HSV"):
        raise UndecodableImage("Samples of this kind are not read.")
    if strip.has_transparency_data:
        rgba = strip.convert("RGBA")
        colours = _turned(np.asarray(rgba.convert("RGB")), to_srgb(profile, "RGB"))
        opacity = np.asarray(rgba.getchannel("A"), np.uint16)[..., None]
        return ((colours * opacity + 127) // 255).astype(np.uint8)
    mode = strip.mode if strip.mode in ("CMYK", "L") else "RGB"
    if (transform := to_srgb(profile, mode)) is not None:
        strip = transform.apply(strip.convert(mode))
    return np.asarray(strip.convert("RGB"))


def _turned(pixels: Pixels, transform: object | None) -> Pixels:
    """`pixels` through a colour transform, in place where that is allowed."""
    if transform is None:
        return pixels
    turned = pixels if pixels.flags.writeable else pixels.copy()
    for rows in _strips(len(turned)):
        turned[rows] = np.asarray(transform.apply(Image.fromarray(turned[rows])))  # type: ignore[attr-defined]
    return turned


def _strips(height: int) -> Iterator[slice]:
    for top in range(0, height, _STRIP_ROWS):
        yield slice(top, min(height, top + _STRIP_ROWS))


_TURNS: dict[int, Callable[[Pixels], Pixels]] = {
    2: lambda pixels: np.asarray(cv2.flip(pixels, 1), np.uint8),
    3: lambda pixels: np.asarray(cv2.rotate(pixels, cv2.ROTATE_180), np.uint8),
    4: lambda pixels: np.asarray(cv2.flip(pixels, 0), np.uint8),
    5: lambda pixels: np.asarray(cv2.transpose(pixels), np.uint8),
    6: lambda pixels: np.asarray(cv2.rotate(pixels, cv2.ROTATE_90_CLOCKWISE), np.uint8),
    7: lambda pixels: np.asarray(cv2.flip(cv2.transpose(pixels), -1), np.uint8),
    8: lambda pixels: np.asarray(cv2.rotate(pixels, cv2.ROTATE_90_COUNTERCLOCKWISE), np.uint8),
}
"""How to turn stored pixels upright, by EXIF orientation (Exif 2.32, tag 0x0112)."""


def _upright(pixels: Pixels, orientation: int) -> Pixels:
    turn = _TURNS.get(orientation)
    return turn(pixels) if turn else pixels


def output_format(wanted: OutputFormat, source: SourceFormat, width: int, height: int) -> SourceFormat:
    """The format to answer in: `wanted`, or with "same" the source's.

    Raises:
        InvalidParameter: that format cannot hold an image of this size.
    """
    chosen = source if wanted == "same" else wanted
    longest = _LONGEST_SIDE.get(chosen)
    if longest is not None and max(width, height) > longest:
        raise InvalidParameter(f"A {chosen} image cannot be longer than {longest} pixels.", limit=longest)
    return chosen


def encode(pixels: Pixels, target: SourceFormat, quality: int = 95) -> bytes:
    """`pixels`, (H, W, 3) uint8 sRGB, as a file: pixels alone, the same bytes each time.

    `quality` (1 to 100) is JPEG's and WebP's; PNG, TIFF and BMP are lossless. JPEG keeps colour at full resolution
    (4:4:4): red that bleeds over an edge is what a reader must not see.
    """
    pixels = np.ascontiguousarray(pixels)
    if target == "jpeg":
        encoded: bytes = simplejpeg.encode_jpeg(pixels, quality, "RGB", "444", fastdct=False)
        return encoded
    if target in ("png", "bmp"):
        flags = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]
        done, data = cv2.imencode(f".{target}", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), flags * (target == "png"))
        if not done:
            raise InvalidParameter(f"The image cannot be written as {target}.")
        return data.tobytes()
    buffer = BytesIO()
    if target == "webp":
        Image.fromarray(pixels).save(buffer, "WEBP", quality=quality, method=2)
    else:
        Image.fromarray(pixels).save(buffer, "TIFF", compression="tiff_adobe_deflate")
    return buffer.getvalue()
