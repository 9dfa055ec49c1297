"""Decoding of every odd kind of image, and encoding that gives nothing away."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from io import BytesIO

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageFile, ImageOps

from service.errors import (
    BadRequest,
    ImageDimensions,
    InvalidParameter,
    MissingImage,
    UndecodableImage,
    UnsupportedType,
)
from service.imaging.codecs import MEDIA_TYPES, WRITTEN, decode, encode, output_format
from service.imaging.exif import exif_orientation
from service.imaging.headers import MAX_FRAMES_WALKED, SourceFormat, read_header
from service.imaging.jpeg_header import MAX_SCANS, MAX_SEGMENTS, jpeg_facts
from tests.hostile import (
    animated_webp,
    good_files,
    grey_tiff_tags,
    paged_tiff,
    photo_pixels,
    png,
    png_chunk,
    saved,
    tiff,
)

Array = NDArray[np.uint8]

TURN_BACK = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""How an upright picture is stored under each EXIF orientation."""


def exif_of(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = "SENTINEL-MAKER"
    return exif


def difference(first: Array, second: Array) -> int:
    assert first.shape == second.shape
    return int(np.abs(first.astype(np.int16) - second.astype(np.int16)).max())


@pytest.mark.parametrize("orientation", TURN_BACK)
@pytest.mark.parametrize("form", ["PNG", "WEBP", "TIFF"])
def test_a_lossless_photo_of_any_orientation_comes_out_upright(form: str, orientation: int) -> None:
    turn = TURN_BACK[orientation]
    upright = Image.fromarray(photo_pixels())
    stored = upright.transpose(turn) if turn is not None else upright
    body = saved(np.asarray(stored), form, exif=exif_of(orientation), **({"lossless": True} if form == "WEBP" else {}))
    assert np.array_equal(decode(body).pixels, photo_pixels())


@pytest.mark.parametrize("orientation", TURN_BACK)
def test_a_jpeg_of_any_orientation_is_turned_as_pillow_turns_it(orientation: int) -> None:
    body = saved(photo_pixels(), "JPEG", exif=exif_of(orientation), quality=95)
    with Image.open(BytesIO(body)) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    assert np.array_equal(decode(body).pixels, expected)


@pytest.mark.parametrize("orientation", TURN_BACK)
def test_a_16_bit_tiff_is_turned_upright_once(orientation: int) -> None:
    turn = TURN_BACK[orientation]
    upright = Image.fromarray(photo_pixels())
    stored = np.asarray(upright.transpose(turn) if turn is not None else upright)
    height, width = stored.shape[:2]
    data = (stored.astype("<u2") * 257).tobytes() + struct.pack("<HHH", 16, 16, 16)
    tags = grey_tiff_tags(width, height) | {
        0x102: (3, 3, 8 + len(data) - 6),
        0x106: (3, 1, 2),
        0x112: (3, 1, orientation),
        0x115: (3, 1, 3),
        0x117: (4, 1, len(data) - 6),
    }
    photo = decode(tiff(tags, data=data))
    assert np.array_equal(photo.pixels, photo_pixels())
    assert photo.bits == 16


@pytest.mark.parametrize("quality", [60, 95])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_a_jpeg_is_decoded_as_pillow_decodes_it(quality: int, progressive: bool, subsampling: int) -> None:
    body = saved(photo_pixels(), "JPEG", quality=quality, progressive=progressive, subsampling=subsampling)
    with Image.open(BytesIO(body)) as image:
        assert difference(decode(body).pixels, np.asarray(image)) == 0


def test_a_grey_jpeg_has_three_equal_channels() -> None:
    grey = photo_pixels()[..., 0]
    body = saved(grey, "JPEG", quality=95)
    pixels = decode(body).pixels
    with Image.open(BytesIO(body)) as image:
        assert np.array_equal(pixels, np.repeat(np.asarray(image)[..., None], 3, axis=2))


def cmyk_jpeg(inks: Array, *, adobe: bool) -> bytes:
    """A CMYK JPEG, inverted as all writers store it, with Adobe's marker or without."""
    buffer = BytesIO()
    Image.fromarray(inks, "CMYK").save(buffer, "JPEG", quality=100, subsampling=0)
    body = buffer.getvalue()
    if adobe:
        return body
    at = body.index(b"\xff\xee")
    return body[:at] + body[at + 2 + int.from_bytes(body[at + 2 : at + 4], "big") :]


@pytest.mark.filterwarnings("ignore:'mode' parameter is deprecated:DeprecationWarning")
@pytest.mark.parametrize("adobe", [True, False])
def test_a_cmyk_jpeg_has_the_colours_of_its_inks(adobe: bool) -> None:
    inks = np.dstack([photo_pixels(), photo_pixels()[..., 0] // 4])
    body = cmyk_jpeg(inks, adobe=adobe)
    assert jpeg_facts(body).adobe is adobe
    paper = 255 - inks.astype(np.float64)
    expected = np.rint(paper[..., :3] * paper[..., 3:] / 255).astype(np.uint8)
    assert difference(decode(body).pixels, expected) <= 4


SCAN = b"\xff\xda"


def test_what_lies_behind_a_jpeg_or_in_its_segments_is_no_scan_of_it() -> None:
    film, thumbnail = SCAN * 100_000, SCAN * 5_000
    body = good_files()["jpeg"]
    frame = body.index(b"\xff\xc0")
    segment = b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail
    for odd in (body + film, body[:2] + segment + body[2:], body[:frame] + segment + body[frame:], body + segment):
        assert np.array_equal(decode(odd).pixels, decode(body).pixels)


@pytest.mark.parametrize(
    "between", [b"", b"\xff", b"\xff\0", b"\xff\xd3", b"\xff\xfe\0\x06\xff\xd9\xff\xd9", b"\xff\xfe\0\0"]
)
def test_scans_are_counted_whatever_lies_between_them(between: bytes) -> None:
    body = saved(photo_pixels(), "JPEG", progressive=True)
    scan = body[body.rindex(SCAN) : -2] + between
    present = sum(body.count(SCAN + bytes((0, length))) for length in (8, 10, 12))
    assert read_header(body[:-2] + scan * (MAX_SCANS - present) + b"\xff\xd9").format == "jpeg"
    with pytest.raises(UndecodableImage, match="64 scans"):
        read_header(body[:-2] + scan * (MAX_SCANS - present + 1) + b"\xff\xd9")


@pytest.mark.parametrize(
    ("before", "segment"),
    [(b"\xff\xdb", b"\xff\xe0\0\x02"), (b"\xff\xdb", b"\xff\x01"), (SCAN, b"\xff\xe0\0\x02")],
    ids=["in front", "bare", "behind the frame"],
)
def test_a_jpeg_of_hardly_anything_but_segments_is_given_up(before: bytes, segment: bytes) -> None:
    body = good_files()["jpeg"]
    at = body.index(before)
    with pytest.raises(UndecodableImage, match="far too many segments"):
        decode(body[:at] + segment * (MAX_SEGMENTS + 1) + body[at:])


def test_transparent_places_of_a_palette_are_black() -> None:
    indices = (photo_pixels()[..., 0] // 64).astype(np.uint8)
    palette = np.array([[250, 10, 10], [10, 250, 10], [10, 10, 250], [200, 200, 200]], np.uint8)
    image = Image.new("P", indices.shape[::-1])
    image.putpalette(palette.tobytes())
    image.putdata(indices.ravel().tolist())
    buffer = BytesIO()
    image.save(buffer, "PNG", transparency=bytes((255, 255, 0, 128)))
    expected = palette[indices].astype(np.float64)
    expected[indices == 2] = 0
    expected[indices == 3] *= 128 / 255
    assert np.array_equal(decode(buffer.getvalue()).pixels, np.rint(expected).astype(np.uint8))


@pytest.mark.parametrize("form", ["PNG", "WEBP", "TIFF"])
def test_alpha_is_laid_on_black(form: str) -> None:
    alpha = np.linspace(0, 255, 160).astype(np.uint8)[None, :].repeat(120, axis=0)
    rgba = np.dstack([photo_pixels(), alpha])
    body = saved(rgba, form, **({"lossless": True, "exact": True} if form == "WEBP" else {}))
    expected = np.rint(photo_pixels() * (alpha[..., None] / 255.0))
    assert difference(decode(body).pixels, expected.astype(np.uint8)) <= 1


def test_grey_with_alpha_is_laid_on_black() -> None:
    alpha = np.full((120, 160), 100, np.uint8)
    body = saved(np.dstack([photo_pixels()[..., 0], alpha]), "PNG")
    expected = np.rint(photo_pixels()[..., :1] * (100 / 255.0)).astype(np.uint8).repeat(3, axis=2)
    assert difference(decode(body).pixels, expected) <= 1


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_a_grey_png_of_few_bits_spans_black_to_white(bits: int) -> None:
    levels = 2**bits
    values = np.arange(64) % levels
    packed = np.packbits(((values[:, None] >> np.arange(bits)[::-1]) & 1).astype(np.uint8).reshape(-1)).tobytes()
    pixels = decode(png(64, 64, bits=bits, colour=0, raw=(b"\0" + packed) * 64)).pixels
    assert np.array_equal(pixels[0, :, 0], (values * 255 // (levels - 1)).astype(np.uint8))


WIDE = np.random.default_rng(2).integers(0, 65_536, (70, 90, 4)).astype(np.uint16)
ROUNDED = np.rint(WIDE / 257).astype(np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_16_bit_samples_are_rounded_not_cut(suffix: str, channels: int) -> None:
    stored = WIDE[..., :channels] if channels == 3 else WIDE[..., 0]
    body = cv2.imencode(suffix, stored[..., ::-1] if channels == 3 else stored)[1].tobytes()
    expected = ROUNDED[..., :3] if channels == 3 else ROUNDED[..., :1].repeat(3, axis=2)
    photo = decode(body)
    assert np.array_equal(photo.pixels, expected)
    assert photo.bits == 16


def test_a_16_bit_png_with_alpha_is_rounded_and_laid_on_black() -> None:
    body = cv2.imencode(".png", WIDE[..., [2, 1, 0, 3]])[1].tobytes()
    expected = np.rint(ROUNDED[..., :3] * (ROUNDED[..., 3:] / 255.0)).astype(np.uint8)
    assert difference(decode(body).pixels, expected) <= 1


@pytest.mark.parametrize("bits", [8, 16])
def test_the_one_grey_that_a_png_declares_transparent_is_black(bits: int) -> None:
    grey = photo_pixels()[..., 0]
    scale = 257 if bits == 16 else 1
    rows = (grey.astype(np.uint16) * scale).astype(">u2" if bits == 16 else np.uint8)
    key = png_chunk(b"tRNS", struct.pack(">H", int(grey[10, 10]) * scale))
    body = png(160, 120, bits=bits, colour=0, raw=b"".join(b"\0" + row.tobytes() for row in rows), before=(key,))
    expected = np.where(grey == grey[10, 10], 0, grey)
    assert np.array_equal(decode(body).pixels, expected[..., None].repeat(3, axis=2))


@pytest.mark.parametrize("bits", [2, 4])
def test_the_transparent_grey_of_a_png_of_few_bits_is_black(bits: int) -> None:
    levels = np.arange(64 * 64).reshape(64, 64) % 2**bits
    packed = np.packbits((levels[..., None] >> np.arange(bits)[::-1] & 1).reshape(64, -1).astype(np.uint8), axis=1)
    rows = b"".join(b"\0" + row.tobytes() for row in packed)
    body = png(64, 64, bits=bits, colour=0, raw=rows, before=(png_chunk(b"tRNS", struct.pack(">H", 3)),))
    expected = np.where(levels == 3, 0, levels * (255 // (2**bits - 1)))
    assert np.array_equal(decode(body).pixels, expected[..., None].repeat(3, axis=2))


@pytest.mark.parametrize("bits", [8, 16])
def test_a_tiff_whose_zero_is_white_is_inverted(bits: int) -> None:
    grey = photo_pixels()[..., 0]
    data = (grey if bits == 8 else grey.astype("<u2") * 257).tobytes()
    tags = grey_tiff_tags(160, 120) | {
        0x102: (3, 1, bits),
        0x106: (3, 1, 0),
        0x117: (4, 1, len(data)),
    }
    pixels = decode(tiff(tags, data=data)).pixels
    assert np.array_equal(pixels, (255 - grey)[..., None].repeat(3, axis=2))


def profile_of(primaries: NDArray[np.float64], gamma: float) -> bytes:
    """A matrix profile (ICC.1:2001): `primaries` are the rows R, G, B of XYZ under D50."""

    def fixed(value: float) -> bytes:
        return struct.pack(">i", round(value * 65_536))

    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
    text = b"desc" + bytes(4) + struct.pack(">I", 5) + b"test\0" + bytes(12 + 67 + 3)
    elements = [
        (b"desc", text),
        (b"wtpt", b"XYZ " + bytes(4) + b"".join(map(fixed, (0.9642, 1.0, 0.8249)))),
        *(
            (b"%cXYZ" % name, b"XYZ " + bytes(4) + b"".join(map(fixed, row)))
            for name, row in zip(b"rgb", primaries, strict=True)
        ),
        *((b"%cTRC" % name, curve) for name in b"rgb"),
        (b"cprt", b"text" + bytes(4) + b"none\0" + bytes(3)),
    ]
    offset = 128 + 4 + 12 * len(elements)
    table, content = b"", b""
    for name, data in elements:
        data = data.ljust(-(-len(data) // 4) * 4, b"\0")
        table += name + struct.pack(">II", offset + len(content), len(data))
        content += data
    body = struct.pack(">I", len(elements)) + table + content
    head = struct.pack(">I4sI4s4s4s", 128 + len(body), b"test", 0x02400000, b"mntr", b"RGB ", b"XYZ ")
    head = (head + bytes(12) + b"acsp").ljust(68, b"\0") + b"".join(map(fixed, (0.9642, 1.0, 0.8249)))
    return head.ljust(128, b"\0") + body


ADOBE_RGB = np.array([[0.60974, 0.31111, 0.01947], [0.20528, 0.62567, 0.06087], [0.14919, 0.06322, 0.74457]])
"""Adobe RGB (1998), adapted to D50 (ICC profile as published by Adobe)."""

SRGB = np.array([[0.43607, 0.22249, 0.01392], [0.38515, 0.71687, 0.09708], [0.14307, 0.06061, 0.71410]])
"""IEC 61966-2-1 adapted to D50."""


def adobe_to_srgb(pixels: Array) -> Array:
    linear = (pixels / 255.0) ** (563 / 256) @ ADOBE_RGB @ np.linalg.inv(SRGB)
    linear = np.clip(linear, 0, 1)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.rint(encoded * 255).astype(np.uint8)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_a_profile_is_converted_to_srgb(form: str) -> None:
    options = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}.get(form, {})
    plain = saved(photo_pixels(), form, **options)
    tagged = saved(photo_pixels(), form, icc_profile=profile_of(ADOBE_RGB, 563 / 256), **options)
    expected = adobe_to_srgb(decode(plain).pixels)
    assert difference(decode(tagged).pixels, expected) <= 2
    assert difference(decode(tagged).pixels, photo_pixels()) > 10


def test_a_profile_of_a_16_bit_png_is_converted_too() -> None:
    body = bytearray(cv2.imencode(".png", photo_pixels()[..., ::-1].astype(np.uint16) * 257)[1].tobytes())
    tagged = saved(photo_pixels(), "PNG", icc_profile=profile_of(ADOBE_RGB, 563 / 256))
    start = tagged.index(b"iCCP") - 4
    chunk = tagged[start : start + 12 + int.from_bytes(tagged[start : start + 4], "big")]
    assert difference(decode(bytes(body[:33]) + chunk + bytes(body[33:])).pixels, adobe_to_srgb(photo_pixels())) <= 2


@pytest.mark.parametrize(
    "profile",
    [
        b"not a profile",
        profile_of(ADOBE_RGB, 2.2)[:200],
        profile_of(ADOBE_RGB, 2.2).replace(b"RGB ", b"CMYK"),
        ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
    ],
    ids=["garbage", "cut off", "of other pixels", "sRGB itself"],
)
@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF"])
def test_a_profile_that_is_broken_or_changes_nothing_is_ignored(form: str, profile: bytes) -> None:
    plain, tagged = saved(photo_pixels(), form), saved(photo_pixels(), form, icc_profile=profile)
    assert np.array_equal(decode(tagged).pixels, decode(plain).pixels)


def test_no_more_directories_of_a_tiff_are_walked_than_any_limit_needs() -> None:
    body = tiff(grey_tiff_tags(8, 8), following=8 + 64 + 2 + 12 * len(grey_tiff_tags(8, 8)) + 4)
    start = len(body)
    chain = b"".join(struct.pack("<HI", 0, start + 6 * (index + 1)) for index in range(MAX_FRAMES_WALKED + 9))
    assert read_header(body + chain).frames == MAX_FRAMES_WALKED


def test_large_metadata_refuse_no_picture() -> None:
    plain = saved(photo_pixels(), "PNG")
    long = np.random.default_rng(0).integers(32, 127, 3 << 20, np.uint8).tobytes()
    for chunk in (b"iCCP", b"p\0\0" + zlib.compress(long)), (b"zTXt", b"k\0\0" + zlib.compress(long)):
        assert np.array_equal(decode(plain[:33] + png_chunk(*chunk) + plain[33:]).pixels, photo_pixels())


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_jpeg_that_lost_data_in_its_middle_is_refused(mode: str) -> None:
    buffer = BytesIO()
    Image.fromarray(photo_pixels()).convert(mode).save(buffer, "JPEG", quality=95)
    whole = buffer.getvalue()
    middle = whole.index(b"\xff\xda") + 1500
    for lost in (whole[:middle] + b"\xff\xd9", whole[:middle] + bytes(300) + whole[middle + 300 :]):
        with pytest.raises(UndecodableImage):
            decode(lost)
    padded = whole[:-2] + bytes(3) + whole[-2:]
    assert np.array_equal(decode(padded).pixels, decode(whole).pixels)


def test_the_first_of_several_frames_is_used_and_all_are_counted() -> None:
    first, *others = (Image.fromarray(pixels) for pixels in (photo_pixels(), 255 - photo_pixels(), photo_pixels() // 2))
    for form, options in (("TIFF", {}), ("WEBP", {"lossless": True}), ("PNG", {})):
        buffer = BytesIO()
        first.save(buffer, form, save_all=True, append_images=others, **options)
        photo = decode(buffer.getvalue())
        assert photo.frames == 3
        assert np.array_equal(photo.pixels, photo_pixels())
        with pytest.raises(ImageDimensions) as refused:
            decode(buffer.getvalue(), max_pixels=3 * 120 * 160 - 1)
        assert refused.value.facts == {"limit": 57_599, "actual": 57_600}


def test_frames_are_counted_without_decoding_any() -> None:
    assert read_header(animated_webp(1000)).frames == 1000
    assert read_header(paged_tiff(1000)).pixels == 1000 * 240 * 240


@pytest.mark.parametrize("rows", [120, -120])
@pytest.mark.parametrize("bits", [24, 32])
def test_a_bmp_is_read_either_way_up(bits: int, rows: int) -> None:
    stored = photo_pixels()[..., ::-1]
    if bits == 32:
        stored = np.dstack([stored, np.zeros((120, 160), np.uint8)])
    stored = stored if rows < 0 else stored[::-1]
    header = struct.pack("<IiiHHIIiiII", 40, 160, rows, 1, bits, 0, 0, 0, 0, 0, 0)
    body = b"BM" + struct.pack("<IHHI", 54 + stored.size, 0, 0, 54) + header + stored.tobytes()
    assert np.array_equal(decode(body).pixels, photo_pixels())


@pytest.mark.parametrize("form", good_files())
def test_the_bytes_decide_and_the_declared_type_has_to_agree(form: SourceFormat) -> None:
    body, media_type = good_files()[form], MEDIA_TYPES[form]
    for declared in (None, "", "application/octet-stream", "image/*", media_type, f"{media_type.upper()}; q=1"):
        assert decode(body, declared).format == form
    for declared in ("image/gif", "text/plain", "image/", *(set(MEDIA_TYPES.values()) - {media_type})):
        with pytest.raises(UnsupportedType):
            decode(body, declared)


def test_exactly_the_pixel_limit_is_allowed() -> None:
    body = good_files()["png"]
    assert decode(body, max_pixels=120 * 160).pixels.shape == (120, 160, 3)
    with pytest.raises(ImageDimensions):
        decode(body, max_pixels=120 * 160 - 1)


def test_nothing_is_a_missing_image() -> None:
    with pytest.raises(MissingImage):
        decode(b"")


@pytest.mark.parametrize("form", good_files())
@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_damaged_file_is_served_or_refused_but_never_breaks_anything(form: str, data: st.DataObject) -> None:
    body = bytearray(good_files()[form])
    for _ in range(data.draw(st.integers(1, 6))):
        body[data.draw(st.integers(0, min(len(body), 700) - 1))] = data.draw(st.integers(0, 255))
    try:
        photo = decode(bytes(body), max_pixels=1_000_000)
    except BadRequest:
        return
    assert photo.pixels.dtype == np.uint8
    assert photo.pixels.shape[2] == 3


def test_decoding_leaves_pillow_as_it_was() -> None:
    before = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)
    for body in good_files().values():
        decode(body)
        with pytest.raises(UndecodableImage):
            decode(body[: len(body) // 2])
    assert before == (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)


@pytest.mark.parametrize(
    "block", [b"", b"Exif\0\0", b"Exif\0\0II*\0", b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x09\0\0"]
)
def test_an_exif_block_without_a_sound_orientation_means_upright(block: bytes) -> None:
    assert exif_orientation(block) == 1


@pytest.mark.parametrize("target", WRITTEN)
def test_encoding_gives_the_same_bytes_each_time_and_pixels_alone(target: SourceFormat) -> None:
    source = saved(photo_pixels(), "JPEG", exif=exif_of(3), icc_profile=profile_of(ADOBE_RGB, 2.2), comment=b"SENTINEL")
    pixels = decode(source).pixels
    encoded = encode(pixels, target)
    assert encoded == encode(pixels.copy(), target)
    assert read_header(encoded).format == target
    for secret in (b"SENTINEL", b"Exif", b"EXIF", b"ICC", b"iCCP", b"http"):
        assert secret not in encoded
    with Image.open(BytesIO(encoded)) as image:
        assert not {"exif", "icc_profile", "xmp", "comment"} & set(image.info)


@pytest.mark.parametrize("target", ["png", "tiff", "bmp"])
def test_lossless_formats_give_the_very_pixels_back(target: SourceFormat) -> None:
    assert np.array_equal(decode(encode(photo_pixels(), target)).pixels, photo_pixels())


@pytest.mark.parametrize("target", ["jpeg", "webp"])
def test_more_quality_means_more_bytes_and_less_error(target: SourceFormat) -> None:
    def encoded(quality: int) -> tuple[int, float]:
        body = encode(photo_pixels(), target, quality)
        return len(body), float(np.abs(decode(body).pixels.astype(float) - photo_pixels()).mean())

    sizes, errors = zip(*(encoded(quality) for quality in (20, 60, 95)), strict=True)
    assert sizes[0] < sizes[1] < sizes[2]
    assert errors[0] > errors[1] > errors[2]


def test_a_format_that_cannot_hold_the_image_is_refused() -> None:
    assert output_format("same", "tiff", 20_000, 100) == "tiff"
    with pytest.raises(InvalidParameter, match="16383"):
        output_format("webp", "png", 16_384, 100)


def _strided(pixels: Array) -> Array:
    return pixels[:, ::-1]


@pytest.mark.parametrize("view", [_strided, np.asfortranarray])
@pytest.mark.parametrize("target", WRITTEN)
def test_views_are_encoded_as_what_they_show(target: SourceFormat, view: Callable[[Array], Array]) -> None:
    shown = view(photo_pixels())
    assert encode(shown, target) == encode(np.ascontiguousarray(shown), target)
