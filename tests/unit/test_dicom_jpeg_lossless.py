"""Lossless JPEG as DCMTK writes it gives the pixels of the uncompressed object, in colour and in grey."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from service.dicom.frames import frames_of
from service.dicom.source import is_lossy, read_source
from service.errors import UndecodableImage
from tests import dicom_files as objects

SOURCES = {
    "colour": objects.endoscopic(),
    "frames": objects.multi_frame(2),
    "grey-8": objects.grey(8),
    "grey-12": objects.grey(12),
    "grey-16": objects.grey(16),
    "inverted": objects.grey(8, "MONOCHROME1"),
    "palette": objects.in_palette(objects.photographic()),
}
PREDICTORS = {"first": ["+e1"], "any": ["+el", "+sv", "6"]}


def encoded(made: Dataset, folder: Path, options: list[str]) -> bytes:
    plain, coded = folder / "plain.dcm", folder / "coded.dcm"
    plain.write_bytes(objects.as_file(made))
    subprocess.run(["dcmcjpeg", *options, str(plain), str(coded)], check=True)
    return coded.read_bytes()


@pytest.mark.parametrize("predictor", PREDICTORS)
@pytest.mark.parametrize("kind", SOURCES)
def test_the_pixels_are_those_of_the_uncompressed_object(kind: str, predictor: str, tmp_path: Path) -> None:
    made = SOURCES[kind]
    source = read_source(encoded(made, tmp_path, PREDICTORS[predictor]), max_pixels=10**6)
    plain = read_source(objects.as_file(made), max_pixels=10**6)
    assert source.transfer_syntax.name.startswith("JPEG Lossless")
    assert not is_lossy(source)
    found, expected = list(frames_of(source)), list(frames_of(plain))
    assert len(found) == len(expected)
    assert all(np.array_equal(one, other) for one, other in zip(found, expected, strict=True))


def test_a_frame_that_is_cut_off_or_of_another_size_is_refused(tmp_path: Path) -> None:
    body = encoded(objects.endoscopic(), tmp_path, ["+e1"])
    source = read_source(body, max_pixels=10**6)
    pixels = source.dataset.PixelData
    taller = pixels.replace(b"\x00\x40\x00\x60\x03", b"\x0f\x40\x00\x60\x03")
    for changed in (pixels[:200] + bytes(len(pixels) - 200), taller):
        assert changed != pixels
        source.dataset.PixelData = changed
        with pytest.raises(UndecodableImage):
            list(frames_of(source))
