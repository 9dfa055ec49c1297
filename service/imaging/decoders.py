"""One decoder for each served format: a whole file to (H, W, 3) uint8 sRGB pixels, upright.

They trust nothing but are no gate: `service.imaging.codecs` has checked format, size and limits before, and takes any
exception from here as the file's fault.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from io import BytesIO

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import BmpImagePlugin, Image, JpegImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin

from service.errors import UndecodableImage
from service.imaging.headers import (
    SourceFormat,
    exif_orientation,
    jpeg_facts,
    png_bare,
    png_clear_grey,
    png_content,
    png_profile,
    webp_content,
)
from service.imaging.icc import MAX_PROFILE_BYTES, to_srgb
from service.imaging.tiff import TiffSamples

Pixels = NDArray[np.uint8]
Stored = NDArray[np.uint8] | NDArray[np.uint16]

_STRIP_ROWS = 256

_GREY_STEP = {2: 85, 4: 17}
"""Grey levels between two samples of so many bits."""

_PADDING_BYTES = 16
_EXTRANEOUS = re.compile(r"(\d+) extraneous bytes")


def _decode_jpeg(body: bytes) -> Pixels:
    facts = jpeg_facts(body)
    if facts.components == 3 or (facts.components == 1 and to_srgb(facts.profile, "L") is None):
        pixels = _turned(_fast_jpeg(body), to_srgb(facts.profile, "RGB"))
    else:
        _require_whole(body, "CMYK" if facts.components == 4 else "GRAY")
        # Pillow takes every CMYK JPEG for Adobe's, whose values are inverted; without Adobe's marker they are not.
        before = _inverted if facts.components == 4 and not facts.adobe else None
        pixels = _flattened(JpegImagePlugin.JpegImageFile(BytesIO(body)), facts.profile, before)
    return _upright(pixels, exif_orientation(facts.exif))


def _fast_jpeg(body: bytes) -> Pixels:
    """libjpeg-turbo without a detour; it refuses what is merely unclean, and then Pillow decides if that is fatal."""
    try:
        pixels: Pixels = simplejpeg.decode_jpeg(body, "RGB", strict=True)
    except ValueError as error:
        _refuse_damage(str(error))
        pixels = _flattened(JpegImagePlugin.JpegImageFile(BytesIO(body)), None)
    return pixels


def _require_whole(body: bytes, colours: str) -> None:
    """Raise unless all coded data are there, for files whose colours libjpeg-turbo alone does not turn into sRGB."""
    try:
        simplejpeg.decode_jpeg(body, colours, strict=True, min_height=1, min_width=1, min_factor=8)
    except ValueError as error:
        _refuse_damage(str(error))


def _refuse_damage(complaint: str) -> None:
    """Raise if libjpeg's first `complaint` means lost pixels, for which it would put grey; a little padding is none."""
    found = _EXTRANEOUS.search(complaint)
    padding = found is not None and int(found[1]) <= _PADDING_BYTES
    if complaint.startswith("Corrupt JPEG data") and not padding and "ICC" not in complaint:
        raise UndecodableImage("The JPEG is damaged: some of its data are lost.")


def _inverted(strip: Image.Image) -> Image.Image:
    return Image.eval(strip, lambda value: 255 - value)


def _decode_png(body: bytes) -> Pixels:
    bare = png_bare(body)
    image = PngImagePlugin.PngImageFile(BytesIO(bare))
    if image.mode == "P" and image.palette is None:
        raise UndecodableImage("The PNG lacks its palette.")
    profile = png_profile(body, MAX_PROFILE_BYTES)
    if image.mode == "L" and isinstance(clear := image.info.get("transparency"), int):
        image.info["transparency"] = clear * _GREY_STEP.get(body[24], 1)  # Pillow scales the samples alone
    if body[24] == 16:
        if png_content(body, b"IEND") is None:
            raise UndecodableImage("The PNG is cut off.")
        stored = _by_opencv(bare)
        pixels = _shown_in_strips(stored, profile)
        if (clear := png_clear_grey(body)) is not None:  # OpenCV heeds it in colour only
            pixels[stored == clear] = 0
    else:
        pixels = _flattened(image, profile)
    return _upright(pixels, exif_orientation(png_content(body, b"eXIf") or b""))


def _decode_webp(body: bytes) -> Pixels:
    profile = webp_content(body, b"ICCP")
    if webp_content(body, b"ANIM") is None:
        pixels = _shown_in_strips(
            _by_opencv(body), profile
        )  # a tenth of the time and a third of the memory that Pillow takes
    else:
        pixels = _flattened(WebPImagePlugin.WebPImageFile(BytesIO(body)), profile)
    return _upright(pixels, exif_orientation(webp_content(body, b"EXIF") or b""))


def _decode_bmp(body: bytes) -> Pixels:
    return _flattened(BmpImagePlugin.BmpImageFile(BytesIO(body)), None)


def _decode_tiff(body: bytes) -> Pixels:
    # Pillow and OpenCV both turn a TIFF upright themselves, unlike the other formats.
    samples = TiffSamples(body)
    if samples.cut_off:
        raise UndecodableImage("The TIFF is cut off.")
    if samples.planar and samples.channels > 1:
        return _planar_tiff(samples)
    if samples.bits == 16 and samples.colours in (1, 3):
        return _wide_tiff(body, samples)
    try:
        image = TiffImagePlugin.TiffImageFile(BytesIO(samples.contiguous() if samples.planar else body))
    except SyntaxError as error:
        raise UndecodableImage("The TIFF is damaged, or of a kind that is not read.") from error
    return _flattened(image, samples.profile)


def _planar_tiff(samples: TiffSamples) -> Pixels:
    """A TIFF whose channels lie apart: each is read as a grey picture of its own."""
    mode = samples.mode
    if samples.bits not in (8, 16) or mode is None:
        raise UndecodableImage("A TIFF of separate channels is read in grey, RGB and CMYK of 8 or 16 bits only.")
    bands = [*range(samples.colours), samples.opacity][: Image.getmodebands(mode)]
    planes = [Image.fromarray(_narrowed(_by_opencv(samples.channel(band)))) for band in bands if band is not None]
    if samples.zero_is_white:
        planes[0] = _inverted(planes[0])
    return _flattened(Image.merge(mode, planes), samples.profile)


def _wide_tiff(body: bytes, samples: TiffSamples) -> Pixels:
    """A TIFF of 16 bits whose channels lie side by side: Pillow would cut the samples, or refuse them."""
    mode = samples.mode
    if (mode, samples.channels) not in (("L", 1), ("RGB", 3), ("RGB", 4), ("RGBA", 4), ("RGBa", 4)):
        raise UndecodableImage("A TIFF of 16 bits is read in grey, RGB and RGB with transparency only.")

    def shown(strip: Pixels) -> Image.Image:
        strip = 255 - strip if samples.zero_is_white else strip
        if mode == "RGBa":
            return Image.frombytes(mode, strip.shape[1::-1], strip.tobytes())
        return Image.fromarray(strip[..., :3] if mode == "RGB" else strip)

    return _shown_in_strips(_by_opencv(body), samples.profile, shown)


def _by_opencv(body: bytes) -> Stored:
    """The samples as they are stored, (H, W) or blue first (H, W, C): OpenCV keeps all 16 bits, where Pillow cuts."""
    stored = cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_UNCHANGED)
    if stored is None:
        raise UndecodableImage("The image is damaged or cut off.")
    if stored.dtype not in (np.uint8, np.uint16):
        raise UndecodableImage("Samples of this kind are not read.")
    return stored  # type: ignore[return-value]


def _narrowed(stored: Stored) -> Pixels:
    """Samples of 8 or 16 bits rounded to 8."""
    scale = 1 / 257 if stored.dtype == np.uint16 else 1.0
    return np.asarray(cv2.convertScaleAbs(stored, alpha=scale), np.uint8).reshape(stored.shape)


def _shown_in_strips(
    stored: Stored, profile: bytes | None, shown: Callable[[Pixels], Image.Image] = Image.fromarray
) -> Pixels:
    """What OpenCV read as (H, W, 3) uint8 sRGB; `shown` says what rounded, red-first samples mean."""
    pixels = np.empty((*stored.shape[:2], 3), np.uint8)
    for rows in _strips(len(stored)):
        pixels[rows] = _flat_strip(shown(_red_first(_narrowed(stored[rows]))), profile)
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
    if strip.mode.startswith(("I", "F", "LAB", "HSV")):
        raise UndecodableImage("Samples of this kind are not read.")
    if strip.has_transparency_data:
        rgba = (strip.convert("LA") if strip.mode == "La" else strip).convert("RGBA")
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


DECODERS: dict[SourceFormat, Callable[[bytes], Pixels]] = {
    "jpeg": _decode_jpeg,
    "png": _decode_png,
    "webp": _decode_webp,
    "tiff": _decode_tiff,
    "bmp": _decode_bmp,
}
"""The decoder of each served format."""
