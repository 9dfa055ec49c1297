"""Who made a derived object, and what it is called: equipment, codes and UIDs.

UIDs are name-based (PS3.5 B.2: 2.25. and a UUID): the same source, model, options and software give the same UID, so
an object made twice is one object and a PACS that gets it twice keeps one.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from uuid import UUID, uuid5

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import UID

from service.errors import UndecodableImage

MANUFACTURER = "LaMEGAN"
SCHEME = "99LAMEGAN"
"""Coding scheme of our own concepts (PS3.16 section 8.2: private schemes begin with 99)."""

SCHEME_NAME = "LaMEGAN enhancement and LaSSIM fidelity"

ENHANCEMENT = Code("enhanced", SCHEME, "Structure-preserving image enhancement")
SOURCE_IMAGE = codes.DCM.SourceImageForImageProcessingOperation
PROCESSING_EQUIPMENT = codes.DCM.ProcessingEquipment
ACQUISITION_EQUIPMENT = codes.DCM.AcquisitionEquipment

_NAMESPACE = UUID("6b0c5a0e-5d0f-5b57-9b0a-1a3f6c2f8d11")
IMPLEMENTATION_CLASS_UID = UID(f"2.25.{_NAMESPACE.int}")


@cache
def software_version() -> str:
    """Version of this software."""
    return version("lamegan")


@dataclass(frozen=True, slots=True)
class Making:
    """What, beside the source, decides a derived object.

    Attributes:
        model: `name/version`.
        model_sha256: digest of the model's file.
        policy: what the guardrail does below a threshold.
    """

    model: str
    model_sha256: str
    policy: str

    def uid(self, kind: str, source_uid: str) -> UID:
        """The UID of the `kind` of thing made from `source_uid`."""
        name = "\n".join((kind, source_uid, self.model, self.model_sha256, self.policy, software_version()))
        return UID(f"2.25.{uuid5(_NAMESPACE, name).int}")

    @property
    def device_uid(self) -> UID:
        """UID of the model as a device: another digest is another device."""
        return UID(f"2.25.{uuid5(_NAMESPACE, f'device {self.model_sha256}').int}")

    @property
    def model_name(self) -> str:
        """Name of the model alone."""
        return self.model.partition("/")[0]

    @property
    def versions(self) -> list[str]:
        """Software Versions (LO, 64 characters each): of the software, of the model, and the model's digest.

        A SHA-256 in hexadecimal is 64 characters, which makes it a value of its own.
        """
        return [f"lamegan {software_version()}", self.model[:64], self.model_sha256]


def code_item(code: Code) -> Dataset:
    """`code` as an item of a code sequence (PS3.3 section 8.8)."""
    item = Dataset()
    item.CodeValue = code.value
    item.CodingSchemeDesignator = code.scheme_designator
    item.CodeMeaning = code.meaning
    return item


def processing_equipment(making: Making, description: str) -> Dataset:
    """An item of the Contributing Equipment Sequence (PS3.3 C.12.1.1.5) that says what this software did."""
    item = Dataset()
    item.PurposeOfReferenceCodeSequence = Sequence([code_item(PROCESSING_EQUIPMENT)])
    item.Manufacturer = MANUFACTURER
    item.ManufacturerModelName = making.model_name[:64]
    item.SoftwareVersions = making.versions
    item.DeviceUID = making.device_uid
    item.ContributionDescription = description
    return item


def is_own_output(dataset: Dataset) -> bool:
    """Whether this software had a hand in `dataset`: by its Contributing Equipment, or as its manufacturer.

    Raises:
        UndecodableImage: these attributes are damaged.
    """
    try:
        items = [dataset, *(dataset.get("ContributingEquipmentSequence", None) or ())]
        return any(str(item.get("Manufacturer", None) or "").strip() == MANUFACTURER for item in items)
    except Exception as error:  # attributes of hostile objects fail to convert in nearly any way
        raise UndecodableImage("The DICOM object's attributes are damaged.") from error
