"""TIFF files of every layout: each is read right or refused, never wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from service.errors import BadRequest, UndecodableImage
from service.imaging.codecs import decode
from tests.hostile import grey_tiff_tags, photo_pixels, tiff
from tests.tiff_files import Layout, Samples, layouts, tiff_file

PREMULTIPLIED, PLAIN = 1, 2


@dataclass(frozen=True, slots=True)
class Meaning:
    """What the channels of a TIFF stand for: tags 262 and 338."""

    channels: int
    photometric: int
    extra: int | None = None

    @property
    def colours(self) -> int:
        return 3 if self.photometric == 2 else 1


READ = [
    Meaning(1, 0),
    Meaning(1, 1),
    Meaning(3, 2),
    *(Meaning(4, 2, extra) for extra in (None, 0, PREMULTIPLIED, PLAIN)),
]
GREY_AND_MORE = [Meaning(2, shade, extra) for shade in (0, 1) for extra in (None, 0, PREMULTIPLIED, PLAIN)]


def stored(meaning: Meaning, bits: int) -> Samples:
    """(130, 150, C) noise, colours multiplied with the opacity where the file says so."""
    most = 2**bits - 1
    kind = np.uint8 if bits == 8 else np.uint16
    samples = np.random.default_rng(3).integers(0, most + 1, (130, 150, meaning.channels)).astype(kind)
    if meaning.extra == PREMULTIPLIED:
        share = samples[..., -1:] / most
        samples[..., :-1] = np.rint(samples[..., :-1] * share)
    return samples


def truth(samples: Samples, meaning: Meaning) -> NDArray[np.float64]:
    """(H, W, 3), 0 to 255, not rounded: what the samples show on black."""
    light = samples / np.iinfo(samples.dtype).max
    colours = light[..., : meaning.colours]
    colours = 1 - colours if meaning.photometric == 0 else colours
    if meaning.channels > meaning.colours and meaning.extra in (None, PLAIN):
        colours = colours * light[..., -1:]
    return np.broadcast_to(colours * 255, (*colours.shape[:2], 3))


def off(body: bytes, expected: NDArray[np.float64]) -> float:
    return float(np.abs(decode(body).pixels - expected).max())


@pytest.mark.parametrize("layout", list(layouts()), ids=str)
@pytest.mark.parametrize("bits", [8, 16])
def test_a_tiff_of_any_layout_is_read_right(bits: int, layout: Layout) -> None:
    for meaning in READ:
        samples = stored(meaning, bits)
        body = tiff_file(samples, meaning.photometric, extra=meaning.extra, layout=layout)
        # Opacity is rounded to 8 bits before it multiplies.
        allowed = 1.5 if meaning.extra or meaning.channels == 4 else 0.5
        assert off(body, truth(samples, meaning)) <= allowed, meaning


@pytest.mark.parametrize("layout", list(layouts()), ids=str)
@pytest.mark.parametrize("bits", [8, 16])
def test_grey_with_a_second_channel_is_read_right_or_refused(bits: int, layout: Layout) -> None:
    for meaning in GREY_AND_MORE:
        samples = stored(meaning, bits)
        body = tiff_file(samples, meaning.photometric, extra=meaning.extra, layout=layout)
        if layout.planar:
            read = (meaning.photometric, meaning.extra) != (0, PREMULTIPLIED)
        else:
            read = bits == 8 and meaning.photometric == 1 and meaning.extra is not None
        if read:
            assert off(body, truth(samples, meaning)) <= 1.5, meaning
            continue
        with pytest.raises(UndecodableImage, match="read"):
            decode(body)


def test_the_writer_of_these_files_agrees_with_a_reader_of_another_house() -> None:
    for layout in layouts():
        if layout.compression in ("none", "deflate") and not layout.predictor:
            samples = stored(READ[2], 16)
            read = tifffile.imread(BytesIO(tiff_file(samples, 2, layout=layout)))
            assert np.array_equal(read.transpose(1, 2, 0) if layout.planar else read, samples)


TURNS: dict[int, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    1: lambda shown: shown,
    3: lambda shown: shown[::-1, ::-1],
    6: lambda shown: np.rot90(shown, -1),
}


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("meaning", [READ[0], READ[2]], ids=str)
def test_a_wide_tiff_is_turned_upright_once(meaning: Meaning, planar: bool, orientation: int) -> None:
    samples = stored(meaning, 16)
    layout = Layout(">", planar=planar)
    body = tiff_file(samples, meaning.photometric, layout=layout, orientation=orientation)
    assert off(body, TURNS[orientation](truth(samples, meaning))) <= 0.5


@pytest.mark.parametrize("bits", [8, 16])
def test_a_cmyk_tiff_has_the_same_colours_in_either_arrangement(bits: int) -> None:
    samples = stored(Meaning(4, 5), bits)
    light = 1 - samples / (2**bits - 1)
    for planar in (False, True):
        body = tiff_file(samples, 5, layout=Layout(planar=planar))
        assert off(body, light[..., :3] * light[..., 3:] * 255) <= (0.5 if bits == 8 else 2.1)


@pytest.mark.parametrize("photometric", [0, 1])
def test_planar_says_nothing_of_a_single_channel_of_one_bit(photometric: int) -> None:
    bright = photo_pixels()[..., 0] > 128
    data = np.packbits(bright, axis=1).tobytes()
    kind = {0x102: (3, 1, 1), 0x106: (3, 1, photometric), 0x117: (4, 1, len(data)), 0x11C: (3, 1, 2)}
    pixels = decode(tiff(grey_tiff_tags(160, 120) | kind, data=data)).pixels
    assert np.array_equal(pixels[..., 0], 255 * (bright if photometric else ~bright))


@pytest.mark.parametrize("channels", [2, 3, 5])
def test_channels_nobody_can_name_are_refused_by_that_reason(channels: int) -> None:
    samples = np.full((70, 90, channels), 30_000, np.uint16)
    for layout in (Layout(), Layout(planar=True)):
        with pytest.raises(UndecodableImage, match="read in grey"):
            decode(tiff_file(samples, 1 if channels < 5 else 2, extra=7, layout=layout))


def test_12_bits_are_refused_rather_than_shown_as_a_16th_of_their_light() -> None:
    data = b"\xff" * (160 * 120 * 3 // 2)
    tags = grey_tiff_tags(160, 120) | {0x102: (3, 1, 12), 0x117: (4, 1, len(data))}
    with pytest.raises(UndecodableImage, match="not read"):
        decode(tiff(tags, data=data))


@pytest.mark.parametrize("tag", [0x101, 0x102, 0x103, 0x111, 0x115, 0x117, 0x11C])
def test_a_planar_tiff_whose_tags_lie_is_served_or_refused(tag: int) -> None:
    body = tiff_file(stored(READ[2], 16), 2, layout=Layout(planar=True))
    kind = b"\x04\0" if tag in (0x101, 0x111, 0x117) else b"\x03\0"
    at = body.rindex(tag.to_bytes(2, "little") + kind)
    for count in (0, 1, 2, 7, 2**31):
        lying = body[: at + 4] + count.to_bytes(4, "little") + body[at + 8 :]
        try:
            assert decode(lying).pixels.shape == (130, 150, 3)
        except BadRequest:
            continue
