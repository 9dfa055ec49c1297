"""The process that `service.imaging.isolated` talks to: images on standard input, pixels on standard output."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import cv2
import imagecodecs
import numpy as np
import pi_heif
from numpy.typing import NDArray
from PIL import AvifImagePlugin, Image

from service.errors import ImageDimensions, LameganError, UndecodableImage
from service.imaging.bmff import colour_codes
from service.imaging.cicp import profile_of_codes
from service.imaging.decoders import flattened, narrowed, turned, upright
from service.imaging.exif import stated_orientation
from service.imaging.icc import to_srgb
from service.imaging.isolated import ANSWER, MEMORY_BYTES, PIXELS, REFUSED, REQUEST, TOO_LARGE
from service.imaging.jpeg_header import jpeg_facts, jpeg_segments
from service.imaging.orientation import xmp_orientation
from service.pixels import Pixels

_12_BITS = 4095
_SOF3 = 0xC3
MEMORY = ImageDimensions("The image takes more memory to decode than is allowed; send it smaller, or as JPEG.")
DAMAGED = UndecodableImage("The image is damaged or cut off.")


def main() -> None:
    """Answer requests until standard input ends."""
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what a library prints is not a response
    _limit_memory()
    cv2.setNumThreads(1)
    while len(head := requests.read(REQUEST.size)) == REQUEST.size:
        kind, max_pixels, length = REQUEST.unpack(head)
        body = requests.read(length)
        try:
            pixels = np.ascontiguousarray(DECODERS[kind.rstrip(b"\0").decode()](body, max_pixels))
            answers.write(ANSWER.pack(PIXELS, *pixels.shape[:2]))
            answers.write(pixels.reshape(-1).data)
            del pixels
        except LameganError as error:
            _refuse(answers.write, error)
        except MemoryError:
            _refuse(answers.write, MEMORY)
        # Decoders fed with hostile bytes raise nearly anything; whatever it is, this file cannot be read.
        except Exception:
            _refuse(answers.write, DAMAGED)
        answers.flush()


def _refuse(write: Callable[[bytes], object], error: LameganError) -> None:
    words = error.detail.encode()
    write(ANSWER.pack(TOO_LARGE if isinstance(error, ImageDimensions) else REFUSED, 0, len(words)) + words)


def _limit_memory() -> None:
    """Hold this process to `MEMORY_BYTES` more than it has, where the system can: on Linux."""
    held = Path("/proc/self/statm")
    if held.exists():
        import resource  # noqa: PLC0415 (Unix has it alone)

        now = int(held.read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY_BYTES, resource.RLIM_INFINITY))


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise ImageDimensions("The image is larger than its header says.", limit=max_pixels, actual=width * height)


def _heic(body: bytes, max_pixels: int) -> Pixels:
    try:
        opened = pi_heif.open_heif(BytesIO(body), convert_hdr_to_8bit=True)
    except ValueError as error:
        raise UndecodableImage("The HEIC is damaged, or of a kind that is not read: send the photo as JPEG.") from error
    _check_size(opened.size[0], opened.size[1], max_pixels)
    image = opened.to_pillow()
    return flattened(image, opened.info.get("icc_profile") or _named_profile(body))


def _avif(body: bytes, max_pixels: int) -> Pixels:
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    image = AvifImagePlugin.AvifImageFile(BytesIO(body))
    _check_size(*image.size, max_pixels)
    profile = image.info.get("icc_profile") or _named_profile(body)
    orientation = stated_orientation(image.info.get("exif") or b"")
    return upright(flattened(image, profile), orientation or 1)


def _named_profile(body: bytes) -> bytes | None:
    codes = colour_codes(body)
    return profile_of_codes(*codes) if codes else None


def _jxl(body: bytes, max_pixels: int) -> Pixels:
    try:
        stored = imagecodecs.jpegxl_decode(body, index=0, numthreads=1)
    except imagecodecs.JpegxlError as error:
        raise UndecodableImage("The JPEG XL is damaged, or takes too much memory to decode.") from error
    return _shown(stored, max_pixels)


def _jpeg12(body: bytes, max_pixels: int) -> Pixels:
    facts = jpeg_facts(body)
    stored = imagecodecs.jpeg8_decode(body)
    pixels = turned(_shown(stored, max_pixels, _12_BITS), to_srgb(facts.profile, "RGB"))
    return upright(pixels, stated_orientation(facts.exif) or xmp_orientation(facts.xmp))


def _ljpeg(body: bytes, max_pixels: int) -> Pixels:
    """Samples of a lossless JPEG as they are: colour in three bytes, grey as low byte, high byte and zero."""
    stored = imagecodecs.jpeg8_decode(body, colorspace="rgb", outcolorspace="rgb") if _is_colour(body) else None
    if stored is None:
        stored = imagecodecs.jpeg8_decode(body)
    _check_size(stored.shape[1], stored.shape[0], max_pixels)
    if stored.ndim == 3 and stored.shape[-1] == 3 and stored.dtype == np.uint8:
        return np.asarray(stored, np.uint8)
    if stored.ndim != 2 or stored.dtype not in (np.uint8, np.uint16):
        raise UndecodableImage("Samples of this kind are not read.")
    wide = stored.astype(np.uint16)
    return np.stack([wide & 255, wide >> 8, np.zeros_like(wide)], axis=-1).astype(np.uint8)


def _is_colour(body: bytes) -> bool:
    return any(marker == _SOF3 and content[5:6] == b"\x03" for marker, _, content in jpeg_segments(body))


def _shown(stored: NDArray[np.uint8] | NDArray[np.uint16], max_pixels: int, white: int = 65_535) -> Pixels:
    """Samples of 8 or 16 bits, grey or RGB, with opacity or without, as (H, W, 3) uint8; `white` is that of 16 bits."""
    if stored.dtype not in (np.uint8, np.uint16) or stored.ndim not in (2, 3):
        raise UndecodableImage("Samples of this kind are not read.")
    _check_size(stored.shape[1], stored.shape[0], max_pixels)
    pixels: Pixels
    if stored.dtype == np.uint16 and white != 65_535:
        pixels = np.asarray(cv2.convertScaleAbs(stored, alpha=255 / white), np.uint8).reshape(stored.shape)
    else:
        pixels = narrowed(stored)
    if pixels.ndim == 3 and pixels.shape[-1] == 1:
        pixels = np.squeeze(pixels, -1)
    return flattened(Image.fromarray(np.ascontiguousarray(pixels)), None)


DECODERS: dict[str, Callable[[bytes, int], Pixels]] = {
    "heic": _heic,
    "avif": _avif,
    "jxl": _jxl,
    "jpeg12": _jpeg12,
    "ljpeg": _ljpeg,
}
"""The decoder of each format that is decoded here."""

if __name__ == "__main__":
    main()
