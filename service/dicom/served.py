"""What is served: SOP classes, transfer syntaxes and photometric interpretations; all else is refused by name.

Source: DICOM PS3.4 annex B.5 (storage SOP classes), PS3.5 annex A (transfer syntaxes), PS3.3 C.7.6.3 (photometric
interpretations).
"""

from __future__ import annotations

from pydicom import uid
from pydicom.uid import UID

VL_CLASSES: frozenset[UID] = frozenset(
    (uid.VLEndoscopicImageStorage, uid.VLMicroscopicImageStorage, uid.VLPhotographicImageStorage)
)
"""Visible light, one frame; the derived image is of the source's class."""

SC_CLASSES: frozenset[UID] = frozenset(
    (
        uid.SecondaryCaptureImageStorage,
        uid.MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
        uid.MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
        uid.MultiFrameTrueColorSecondaryCaptureImageStorage,
    )
)
"""Secondary Capture; the derived image is Secondary Capture, in the class that holds its frames and colours."""

SERVED_CLASSES: frozenset[UID] = VL_CLASSES | SC_CLASSES

NATIVE: tuple[UID, ...] = (uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian)

LOSSY_METHODS: dict[UID, str] = {
    uid.JPEGBaseline8Bit: "ISO_10918_1",
    uid.JPEG2000: "ISO_15444_1",
    uid.JPEGLSNearLossless: "ISO_14495_1",
}
"""Transfer syntaxes that lose something, or may; each with its Lossy Image Compression Method (PS3.3 C.7.6.1.1.5)."""

LOSSLESS_COMPRESSED: tuple[UID, ...] = (
    *(uid.RLELossless, uid.JPEG2000Lossless, uid.JPEGLSLossless),
    *(uid.JPEGLossless, uid.JPEGLosslessSV1),
)

SERVED_TRANSFER_SYNTAXES: tuple[UID, ...] = (*NATIVE, *LOSSLESS_COMPRESSED, *LOSSY_METHODS)

COLOUR: frozenset[str] = frozenset(("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_RCT", "YBR_ICT"))
GREY: frozenset[str] = frozenset(("MONOCHROME1", "MONOCHROME2"))
PALETTE = "PALETTE COLOR"


def class_name(sop_class: str) -> str:
    """The class's name if the Standard knows it; else its UID if that is one, so that no other text is repeated."""
    known = UID(sop_class)
    if known.is_private or not known.is_valid:
        return "a private SOP class" if known.is_valid else "no valid SOP class"
    return known.name


VERIFICATION = UID("1.2.840.10008.1.1")
STORAGE_COMMITMENT = UID("1.2.840.10008.1.20.1")
STORAGE_COMMITMENT_INSTANCE = UID("1.2.840.10008.1.20.1.1")
STUDY_ROOT_FIND = UID("1.2.840.10008.5.1.4.1.2.2.1")
"""SOP classes and the well-known instance of the services beside storage (PS3.6 table A-1)."""
