"""One decoder for each format read in this process: a whole file to (H, W, 3) uint8 sRGB pixels, upright.

They check no limits themselves: `service.imaging.codecs` has checked format, size and limits before, and takes any
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
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from service.errors import UndecodableImage
from service.imaging.cicp import profile_of_codes
from service.imaging.exif import stated_orientation
from service.imaging.headers import SourceFormat, webp_content
from service.imaging.icc import MAX_PROFILE_BYTES, lab_to_srgb, to_srgb
from service.imaging.jpeg_header import jpeg_facts
from service.imaging.jpeg_repair import completed, with_height
from service.imaging.orientation import xmp_orientation
from service.imaging.png_chunks import png_bare, png_clear_grey, png_content, png_orientation, png_profile
from service.imaging.png_strips import in_strips, png_size, png_strips
from service.imaging.tiff import TiffSamples
from service.imaging.tiff_directories import tiff_picture
from service.pixels import Pixels

set_log_level: Callable[[int], object] = getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel
set_log_level(0)  # silent: a damaged file is no fault of the service, and OpenCV's lines are not JSON

Stored = NDArray[np.uint8] | NDArray[np.uint16]

_STRIP_ROWS = 256

_GREY_STEP = {2: 85, 4: 17}
"""Grey levels between two samples of so many bits."""

_RUN_LENGTH_CODED = (1, 2)
"""Compression of a BMP: BI_RLE8, BI_RLE4."""

_PADDING_BYTES = 16
_EXTRANEOUS = re.compile(r"(\d+) extraneous bytes")


def _decode_jpeg(body: bytes) -> Pixels:
    facts = jpeg_facts(body)
    colours = {1: "GRAY", 4: "CMYK"}.get(facts.components, "RGB")
    body = completed(with_height(body, facts.frame), facts.scan, colours)
    if facts.components == 3 or (facts.components == 1 and to_srgb(facts.profile, "L") is None):
        pixels = turned(_fast_jpeg(body), to_srgb(facts.profile, "RGB"))
    else:
        # Pillow takes every CMYK JPEG for inverted, as Adobe writes it, whether or not it bears Adobe's marker. So do
        # all other readers, and all writers store it so.
        _require_whole(body, colours)
        pixels = flattened(JpegImagePlugin.JpegImageFile(BytesIO(body)), facts.profile)
    return upright(pixels, stated_orientation(facts.exif) or xmp_orientation(facts.xmp))


def whole_12_bits(body: bytes) -> bytes:
    """A JPEG of 12 bits with all its data and an end marker; its samples are for another decoder.

    The coding is that of 8 bits, so libjpeg-turbo is asked for one eighth of it as if it were that. What it makes of
    the samples means nothing, but it says whether data are lost, which the decoder of 12 bits does not.

    Raises:
        UndecodableImage: some are.
    """
    facts = jpeg_facts(body)
    precision = facts.frame + 4
    body = with_height(body, facts.frame)
    colours = {1: "GRAY", 4: "CMYK"}.get(facts.components, "RGB")
    as_8_bits = completed(body[:precision] + b"\x08" + body[precision + 1 :], facts.scan, colours)
    _require_whole(as_8_bits, colours)
    return as_8_bits[:precision] + b"\x0c" + as_8_bits[precision + 1 :]


def _fast_jpeg(body: bytes) -> Pixels:
    """libjpeg-turbo without a detour; it refuses what is merely unclean, and then Pillow decides if that is fatal."""
    try:
        pixels: Pixels = simplejpeg.decode_jpeg(body, "RGB", strict=True)
    except ValueError as error:
        _refuse_damage(str(error))
        pixels = flattened(JpegImagePlugin.JpegImageFile(BytesIO(body)), None)
    return pixels


def _require_whole(body: bytes, colours: str) -> None:
    """Raise unless all coded data are there, for files whose colours libjpeg-turbo alone does not turn into sRGB."""
    try:
        simplejpeg.decode_jpeg(body, colours, strict=True, min_height=1, min_width=1, min_factor=8)
    except ValueError as error:
        _refuse_damage(str(error))


def _refuse_damage(complaint: str) -> None:
    """Raise if libjpeg's first `complaint` means lost pixels, for which it would put grey; some padding is harmless."""
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
    codes = png_content(body, b"cICP")  # it outranks a profile: PNG third edition, 11.3.2.6
    profile = profile_of_codes(codes[0], codes[1]) if codes else png_profile(body, MAX_PROFILE_BYTES)
    if image.mode == "L" and isinstance(clear := image.info.get("transparency"), int):
        image.info["transparency"] = clear * _GREY_STEP.get(body[24], 1)  # Pillow scales the samples alone
    if body[24] == 16:
        if png_content(body, b"IEND") is None:
            raise UndecodableImage("The PNG is cut off.")
        if in_strips(bare):
            return upright(_wide_png(bare, profile), png_orientation(body))
        stored = _by_opencv(bare)
        pixels = _shown_in_strips(stored, profile)
        if (clear := png_clear_grey(body)) is not None:  # OpenCV heeds it in colour only
            pixels[stored == clear] = 0
    else:
        pixels = flattened(image, profile)
    return upright(pixels, png_orientation(body))


def _wide_png(body: bytes, profile: bytes | None, samples: int = 4) -> Pixels:
    """With 3 `samples` the colours alone, which stand for a picture that is transparent everywhere."""
    width, height = png_size(body)
    pixels, seen = np.empty((height, width, 3), np.uint8), samples == 3
    for rows, strip in png_strips(body, _by_opencv):
        seen = seen or bool(strip[..., 3].any())
        pixels[rows] = _flat_strip(Image.fromarray(_red_first(narrowed(strip[..., :samples]))), profile)
    return pixels if seen else _wide_png(body, profile, samples=3)


def _decode_webp(body: bytes) -> Pixels:
    profile = webp_content(body, b"ICCP")
    if webp_content(body, b"ANIM") is None:
        pixels = _shown_in_strips(
            _by_opencv(body), profile
        )  # a tenth of the time and a third of the memory that Pillow takes
    else:
        pixels = flattened(WebPImagePlugin.WebPImageFile(BytesIO(body)), profile)
    stated = stated_orientation(webp_content(body, b"EXIF") or b"")
    return upright(pixels, stated or xmp_orientation(webp_content(body, b"XMP ")))


def _decode_bmp(body: bytes) -> Pixels:
    if int.from_bytes(body[14:18], "little") != 12 and int.from_bytes(body[30:34], "little") in _RUN_LENGTH_CODED:
        return _shown_in_strips(_by_opencv(body, cv2.IMREAD_COLOR), None)  # Pillow reads it in Python, byte by byte
    return flattened(BmpImagePlugin.BmpImageFile(BytesIO(body)), None)


def _decode_gif(body: bytes) -> Pixels:
    return flattened(GifImagePlugin.GifImageFile(BytesIO(body)), None)


def _decode_tiff(body: bytes) -> Pixels:
    # Pillow and OpenCV both turn a TIFF upright themselves, unlike the other formats.
    body = tiff_picture(body)
    samples = TiffSamples(body)
    if samples.cut_off:
        raise UndecodableImage("The TIFF is cut off.")
    samples.require_known_compression()
    if samples.planar and samples.channels > 1:
        return _planar_tiff(samples)
    if samples.bits == 16 and samples.colours in (1, 3):
        return _wide_tiff(body, samples)
    try:
        image = TiffImagePlugin.TiffImageFile(BytesIO(samples.contiguous() if samples.planar else body))
    except SyntaxError as error:
        raise UndecodableImage("The TIFF is damaged, or of a kind that is not read.") from error
    return flattened(image, samples.profile)


def _planar_tiff(samples: TiffSamples) -> Pixels:
    """A TIFF whose channels lie apart: each is read as a grey picture of its own."""
    mode = samples.mode
    if samples.bits not in (8, 16) or mode is None:
        raise UndecodableImage("A TIFF of separate channels is read in grey, RGB and CMYK of 8 or 16 bits only.")
    bands = [*range(samples.colours), samples.opacity][: Image.getmodebands(mode)]
    planes = [Image.fromarray(narrowed(_by_opencv(samples.channel(band)))) for band in bands if band is not None]
    if samples.zero_is_white:
        planes[0] = _inverted(planes[0])
    return flattened(Image.merge(mode, planes), samples.profile)


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


def _by_opencv(body: bytes, how: int = cv2.IMREAD_UNCHANGED) -> Stored:
    """The samples as they are stored, (H, W) or blue first (H, W, C): OpenCV keeps all 16 bits, where Pillow cuts."""
    stored = cv2.imdecode(np.frombuffer(body, np.uint8), how)
    if stored is None:
        raise UndecodableImage("The image is damaged or cut off.")
    if stored.dtype not in (np.uint8, np.uint16):
        raise UndecodableImage("Samples of this kind are not read.")
    return stored  # type: ignore[return-value]


def narrowed(stored: Stored) -> Pixels:
    """Samples of 8 or 16 bits rounded to 8."""
    scale = 1 / 257 if stored.dtype == np.uint16 else 1.0
    return np.asarray(cv2.convertScaleAbs(stored, alpha=scale), np.uint8).reshape(stored.shape)


def _shown_in_strips(
    stored: Stored, profile: bytes | None, shown: Callable[[Pixels], Image.Image] = Image.fromarray
) -> Pixels:
    """What OpenCV read as (H, W, 3) uint8 sRGB; `shown` says what rounded, red-first samples mean."""
    if stored.ndim == 3 and stored.shape[2] == 4 and not stored[..., 3].any():
        stored, shown = stored[..., :3], Image.fromarray
    pixels = np.empty((*stored.shape[:2], 3), np.uint8)
    for rows in _strips(len(stored)):
        pixels[rows] = _flat_strip(shown(_red_first(narrowed(stored[rows]))), profile)
    return pixels


def _red_first(strip: NDArray[np.uint8]) -> Pixels:
    """OpenCV's blue-first pixels as Pillow wants them; grey stays grey."""
    if strip.ndim == 2:
        return strip
    order = cv2.COLOR_BGRA2RGBA if strip.shape[2] == 4 else cv2.COLOR_BGR2RGB
    return np.asarray(cv2.cvtColor(strip, order), np.uint8)


def flattened(image: Image.Image, profile: bytes | None) -> Pixels:
    """Any Pillow image as (H, W, 3) uint8 sRGB, a strip at a time so that no second whole copy is held."""
    image.load()
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    opaque = _hidden(image)
    for rows in _strips(image.height):
        strip = image.crop((0, rows.start, image.width, rows.stop))
        pixels[rows] = _flat_strip(_without_opacity(strip) if opaque else strip, profile)
    return pixels


def _hidden(image: Image.Image) -> bool:
    """Whether every pixel is fully transparent: nobody sends that on purpose, so its colours are the picture."""
    if not image.has_transparency_data:
        return False
    for rows in _strips(image.height):
        strip = image.crop((0, rows.start, image.width, rows.stop))
        opacity = strip if strip.mode in ("RGBA", "LA", "RGBa", "La", "PA") else strip.convert("RGBA")
        if opacity.getextrema()[-1] != (0, 0):
            return False
    if image.mode in ("RGBa", "La"):
        raise UndecodableImage("The picture is fully transparent, and its colours are gone with that.")
    return True


def _without_opacity(strip: Image.Image) -> Image.Image:
    opaque = strip.convert({"LA": "L"}.get(strip.mode, "RGB"))
    opaque.info.pop("transparency", None)
    return opaque


def _flat_strip(strip: Image.Image, profile: bytes | None) -> Pixels:
    if strip.mode == "LAB":
        return np.asarray(lab_to_srgb().apply(strip))
    if strip.mode.startswith(("I", "F", "HSV")):
        raise UndecodableImage("Samples of this kind are not read.")
    if strip.has_transparency_data:
        rgba = (strip.convert("LA") if strip.mode == "La" else strip).convert("RGBA")
        colours = turned(np.asarray(rgba.convert("RGB")), to_srgb(profile, "RGB"))
        opacity = np.asarray(rgba.getchannel("A"), np.uint16)[..., None]
        return ((colours * opacity + 127) // 255).astype(np.uint8)
    mode = strip.mode if strip.mode in ("CMYK", "L") else "RGB"
    if (transform := to_srgb(profile, mode)) is not None:
        strip = transform.apply(strip.convert(mode))
    return np.asarray(strip.convert("RGB"))


def turned(pixels: Pixels, transform: object | None) -> Pixels:
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


def upright(pixels: Pixels, orientation: int) -> Pixels:
    """Stored pixels as they are to be seen, by EXIF orientation."""
    turn = _TURNS.get(orientation)
    return turn(pixels) if turn else pixels


DECODERS: dict[SourceFormat, Callable[[bytes], Pixels]] = {
    "jpeg": _decode_jpeg,
    "png": _decode_png,
    "webp": _decode_webp,
    "tiff": _decode_tiff,
    "bmp": _decode_bmp,
    "gif": _decode_gif,
}
"""The decoder of each format that is decoded in this process; the others are decoded in one of their own."""
