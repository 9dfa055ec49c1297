"""Files as cameras, phones and programs write them: each gives the picture, or a sentence that names it."""

from __future__ import annotations

import struct
import threading
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from service.errors import ImageDimensions, UndecodableImage, UnsupportedType
from service.imaging import isolated
from service.imaging.cicp import profile_of_codes
from service.imaging.codecs import decode, output_format
from service.imaging.headers import read_header
from tests.fuzz import mutations, outcome, seeds
from tests.hostile import case, photo_pixels, png, png_chunk, saved
from tests.live import decoded

CASES = Path(__file__).parents[1] / "data" / "cases"
BASE = decoded(case("base.png"))
EXACT, LOSSY = 0.0, 2.0

PICTURES = {
    "base.png": EXACT,
    "iphone.heic": LOSSY,
    "android.avif": LOSSY,
    "photo.jxl": EXACT,
    "cmyk-no-adobe-inverted-store.jpg": LOSSY,
    "twelve-bit.jpg": LOSSY,
    "samsung-panorama-no-eoi-trailer.jpg": LOSSY,
    "no-eoi-clean.jpg": LOSSY,
    "tiff-thumbnail-first.tif": EXACT,
    "v5-bitfields-alpha0.bmp": EXACT,
    "png-alpha-all-zero.png": EXACT,
    "dnl-height-0.jpg": LOSSY,
    "exif-6-raw-profile-ztxt.png": EXACT,
    "xmp-only-6.jpg": LOSSY,
    "rle8.bmp": LOSSY,
    "cielab.tif": LOSSY,
}
"""The mean difference from the picture that each file's coding accounts for, in grey levels."""

NAMED = {
    "webp-tiff.tif": (UndecodableImage, "compressed with WebP, which is not read: save it with"),
    "jpegls.jls": (UnsupportedType, "a JPEG-LS file, which is not read: send"),
    "cgbi-ios.png": (UndecodableImage, "a PNG for iOS apps alone .CgBI., which is not read: send"),
}


def mean_difference(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> float:
    assert first.shape == second.shape
    return float(np.abs(first.astype(np.int16) - second).mean())


@pytest.mark.parametrize("name", PICTURES)
def test_a_file_that_people_send_gives_its_picture(name: str) -> None:
    assert mean_difference(decode(case(name)).pixels, BASE) <= PICTURES[name]


@pytest.mark.parametrize("name", NAMED)
def test_what_is_not_read_is_named_with_what_to_do(name: str) -> None:
    error, words = NAMED[name]
    with pytest.raises(error, match=words):
        decode(case(name))


def test_every_case_is_tried() -> None:
    tried = {*PICTURES, *NAMED, "gif.gif", "cicp-p3.png"}
    assert {path.name for path in CASES.iterdir() if path.suffix != ".md"} == tried


def test_a_gif_gives_its_first_frame_in_the_colours_it_has() -> None:
    shown = decode(case("gif.gif")).pixels
    with Image.open(CASES / "gif.gif") as image:
        assert np.array_equal(shown, np.asarray(image.convert("RGB")))
    assert mean_difference(cv2.blur(shown, (15, 15)), cv2.blur(BASE, (15, 15))) < 4


def to_srgb_of_p3(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Display P3 to sRGB by the matrix of CSS Color 4, section 17."""
    matrix = np.array(((1.2249401, -0.2249402, 0.0), (-0.0420569, 1.0420571, 0.0), (-0.0196376, -0.0786361, 1.0982735)))
    encoded = pixels / 255.0
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    linear = np.clip(linear @ matrix.T, 0, 1)
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.rint(srgb * 255).astype(np.uint8)


def test_a_png_of_display_p3_by_cicp_is_converted_to_srgb() -> None:
    shown = decode(case("cicp-p3.png")).pixels
    assert mean_difference(shown, to_srgb_of_p3(BASE)) < 0.6
    assert np.abs(shown.astype(np.int16) - to_srgb_of_p3(BASE)).max() <= 3


def test_codes_that_mean_srgb_need_no_profile_and_high_dynamic_range_is_named() -> None:
    assert profile_of_codes(1, 13) is None
    assert profile_of_codes(2, 2) is None
    with pytest.raises(UndecodableImage, match=r"high dynamic range \(PQ\), which is not read"):
        profile_of_codes(9, 16)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (bytes(128) + b"DICM" + bytes(200), "This is a DICOM file, which is not read: export"),
        (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(60), "This is a JPEG 2000 file"),
        (b"\0\0\0\x20ftypmp42\0\0\0\0mp42isom" + bytes(60), "This is a video, which is not read: send one frame"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom" + bytes(60), "This is a Canon raw file"),
        (b"%PDF-1.7" + bytes(60), "This is a PDF file"),
        (b"data:image/jpeg;base64,/9j/4AAQ", "This is a data URL in text file, which is not read: decode its base64"),
        (b"Say aah.", "The bytes are not a JPEG, PNG, WebP, TIFF, BMP, GIF, HEIC, AVIF or JPEG XL image"),
    ],
)
def test_files_of_other_kinds_are_named(body: bytes, words: str) -> None:
    with pytest.raises(UnsupportedType, match=words):
        decode(body)


def test_what_is_only_read_is_answered_as_jpeg_or_losslessly_as_png() -> None:
    assert [output_format("same", form, 9, 9) for form in ("heic", "avif", "jxl")] == ["jpeg"] * 3
    assert output_format("same", "gif", 9, 9) == "png"
    assert output_format("webp", "heic", 9, 9) == "webp"


@pytest.mark.parametrize(
    "declared", ["image/heif", "image/heic", "image/heic-sequence", "application/x-www-form-urlencoded"]
)
def test_a_heic_goes_by_each_of_its_names(declared: str) -> None:
    assert decode(case("iphone.heic"), declared).format == "heic"


def test_an_avif_is_turned_upright_once() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = np.rot90(photo_pixels(), 1)
    body = saved(stored, "AVIF", exif=exif, quality=100, subsampling="4:4:4", speed=10)
    assert mean_difference(decode(body).pixels, photo_pixels()) < 2


def test_an_avif_in_display_p3_is_converted_to_srgb() -> None:
    body = saved(
        photo_pixels(), "AVIF", quality=100, subsampling="4:4:4", speed=10, icc_profile=profile_of_codes(12, 13)
    )
    assert mean_difference(decode(body).pixels, to_srgb_of_p3(photo_pixels())) < 2
    named = case("android.avif").replace(b"colrnclx\0\1", b"colrnclx\0\x0c")
    assert mean_difference(decode(named).pixels, to_srgb_of_p3(BASE)) < 3


def test_a_progressive_jpeg_without_its_last_scan_has_lost_data() -> None:
    body = saved(photo_pixels(), "JPEG", progressive=True)
    assert np.array_equal(decode(body[:-2]).pixels, decode(body).pixels)
    with pytest.raises(UndecodableImage, match="some of its scans are missing"):
        decode(body[: body.rindex(b"\xff\xda")])


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_a_grey_or_cmyk_jpeg_without_its_end_is_shown(mode: str) -> None:
    whole = (
        saved(np.asarray(Image.fromarray(photo_pixels()).convert(mode)), "JPEG")
        if mode == "L"
        else case("cmyk-no-adobe-inverted-store.jpg")
    )
    assert np.array_equal(decode(whole[:-2]).pixels, decode(whole).pixels)


@pytest.mark.parametrize(
    "trailer", [b"\0\0\0\x18ftypmp42\xff\x24\xff\xd9 film", bytes(64), b"\xff\xd8\xff\xe1\0\x04ab"]
)
def test_a_trailer_in_place_of_the_end_is_passed_over_and_lost_data_before_it_are_not(trailer: bytes) -> None:
    whole = saved(photo_pixels(), "JPEG")
    assert np.array_equal(decode(whole[:-2] + trailer).pixels, decode(whole).pixels)
    with pytest.raises(UndecodableImage):
        decode(whole[: len(whole) * 2 // 3] + trailer)


def test_orientation_in_plain_text_chunks_and_png_xmp_counts() -> None:
    upright = photo_pixels()
    raw = b"".join(b"\0" + row.tobytes() for row in np.rot90(upright, 1))
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0"
    text = b"\nexif\n%8d\n" % len(exif) + exif.hex().encode() + b"\n"
    xmp = b"<x tiff:Orientation='6'/>"
    chunks = [
        png_chunk(b"tEXt", b"Raw profile type exif\0" + text),
        png_chunk(b"zTXt", b"Raw profile type APP1\0\0" + zlib.compress(text)),
        png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp),
        png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(xmp)),
    ]
    for chunk in chunks:
        assert np.array_equal(decode(png(120, 160, raw=raw, before=(chunk,))).pixels, upright)


def test_exif_outranks_xmp() -> None:
    body = case("xmp-only-6.jpg")
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\1\0\0\0\0\0\0"
    with_exif = body[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + body[2:]
    assert decode(with_exif).pixels.shape == (240, 136, 3)


def test_sizes_are_known_before_anything_is_decoded() -> None:
    for name in ("iphone.heic", "android.avif", "photo.jxl", "gif.gif"):
        header = read_header(case(name))
        assert (header.width, header.height, header.pixels) == (240, 136, 240 * 136)
        with pytest.raises(ImageDimensions):
            decode(case(name), max_pixels=240 * 136 - 1)


def test_a_decoder_that_dies_refuses_the_file_and_the_next_one_is_read() -> None:
    decode(case("iphone.heic"))
    decoder = isolated._DECODERS._idle[-1]
    process = decoder._process
    assert process is not None
    process.kill()
    process.wait()
    assert decode(case("iphone.heic")).format == "heic"
    assert decoder._process is not process


def test_a_decoder_that_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    decode(case("iphone.heic"))
    process = isolated._DECODERS._idle[-1]._process
    assert process is not None
    monkeypatch.setattr(isolated, "DECODE_TIMEOUT_S", 0.05)
    process.send_signal(19)  # SIGSTOP: as slow as can be
    with pytest.raises(UndecodableImage, match="too long"):
        decode(case("iphone.heic"))
    monkeypatch.undo()
    assert decode(case("iphone.heic")).format == "heic"


def test_several_files_are_decoded_at_once_in_their_own_processes() -> None:
    results: list[object] = []

    def work() -> None:
        results.append(decode(case("android.avif")).pixels.mean())

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 6
    assert len(set(results)) == 1


@pytest.mark.parametrize("name", seeds())
def test_mutated_files_are_shown_or_refused_and_sound_ones_still_shown(name: str) -> None:
    for body in mutations(name, 60):
        outcome(body)
    assert outcome(seeds()[name][0]) == "shown"


def test_a_seed_gives_the_same_files() -> None:
    assert list(mutations("heic", 5)) == list(mutations("heic", 5))
