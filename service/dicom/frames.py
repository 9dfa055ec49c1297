"""Frames of a DICOM object as (H, W, 3) uint8 sRGB, one at a time."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.multival import MultiValue
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut

from service.dicom.codestream import frame_size
from service.dicom.jpeg_lossless import plugin_of, register
from service.dicom.served import GREY, NATIVE, PALETTE
from service.dicom.source import SourceObject
from service.errors import LameganError, UndecodableImage
from service.imaging.icc import to_srgb
from service.pixels import Pixels

Stored = NDArray[np.generic]
Float = NDArray[np.float64]

WHITE = 255

register()


def frames_of(source: SourceObject) -> Iterator[Pixels]:
    """Each frame in order, as a viewer shows it first: grey levels through modality and VOI transformation.

    Raises:
        UndecodableImage: a frame is damaged, or its own size is another than the object's.
    """
    _check_frames(source)
    seen = 0
    try:
        plugin = plugin_of(source.transfer_syntax)
        for stored, _ in get_decoder(source.transfer_syntax).iter_array(source.dataset, decoding_plugin=plugin):
            seen += 1
            yield _shown(stored, source)
    except LameganError:
        raise
    # Decoders fed with hostile bytes raise nearly anything; whatever it is, it means that this object cannot be read.
    except Exception as error:
        raise UndecodableImage("A frame of the object is damaged or cut off.") from error
    if seen != source.frames:
        raise UndecodableImage("The object holds another number of frames than it says.")


def _check_frames(source: SourceObject) -> None:
    """Hold every compressed frame's own dimensions to the object's."""
    if source.transfer_syntax in NATIVE:
        return
    try:
        frames = list(generate_frames(BytesIO(source.dataset.PixelData), number_of_frames=source.frames))
    except Exception as error:  # hostile bytes raise nearly anything
        raise UndecodableImage("The object's compressed frames are damaged.") from error
    if len(frames) != source.frames:
        raise UndecodableImage("The object holds another number of frames than it says.")
    for frame in frames:
        size = frame_size(frame, source.transfer_syntax)
        if size is not None and size != (source.width, source.height):
            raise UndecodableImage("A frame's own size is another than the object's Rows and Columns.")


def _shown(stored: Stored, source: SourceObject) -> Pixels:
    dataset = source.dataset
    if source.photometric in GREY:
        grey = grey_levels(stored, dataset)
        pixels: Pixels = np.repeat(grey[..., None], 3, axis=2)
    elif source.photometric == PALETTE:
        pixels = _coloured(stored, dataset)
    else:
        pixels = np.ascontiguousarray(stored, dtype=np.uint8)
    if pixels.shape != (source.height, source.width, 3):
        raise UndecodableImage("A frame's own size is another than the object's Rows and Columns.")
    return _in_srgb(pixels, dataset) if source.photometric not in GREY else pixels


def _coloured(stored: Stored, dataset: Dataset) -> Pixels:
    """Palette indices as colours; entries of 16 bits keep their upper 8 (PS3.3 C.7.6.3.1.6)."""
    coloured = apply_color_lut(stored, dataset)
    entry_bits = coloured.dtype.itemsize * 8
    shifted: Pixels = (coloured >> (entry_bits - 8)).astype(np.uint8)
    return shifted


def _in_srgb(pixels: Pixels, dataset: Dataset) -> Pixels:
    profile = dataset.get("ICCProfile", None)
    transform = to_srgb(bytes(profile), "RGB") if profile else None
    if transform is None:
        return pixels
    return np.asarray(transform.apply(Image.fromarray(pixels)), dtype=np.uint8)


def grey_levels(stored: Stored, dataset: Dataset) -> Pixels:
    """Stored grey values as (H, W) uint8 through modality LUT, window and polarity (PS3.4 N.2).

    Without a window the range is that of the stored bits, never that of the image's own values.
    """
    values = np.asarray(apply_modality_lut(stored, dataset), dtype=np.float64)
    window = _window(dataset)
    shown = _windowed(values, *window) if window else _whole_range(values, dataset)
    if str(dataset.PhotometricInterpretation) == "MONOCHROME1":
        shown = WHITE - shown
    return np.clip(np.rint(shown), 0, WHITE).astype(np.uint8)


def _window(dataset: Dataset) -> tuple[float, float, str] | None:
    """Centre, width and function of the first window, if the object has one that can be used."""
    centre, width = (_first(dataset.get(keyword, None)) for keyword in ("WindowCenter", "WindowWidth"))
    function = str(dataset.get("VOILUTFunction", None) or "LINEAR").strip()
    if centre is None or width is None or function not in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        return None
    usable = width > 1 if function == "LINEAR" else width > 0
    return (centre, width, function) if usable else None


def _first(value: object) -> float | None:
    chosen = value[0] if isinstance(value, MultiValue) and value else value
    return None if chosen is None or isinstance(chosen, MultiValue) else float(str(chosen))


def _windowed(values: Float, centre: float, width: float, function: str) -> Float:
    """PS3.3 C.11.2.1.2.1 (linear) and C.11.2.1.3 (sigmoid, linear exact), with an output of 0 to 255."""
    if function == "SIGMOID":
        return WHITE / (1 + np.exp(np.clip(-4 * (values - centre) / width, -700, 700)))
    if function == "LINEAR_EXACT":
        return np.clip((values - centre) / width + 0.5, 0, 1) * WHITE
    return np.clip((values - (centre - 0.5)) / (width - 1) + 0.5, 0, 1) * WHITE


def _whole_range(values: Float, dataset: Dataset) -> Float:
    stored = int(dataset.get("BitsStored", dataset.BitsAllocated))
    signed = int(dataset.get("PixelRepresentation", 0)) == 1
    low, high = (-(2 ** (stored - 1)), 2 ** (stored - 1) - 1) if signed else (0, 2**stored - 1)
    slope, intercept = (_first(dataset.get(keyword, None)) for keyword in ("RescaleSlope", "RescaleIntercept"))
    ends = sorted((low * (1 if slope is None else slope)) + (intercept or 0) for low in (low, high))
    spread = ends[1] - ends[0]
    return (values - ends[0]) / spread * WHITE if spread > 0 else np.zeros_like(values)
