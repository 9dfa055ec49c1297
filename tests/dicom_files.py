"""DICOM objects for the tests, made in code: phantoms in every class, transfer syntax and photometric interpretation.

No person is in them; names are the sentinels of the privacy tests or examples of the Standard's character sets.
"""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
import pydicom
import simplejpeg
from numpy.typing import NDArray
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels import convert_color_space  # type: ignore[attr-defined]
from pydicom.sequence import Sequence
from pydicom.uid import UID

from tests.live import scene

Pixels = NDArray[np.generic]

SENTINEL = "SENTINELPATIENT"
"""In every personal attribute; no log, metric, error or status may hold it."""

JAPANESE = ("ISO_IR 6\\ISO 2022 IR 87", "Yamada^Tarou=山田^太郎=やまだ^たろう")
KOREAN = ("\\ISO 2022 IR 149", "Hong^Gildong=洪^吉洞=홍^길동")
ARABIC = ("ISO_IR 127", "قباني^لنزار")
UTF8 = ("ISO_IR 192", "Wang^XiaoDong=王^小東")

COMPRESSED = (
    uid.RLELossless,
    uid.JPEGBaseline8Bit,
    uid.JPEG2000Lossless,
    uid.JPEG2000,
    uid.JPEGLSLossless,
    uid.JPEGLSNearLossless,
)


def study(seed: int = 1) -> Dataset:
    """Patient, study, series and equipment of a phantom, all with sentinels."""
    made = Dataset()
    made.PatientName = f"{SENTINEL}^Name"
    made.PatientID = f"{SENTINEL}-ID"
    made.PatientBirthDate = "19700101"
    made.PatientSex = "O"
    made.StudyInstanceUID = f"2.25.{7000 + seed}"
    made.StudyDate, made.StudyTime = "20260102", "101112"
    made.ReferringPhysicianName = f"{SENTINEL}^Referrer"
    made.StudyID = "S1"
    made.AccessionNumber = f"{SENTINEL}A"
    made.SeriesInstanceUID = f"2.25.{8000 + seed}"
    made.SeriesNumber = 3
    made.SeriesDescription = "Larynx"
    made.Manufacturer = "Phantom Works"
    made.ManufacturerModelName = "P-1"
    made.InstitutionName = f"{SENTINEL} Hospital"
    return made


def endoscopic(seed: int = 1, pixels: Pixels | None = None, **changes: Any) -> Dataset:
    """A VL Endoscopic image."""
    return _vl(uid.VLEndoscopicImageStorage, "ES", seed, pixels, changes)


def photographic(seed: int = 1, pixels: Pixels | None = None, **changes: Any) -> Dataset:
    """A VL Photographic image."""
    return _vl(uid.VLPhotographicImageStorage, "XC", seed, pixels, changes)


def secondary_capture(seed: int = 1, pixels: Pixels | None = None, **changes: Any) -> Dataset:
    """A Secondary Capture image."""
    made = _image(uid.SecondaryCaptureImageStorage, "OT", seed, pixels)
    made.ConversionType = "DI"
    del made.ImageType
    return _changed(made, changes)


def multi_frame(frames: int = 3, seed: int = 1, **changes: Any) -> Dataset:
    """A Multi-frame True Color Secondary Capture image, 10 frames a second."""
    pixels = np.stack([scene(96, 64, seed + at) for at in range(frames)])
    made = _image(uid.MultiFrameTrueColorSecondaryCaptureImageStorage, "OT", seed, pixels)
    made.ConversionType = "DI"
    made.NumberOfFrames = frames
    made.BurnedInAnnotation = "NO"
    made.FrameTime = 100
    made.FrameIncrementPointer = 0x00181063
    return _changed(made, changes)


def _vl(sop_class: UID, modality: str, seed: int, pixels: Pixels | None, changes: dict[str, Any]) -> Dataset:
    made = _image(sop_class, modality, seed, pixels)
    made.LossyImageCompression = "00"
    made.AcquisitionContextSequence = Sequence()
    return _changed(made, changes)


def _image(sop_class: UID, modality: str, seed: int, pixels: Pixels | None) -> Dataset:
    made = study(seed)
    made.SOPClassUID = sop_class
    made.SOPInstanceUID = f"2.25.{9000 + seed}"
    made.Modality = modality
    made.InstanceNumber = seed
    made.PatientOrientation = ["L", "F"]
    made.ImageType = ["ORIGINAL", "PRIMARY"]
    made.ContentDate, made.ContentTime = "20260102", "101315"
    made.AcquisitionDateTime = "20260102101315"
    put_pixels(made, scene(96, 64, seed) if pixels is None else pixels)
    return made


def _changed(made: Dataset, changes: dict[str, Any]) -> Dataset:
    for keyword, value in changes.items():
        setattr(made, keyword, value)
    return made


def put_pixels(made: Dataset, pixels: Pixels, photometric: str = "") -> None:
    """Store (H, W, 3), (N, H, W, 3) or grey (H, W) `pixels` uncompressed."""
    colour = pixels.shape[-1] == 3
    rows, columns = pixels.shape[-3:-1] if colour else pixels.shape[-2:]
    made.SamplesPerPixel = 3 if colour else 1
    made.PhotometricInterpretation = photometric or ("RGB" if colour else "MONOCHROME2")
    made.Rows, made.Columns = rows, columns
    bits = pixels.dtype.itemsize * 8
    made.BitsAllocated, made.BitsStored, made.HighBit = bits, bits, bits - 1
    made.PixelRepresentation = int(pixels.dtype.kind == "i")
    if colour:
        made.PlanarConfiguration = 0
    data = pixels.tobytes()
    made.PixelData = data + b"\0" * (len(data) % 2)
    made["PixelData"].VR = "OW" if bits > 8 else "OB"


def in_ybr_full(made: Dataset) -> Dataset:
    """`made` with its colours as YBR_FULL."""
    put_pixels(made, convert_color_space(stored_pixels(made), "RGB", "YBR_FULL"), "YBR_FULL")
    return made


def in_ybr_full_422(made: Dataset) -> Dataset:
    """`made` with its colours as uncompressed YBR_FULL_422: Y, Y, Cb, Cr for two pixels (PS3.3 C.7.6.3.1.2)."""
    ybr = convert_color_space(stored_pixels(made), "RGB", "YBR_FULL")
    pairs = ybr.reshape(ybr.shape[0], -1, 2, 3)
    packed = np.stack([pairs[..., 0, 0], pairs[..., 1, 0], pairs[..., 0, 1], pairs[..., 0, 2]], axis=-1)
    made.PhotometricInterpretation = "YBR_FULL_422"
    made.PixelData = packed.tobytes()
    return made


def by_plane(made: Dataset) -> Dataset:
    """`made` with its colours stored plane after plane."""
    made.PixelData = np.ascontiguousarray(np.moveaxis(stored_pixels(made), -1, 0)).tobytes()
    made.PlanarConfiguration = 1
    return made


def in_palette(made: Dataset, bits: int = 8) -> Dataset:
    """`made` as indices into a palette with entries of `bits`."""
    indices = (stored_pixels(made)[..., 0] // 4).astype(np.uint8)
    put_pixels(made, indices, "PALETTE COLOR")
    ramp = np.arange(64) * 4
    for at, colour in enumerate(("Red", "Green", "Blue")):
        setattr(made, f"{colour}PaletteColorLookupTableDescriptor", [64, 0, 16])
        entries = (np.roll(ramp, at).astype(np.uint16) * 257).astype("<u2")
        setattr(made, f"{colour}PaletteColorLookupTableData", entries.tobytes())
    return made


def grey(bits: int = 8, photometric: str = "MONOCHROME2", *, signed: bool = False, seed: int = 1) -> Dataset:
    """A grey Secondary Capture of `bits` stored bits."""
    levels = scene(96, 64, seed)[..., 1].astype(np.int32)
    top = levels * (2**bits - 1) // 255
    kind = np.uint8 if bits <= 8 else np.uint16
    stored = top.astype(kind)
    if signed:
        stored = (top - 2 ** (bits - 1)).astype(np.int8 if bits <= 8 else np.int16)
    made = secondary_capture(seed, stored)
    made.PhotometricInterpretation = photometric
    made.BitsStored, made.HighBit = bits, bits - 1
    return made


def compressed(made: Dataset, syntax: UID) -> bytes:
    """`made` as a file in a compressed transfer syntax."""
    if syntax == uid.JPEGBaseline8Bit:
        frames = stored_pixels(made).reshape(-1, made.Rows, made.Columns, 3)
        coded = [simplejpeg.encode_jpeg(np.ascontiguousarray(frame), 90, "RGB", "422") for frame in frames]
        made.PhotometricInterpretation = "YBR_FULL_422"
        made.PixelData = encapsulate(coded)
        made["PixelData"].VR = "OB"
        _mark_lossy(made, "ISO_10918_1")
        return as_file(made, syntax)
    options: dict[str, Any] = {}
    if syntax == uid.JPEG2000:
        options = {"j2k_cr": [8]}
    if syntax == uid.JPEGLSNearLossless:
        options = {"jls_error": 2}
    if syntax in (uid.JPEG2000, uid.JPEG2000Lossless) and made.SamplesPerPixel == 3:
        made.PhotometricInterpretation = "YBR_ICT" if syntax == uid.JPEG2000 else "YBR_RCT"
    stored = pydicom.dcmread(BytesIO(as_file(made)))
    stored.compress(syntax, generate_instance_uid=False, **options)
    if syntax in (uid.JPEG2000, uid.JPEGLSNearLossless):
        _mark_lossy(stored, "ISO_15444_1" if syntax == uid.JPEG2000 else "ISO_14495_1")
    return as_file(stored, syntax)


def _mark_lossy(made: Dataset, method: str) -> None:
    made.LossyImageCompression = "01"
    made.LossyImageCompressionRatio = "8.0"
    made.LossyImageCompressionMethod = method


def as_file(made: Dataset, syntax: UID = uid.ExplicitVRLittleEndian) -> bytes:
    """`made` as a DICOM file."""
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = syntax
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    buffer = BytesIO()
    pydicom.dcmwrite(
        buffer,
        made,
        implicit_vr=syntax == uid.ImplicitVRLittleEndian,
        little_endian=True,
        enforce_file_format=True,
    )
    return buffer.getvalue()


def encoded_dataset(made: Dataset) -> bytes:
    """`made` alone, without preamble and File Meta Information, as it is sent."""
    buffer = BytesIO()
    pydicom.dcmwrite(buffer, made, implicit_vr=False, little_endian=True, enforce_file_format=False)
    return buffer.getvalue()


def named(made: Dataset, names: tuple[str, str]) -> Dataset:
    """`made` for a patient with a name in another character set."""
    charset, name = names
    made.SpecificCharacterSet = charset.split("\\")
    made.PatientName = name
    return made


def stored_pixels(made: Dataset) -> NDArray[np.uint8]:
    """The 8-bit colour pixels of an uncompressed object in memory, (..., H, W, 3)."""
    frames = int(made.get("NumberOfFrames", 1))
    shape = (frames, made.Rows, made.Columns, 3) if frames > 1 else (made.Rows, made.Columns, 3)
    return np.frombuffer(made.PixelData, np.uint8, int(np.prod(shape))).reshape(shape)
