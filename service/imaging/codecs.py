"""Bytes to photos and photos to bytes.

What comes in may be odd or hostile; what comes out of `decode` is always (H, W, 3) uint8 sRGB, upright. What goes out
of `encode` carries pixels alone: no EXIF, GPS, thumbnail or profile. Choices a user can notice:

- Transparent regions are laid on black, the ground of an endoscope's picture.
- Of several frames or pages the first is used; all of them count towards the pixel limit.
- 16-bit samples are rounded to 8 bits. CMYK without a profile is converted by (255 - C)(255 - K) / 255.
- A picture that is transparent everywhere is shown as if it were opaque.
- HEIC, AVIF, JPEG XL and JPEG of 12 bits are decoded in a process of their own: `service.imaging.isolated`.
- Not read: BigTIFF, samples of more than 16 bits, high dynamic range (PQ, HLG); of TIFF, 12 bits, and 16-bit grey with
  transparency whose samples lie side by side. A JPEG XL's colour profile other than sRGB is not heeded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from io import BytesIO

import cv2
import imagecodecs
import numpy as np
import simplejpeg
from PIL import Image

from service.errors import (
    BadRequest,
    ImageDimensions,
    InvalidParameter,
    MissingImage,
    UndecodableImage,
    UnsupportedType,
)
from service.imaging.decoders import DECODERS, whole_12_bits
from service.imaging.headers import Header, SourceFormat, read_header
from service.imaging.isolated import decode_isolated
from service.pixels import Pixels
from service.vocabulary import MAX_PIXELS, OutputFormat

MEDIA_TYPES: dict[SourceFormat, str] = {
    "jpeg": "image/jpeg",
    "png": "image/png",
    "webp": "image/webp",
    "tiff": "image/tiff",
    "bmp": "image/bmp",
    "gif": "image/gif",
    "heic": "image/heic",
    "avif": "image/avif",
    "jxl": "image/jxl",
}
"""Media type of each format that is read."""

SUFFIXES: dict[SourceFormat, str] = {
    "jpeg": ".jpg",
    "png": ".png",
    "webp": ".webp",
    "tiff": ".tif",
    "bmp": ".bmp",
    "gif": ".gif",
    "heic": ".heic",
    "avif": ".avif",
    "jxl": ".jxl",
}
"""File name ending of each format that is read."""

ANSWERED_AS: dict[SourceFormat, SourceFormat] = {
    "gif": "png",
    "heic": "jpeg",
    "avif": "jpeg",
    "jxl": "jpeg",
}
"""What a result of the "same" format is where that format is only read: PNG where it is lossless, else JPEG."""

LOSSY: tuple[SourceFormat, ...] = ("jpeg", "webp")
"""The formats written that have a quality."""

WRITTEN: tuple[SourceFormat, ...] = tuple(form for form in MEDIA_TYPES if form not in ANSWERED_AS)
"""The formats that `encode` writes."""

_DECLARED: dict[str, SourceFormat] = {
    **{media: source for source, media in MEDIA_TYPES.items()},
    "image/jpg": "jpeg",
    "image/pjpeg": "jpeg",
    "image/x-png": "png",
    "image/tif": "tiff",
    "image/x-ms-bmp": "bmp",
    "image/x-bmp": "bmp",
    "image/x-windows-bmp": "bmp",
    "image/x-tiff": "tiff",
    "image/x-webp": "webp",
    "image/heif": "heic",
    "image/heic-sequence": "heic",
    "image/heif-sequence": "heic",
    "image/avif-sequence": "avif",
    "image/x-jxl": "jxl",
}
_UNDECLARED = (
    *("", "*/*", "image/*", "application/octet-stream", "binary/octet-stream"),
    "application/x-www-form-urlencoded",  # what curl, wget, urllib and axios say of any body unless told otherwise
)

_LONGEST_SIDE: dict[SourceFormat, int] = {"jpeg": 65_500, "webp": 16_383}


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


def decode(body: bytes, declared_type: str | None = None, *, max_pixels: int = MAX_PIXELS) -> Photo:
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
        pixels = _decoder(header)(body, max_pixels)
    except BadRequest:
        raise
    # Decoders fed with hostile bytes raise nearly anything; whatever it is, it means that this file cannot be read.
    except Exception as error:
        raise UndecodableImage("The image is damaged or cut off.") from error
    cropped = header.format in ("heic", "avif")  # a clean aperture, perhaps
    if not cropped and sorted(pixels.shape[:2]) != sorted((header.height, header.width)):
        raise UndecodableImage("The image's data and header disagree on its size.")
    return Photo(pixels, header.format, header.bits, header.frames)


def _decoder(header: Header) -> Callable[[bytes, int], Pixels]:
    if header.format == "jpeg" and header.bits == 12:
        return lambda body, most: decode_isolated("jpeg12", whole_12_bits(body), most)
    if header.format == "jpeg" and header.bits != 8:
        raise UndecodableImage(
            f"This is a JPEG of {header.bits} bits a sample, which is not read: send 8 or 12 bits, or PNG or TIFF."
        )
    if header.format in DECODERS:
        return lambda body, _: DECODERS[header.format](body)
    return partial(decode_isolated, header.format)


def inspect(body: bytes, declared_type: str | None = None, *, max_pixels: int = MAX_PIXELS) -> Header:
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
            f"The image has too many pixels, all frames counted: {header.pixels / 1e6:.1f} megapixels, "
            f"where {max_pixels / 1e6:g} are allowed.",
            limit=max_pixels,
            actual=header.pixels,
        )
    return header


def output_format(wanted: OutputFormat, source: SourceFormat, width: int, height: int) -> SourceFormat:
    """The format of the result: `wanted`, or with "same" the source's.

    Raises:
        InvalidParameter: that format cannot hold an image of this size.
    """
    chosen = ANSWERED_AS.get(source, source) if wanted == "same" else wanted
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
    if target == "webp":  # the same bytes as Pillow's, for a sixth of the memory
        try:
            return bytes(imagecodecs.webp_encode(pixels, quality, lossless=False, method=2))
        except imagecodecs.WebpError as error:  # a very large picture of pure grain overflows the format
            raise InvalidParameter("The image cannot be written as webp; ask for another format.") from error
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "TIFF", compression="tiff_adobe_deflate")
    return buffer.getvalue()
