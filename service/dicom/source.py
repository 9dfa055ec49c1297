"""DICOM objects as they come in: what they are is checked in full before a pixel is decoded.

A file may be hostile. The transfer syntax is read first, so that nothing is inflated; dimensions are held to the pixel
limit before frames are decoded, and each compressed frame's own dimensions to the object's. No message repeats a value
of the object other than the names of classes, transfer syntaxes and numbers.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import pydicom
from pydicom import config
from pydicom.dataset import Dataset
from pydicom.uid import UID, SecondaryCaptureImageStorage

from service.dicom.answer import is_dicom
from service.dicom.served import (
    COLOUR,
    GREY,
    LOSSY_METHODS,
    NATIVE,
    PALETTE,
    SC_CLASSES,
    SERVED_CLASSES,
    SERVED_TRANSFER_SYNTAXES,
    class_name,
)
from service.errors import ImageDimensions, LameganError, MissingImage, UndecodableImage, UnsupportedType

PREAMBLE_BYTES = 128

# Values are carried over as they are and never quoted in a warning; what this package writes itself is checked by
# dciodvfy in the tests.
config.settings.reading_validation_mode = config.IGNORE
config.settings.writing_validation_mode = config.IGNORE
config.logger.disabled = True


@dataclass(frozen=True, slots=True)
class SourceObject:
    """One image object, checked but not decoded.

    Attributes:
        dataset: everything the object says.
        body: the file it came as.
        transfer_syntax: of the pixel data.
        photometric: photometric interpretation, one of those served.
        width, height: of a frame, pixels.
        frames: at least 1.
    """

    dataset: Dataset
    body: bytes
    transfer_syntax: UID
    photometric: str
    width: int
    height: int
    frames: int

    @property
    def sop_class(self) -> UID:
        """SOP Class UID."""
        return UID(str(self.dataset.SOPClassUID))

    @property
    def sop_instance(self) -> UID:
        """SOP Instance UID."""
        return UID(str(self.dataset.SOPInstanceUID))

    @property
    def pixels(self) -> int:
        """Pixels of all frames together."""
        return self.width * self.height * self.frames


def read_source(body: bytes, *, max_pixels: int) -> SourceObject:
    """The image object in `body`.

    Args:
        body: a whole DICOM file.
        max_pixels: most pixels of all frames together.

    Raises:
        MissingImage: `body` is empty, or the object holds no pixel data.
        UnsupportedType: a SOP class, transfer syntax or kind of pixels that is not served.
        ImageDimensions: more than `max_pixels`.
        UndecodableImage: damaged, or it contradicts itself.
    """
    dataset = read_dataset(body)
    try:
        return _checked(dataset, body, max_pixels)
    except LameganError:
        raise
    # Attributes of hostile objects fail to convert in nearly any way; each means that the object cannot be read.
    except Exception as error:
        raise UndecodableImage("The DICOM object's attributes are damaged or missing.") from error


def read_dataset(body: bytes) -> Dataset:
    """The dataset in `body`, of any class, in a transfer syntax that is served.

    Raises:
        MissingImage, UnsupportedType, UndecodableImage: see `read_source`.
    """
    if not body:
        raise MissingImage("The image is empty.")
    if not is_dicom(body):
        raise UnsupportedType("The bytes are not a DICOM file.")
    syntax = transfer_syntax_of(body)
    if syntax not in SERVED_TRANSFER_SYNTAXES:
        name = syntax.name if syntax.is_valid and not syntax.is_private else "a private one"
        raise UnsupportedType(f"The object's transfer syntax is not served: {name}.")
    try:
        return pydicom.dcmread(BytesIO(body))
    except Exception as error:  # hostile bytes raise nearly anything
        raise UndecodableImage("The DICOM object is damaged or cut off.") from error


def transfer_syntax_of(body: bytes) -> UID:
    """Transfer Syntax UID from the File Meta Information of `body`; nothing behind that is read.

    Raises:
        UndecodableImage: the File Meta Information is damaged.
    """
    try:
        group, element, kind, _, length = struct.unpack_from("<HH2sHI", body, PREAMBLE_BYTES + 4)
        if (group, element, kind) != (2, 0, b"UL"):
            raise UndecodableImage("The DICOM file lacks the length of its File Meta Information.")
        meta = pydicom.dcmread(BytesIO(body[: PREAMBLE_BYTES + 4 + 12 + length])).file_meta
        return UID(str(meta.TransferSyntaxUID))
    except UndecodableImage:
        raise
    except Exception as error:  # hostile bytes raise nearly anything
        raise UndecodableImage("The DICOM file's File Meta Information is damaged.") from error


def _checked(dataset: Dataset, body: bytes, max_pixels: int) -> SourceObject:
    sop_class = str(dataset.get("SOPClassUID", ""))
    if sop_class not in SERVED_CLASSES:
        raise UnsupportedType(f"The object's class is not served: {class_name(sop_class)}.")
    if "PixelData" not in dataset:
        raise MissingImage("The object holds no pixel data.")
    for keyword in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
        if not UID(str(dataset.get(keyword, ""))).is_valid:
            raise UndecodableImage(f"The object's {keyword} is missing or not valid.")
    found = SourceObject(
        dataset=dataset,
        body=body,
        transfer_syntax=UID(str(dataset.file_meta.TransferSyntaxUID)),
        photometric=str(dataset.get("PhotometricInterpretation", "")),
        width=int(dataset.Columns),
        height=int(dataset.Rows),
        frames=int(dataset.get("NumberOfFrames", None) or 1),
    )
    _check_size(found, max_pixels)
    _check_samples(dataset, found.photometric)
    _check_length(found)
    return found


def _check_size(found: SourceObject, max_pixels: int) -> None:
    if min(found.width, found.height, found.frames) < 1:
        raise UndecodableImage("The object has no pixels: a side or the number of frames is zero.")
    if found.pixels > max_pixels:
        raise ImageDimensions(
            "The image has too many pixels, all frames counted.", limit=max_pixels, actual=found.pixels
        )


def _check_samples(dataset: Dataset, photometric: str) -> None:
    """Refuse what is not 8-bit colour, an 8- or 16-bit palette, or grey of up to 16 bits."""
    samples, allocated = int(dataset.SamplesPerPixel), int(dataset.BitsAllocated)
    stored = int(dataset.get("BitsStored", allocated))
    grey = photometric in GREY and samples == 1 and allocated in (8, 16) and 1 <= stored <= allocated
    palette = photometric == PALETTE and samples == 1 and allocated in (8, 16)
    colour = photometric in COLOUR and samples == 3 and allocated == 8 and stored == 8
    if not (grey or palette or colour):
        raise UnsupportedType(
            "Pixels of this kind are not served: colour has 3 samples of 8 bits, grey and palette 1 sample of 8 or 16.",
            samples=samples,
            bits_allocated=allocated,
            bits_stored=stored,
        )
    if grey and any(dataset.get(keyword, None) for keyword in ("ModalityLUTSequence", "VOILUTSequence")):
        raise UnsupportedType("Grey levels through a lookup table are not served; a window and a rescale slope are.")


def _check_length(found: SourceObject) -> None:
    """Refuse uncompressed pixel data shorter than its dimensions say, before room for them is made."""
    if found.transfer_syntax not in NATIVE:
        return
    dataset = found.dataset
    samples = 2 if found.photometric == "YBR_FULL_422" else int(dataset.SamplesPerPixel)
    expected = found.pixels * samples * (int(dataset.BitsAllocated) // 8)
    if len(dataset.PixelData) < expected:
        raise UndecodableImage("The object's pixel data is cut off.", limit=expected, actual=len(dataset.PixelData))


def is_lossy(found: SourceObject) -> bool:
    """Whether the image has been through lossy compression at any time, as far as the object tells."""
    said = str(found.dataset.get("LossyImageCompression", "")).strip() == "01"
    return said or found.transfer_syntax in LOSSY_METHODS


def is_multiframe_class(found: SourceObject) -> bool:
    """Whether the object's class is a multi-frame Secondary Capture."""
    return found.sop_class in SC_CLASSES and found.sop_class != SecondaryCaptureImageStorage


def text(dataset: Dataset, keyword: str) -> str:
    """One attribute as text, empty when absent; only for attributes that carry nothing personal."""
    value: Any = dataset.get(keyword, None)
    return "" if value is None else str(value)


def uids_of(body: bytes) -> tuple[str, str]:
    """SOP class and SOP instance UID of a DICOM file, as its File Meta Information says."""
    meta = pydicom.dcmread(BytesIO(body), stop_before_pixels=True, specific_tags=["SOPInstanceUID"]).file_meta
    return str(meta.MediaStorageSOPClassUID), str(meta.MediaStorageSOPInstanceUID)
