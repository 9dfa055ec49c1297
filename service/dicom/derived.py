"""The derived image: a new object in a new series of the same study, made of the source's attributes and new pixels.

Patient, study and what says where and how the picture was taken are carried over byte for byte; what describes the
source's pixels or its making is written anew. Source: DICOM PS3.3 A.8 (Secondary Capture), A.32 (VL), C.7.6.1 (derived
images), C.7.6.1.1.5 (lossy compression), C.12.1.1.5 (contributing equipment).
"""

from __future__ import annotations

from io import BytesIO

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    ExplicitVRLittleEndian,
    MultiFrameTrueColorSecondaryCaptureImageStorage,
    SecondaryCaptureImageStorage,
)

from service.dicom.carry_over import Carrier
from service.dicom.identity import (
    ACQUISITION_EQUIPMENT,
    ENHANCEMENT,
    IMPLEMENTATION_CLASS_UID,
    MANUFACTURER,
    SOURCE_IMAGE,
    Making,
    code_item,
    processing_equipment,
)
from service.dicom.served import LOSSY_METHODS, SC_CLASSES
from service.dicom.source import SourceObject, is_lossy
from service.pixels import Pixels

SERIES_DESCRIPTION = "Enhanced, research only"
SERIES_NUMBER_STEP = 1000
"""Added to the source's series number: the new series sorts behind those of the study."""

LARGEST_IS = 2**31 - 1
_EVEN = 2


def derived_image(source: SourceObject, frames: list[Pixels], making: Making, description: str) -> bytes:
    """The derived object as a file (PS3.10), Explicit VR Little Endian, RGB.

    Args:
        source: what the frames were made from.
        frames: (H, W, 3) uint8 sRGB each, of the source's size and number.
        making: model and options.
        description: Derivation Description, at most 1024 characters: what was done and how faithful it is.
    """
    made = Carrier(source.dataset).start()
    made.SOPClassUID = _sop_class(source)
    made.SOPInstanceUID = making.uid("image", source.sop_instance)
    made.SeriesInstanceUID = making.uid("image series", str(source.dataset.SeriesInstanceUID))
    made.SeriesNumber = next_series_number(source.dataset, SERIES_NUMBER_STEP)
    made.SeriesDescription = series_description(source.dataset)
    made.ImageType = _image_type(source.dataset)
    _describe_equipment(made, source, making, description)
    _describe_derivation(made, source, description)
    _describe_loss(made, source)
    _describe_pixels(made, source, frames)
    return write(made)


def write(made: Dataset) -> bytes:
    """`made` as a DICOM file."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = made.SOPClassUID
    meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = IMPLEMENTATION_CLASS_UID
    meta.ImplementationVersionName = MANUFACTURER.upper()
    made.file_meta = meta
    buffer = BytesIO()
    pydicom.dcmwrite(buffer, made, enforce_file_format=True)
    return buffer.getvalue()


def series_description(source: Dataset) -> str:
    """Series Description (LO): what it is, then the source's own words where they are plain ASCII and fit."""
    own = str(source.get("SeriesDescription", None) or "").strip()
    full = f"{SERIES_DESCRIPTION}: {own}" if own.isascii() and own.isprintable() and "\\" not in own else ""
    return full if own and full and len(full) <= 64 else SERIES_DESCRIPTION


def next_series_number(source: Dataset, step: int) -> int:
    """Series Number (IS) of a new series beside the source's."""
    try:
        number = int(source.get("SeriesNumber", None) or 0)
    except (TypeError, ValueError):
        number = 0
    return number + step if 0 <= number <= LARGEST_IS - step else step


def _sop_class(source: SourceObject) -> str:
    if source.sop_class in SC_CLASSES:
        plain = source.sop_class == SecondaryCaptureImageStorage and source.frames == 1
        return SecondaryCaptureImageStorage if plain else MultiFrameTrueColorSecondaryCaptureImageStorage
    return source.sop_class if source.frames == 1 else MultiFrameTrueColorSecondaryCaptureImageStorage


def _image_type(source: Dataset) -> list[str]:
    """Values 1 and 2 say what it is now; those from 3 on (a VL image's side of a stereo pair) hold as before."""
    kept = source.get("ImageType", None)
    values = [str(value) for value in kept] if kept is not None and not isinstance(kept, str) else []
    return ["DERIVED", "SECONDARY", *values[2:]]


def _describe_equipment(made: Dataset, source: SourceObject, making: Making, description: str) -> None:
    """This software made the series; whatever took the picture is kept as contributing equipment."""
    items = list(source.dataset.get("ContributingEquipmentSequence", None) or ())
    carrier = Carrier(source.dataset)
    acquired = carrier.equipment()
    if acquired is not None:
        acquired.PurposeOfReferenceCodeSequence = Sequence([code_item(ACQUISITION_EQUIPMENT)])
        items.append(acquired)
    items.append(processing_equipment(making, description))
    made.ContributingEquipmentSequence = Sequence(items)
    made.Manufacturer = MANUFACTURER
    made.ManufacturerModelName = making.model_name[:64]
    made.SoftwareVersions = making.versions
    made.DeviceUID = making.device_uid
    made.ContentQualification = "RESEARCH"


def _describe_derivation(made: Dataset, source: SourceObject, description: str) -> None:
    """General Reference (PS3.3 C.12.4) and Derivation: what was done, to which object."""
    reference = Dataset()
    reference.ReferencedSOPClassUID = source.sop_class
    reference.ReferencedSOPInstanceUID = source.sop_instance
    reference.SpatialLocationsPreserved = "YES"
    reference.PurposeOfReferenceCodeSequence = Sequence([code_item(SOURCE_IMAGE)])
    made.SourceImageSequence = Sequence([reference])
    made.DerivationDescription = description
    made.DerivationCodeSequence = Sequence([code_item(ENHANCEMENT)])


def _describe_loss(made: Dataset, source: SourceObject) -> None:
    """Lossy stays lossy (PS3.3 C.7.6.1.1.5.1), with every ratio and method known."""
    if not is_lossy(source):
        if source.sop_class not in SC_CLASSES or source.dataset.get("LossyImageCompression", None):
            made.LossyImageCompression = "00"
        return
    ratios, methods = (_listed(source.dataset, word) for word in ("Ratio", "Method"))
    if source.transfer_syntax in LOSSY_METHODS and len(ratios) == len(methods) == 0:
        methods = [LOSSY_METHODS[source.transfer_syntax]]
        ratios = [_ratio(source)]
    made.LossyImageCompression = "01"
    if ratios:
        made.LossyImageCompressionRatio = ratios
    if methods:
        made.LossyImageCompressionMethod = methods


def _listed(dataset: Dataset, word: str) -> list[str]:
    value = dataset.get(f"LossyImageCompression{word}", None)
    if value is None or value == "":
        return []
    return [str(value)] if isinstance(value, str | float | int) else [str(one) for one in value]


def _ratio(source: SourceObject) -> str:
    """Uncompressed to compressed size of the pixel data, as a decimal string."""
    dataset = source.dataset
    raw = source.pixels * int(dataset.SamplesPerPixel) * int(dataset.BitsAllocated) // 8
    return f"{raw / max(1, len(dataset.PixelData)):.3f}"


def _describe_pixels(made: Dataset, source: SourceObject, frames: list[Pixels]) -> None:
    made.SamplesPerPixel = 3
    made.PhotometricInterpretation = "RGB"
    made.PlanarConfiguration = 0
    made.Rows, made.Columns = source.height, source.width
    made.BitsAllocated, made.BitsStored, made.HighBit = 8, 8, 7
    made.PixelRepresentation = 0
    if made.SOPClassUID == MultiFrameTrueColorSecondaryCaptureImageStorage:
        _describe_frames(made, source)
    data = b"".join(frame.tobytes() for frame in frames)
    made.PixelData = data + b"\0" * (len(data) % _EVEN)
    made["PixelData"].VR = "OB"


def _describe_frames(made: Dataset, source: SourceObject) -> None:
    """Multi-frame modules (PS3.3 C.7.6.6, C.8.6.3): frames in time stay so."""
    made.NumberOfFrames = source.frames
    if not made.get("BurnedInAnnotation", None):
        made.BurnedInAnnotation = "YES"  # required here; YES is what may be said of a picture nobody looked at
    for keyword in ("FrameTime", "FrameTimeVector"):
        if source.dataset.get(keyword, None):
            made[keyword] = source.dataset[keyword]
            made.FrameIncrementPointer = source.dataset[keyword].tag
            return
    if source.frames > 1:
        made.PageNumberVector = list(range(1, source.frames + 1))
        made.FrameIncrementPointer = made["PageNumberVector"].tag
