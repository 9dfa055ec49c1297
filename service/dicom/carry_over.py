"""What a derived object takes over from its source, byte for byte.

Values are copied as they were stored, in the source's character set, and never decoded on the way: a Japanese name is
the same bytes in both objects. Only what is named here is carried over; private and unknown attributes are not. Source:
DICOM PS3.3 C.2 and C.7 (patient, study, series, frame of reference, image), C.8.12 (VL), C.8.6 (Secondary Capture).
"""

from __future__ import annotations

from copy import deepcopy

from pydicom import config
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement, convert_raw_data_element
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag, Tag
from pydicom.valuerep import VR, validate_value

from service.dicom.served import VL_CLASSES

PATIENT = (
    *("PatientName", "PatientID", "IssuerOfPatientID", "TypeOfPatientID", "IssuerOfPatientIDQualifiersSequence"),
    *("PatientBirthDate", "PatientBirthTime", "PatientSex", "OtherPatientIDsSequence", "OtherPatientNames"),
    *("EthnicGroup", "PatientComments", "PatientSpeciesDescription", "PatientSpeciesCodeSequence"),
    *("PatientIdentityRemoved", "DeidentificationMethod", "DeidentificationMethodCodeSequence"),
    *("ResponsiblePerson", "ResponsiblePersonRole", "ResponsibleOrganization", "QualityControlSubject"),
    *("ClinicalTrialSponsorName", "ClinicalTrialProtocolID", "ClinicalTrialProtocolName", "ClinicalTrialSiteID"),
    *("ClinicalTrialSiteName", "ClinicalTrialSubjectID", "ClinicalTrialSubjectReadingID"),
)
STUDY = (
    *("StudyInstanceUID", "StudyDate", "StudyTime", "ReferringPhysicianName", "StudyID", "AccessionNumber"),
    *("IssuerOfAccessionNumberSequence", "StudyDescription", "PhysiciansOfRecord", "ProcedureCodeSequence"),
    *(
        "ReferencedStudySequence",
        "PatientAge",
        "PatientSize",
        "PatientWeight",
        "AdmissionID",
        "AdditionalPatientHistory",
    ),
    *("IssuerOfAdmissionIDSequence", "Occupation", "ClinicalTrialTimePointID", "ClinicalTrialTimePointDescription"),
)
SERIES = (
    *("Modality", "Laterality", "BodyPartExamined", "PatientPosition", "ProtocolName", "RequestAttributesSequence"),
    *("FrameOfReferenceUID", "PositionReferenceIndicator", "SynchronizationFrameOfReferenceUID"),
    *("SynchronizationTrigger", "AcquisitionTimeSynchronized", "AnatomicalOrientationType"),
)
EQUIPMENT = (
    *("Manufacturer", "InstitutionName", "InstitutionAddress", "InstitutionalDepartmentName", "StationName"),
    *("ManufacturerModelName", "DeviceSerialNumber", "SoftwareVersions", "DeviceUID"),
)
IMAGE = (
    *("InstanceNumber", "PatientOrientation", "ContentDate", "ContentTime", "AcquisitionDate", "AcquisitionTime"),
    *("AcquisitionDateTime", "AcquisitionNumber", "ImageComments", "TimezoneOffsetFromUTC", "ImageLaterality"),
    *("BurnedInAnnotation", "RecognizableVisualFeatures", "PixelAspectRatio", "PixelSpacing"),
    *("PixelSpacingCalibrationType", "PixelSpacingCalibrationDescription", "NominalScannedPixelSpacing"),
    *("AnatomicRegionSequence", "PrimaryAnatomicStructureSequence", "AcquisitionContextSequence"),
    *("ChannelDescriptionCodeSequence", "LensMake", "LensModel", "LensSerialNumber", "ConversionType"),
    *("DateOfSecondaryCapture", "TimeOfSecondaryCapture", "ContainerIdentifier", "ContainerTypeCodeSequence"),
    *("IssuerOfTheContainerIdentifierSequence", "SpecimenDescriptionSequence", "ContainerDescription"),
)
INSTITUTION = ("InstitutionName", "InstitutionAddress", "InstitutionalDepartmentName")

VERBATIM = frozenset((*PATIENT, *STUDY))
"""Carried over whatever it holds: a PACS matches patients and studies by it, so an odd value stays the odd value."""

REQUIRED_EMPTY = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "ReferringPhysicianName"),
    *("StudyID", "AccessionNumber", "InstanceNumber"),
)
"""Type 2 in every image: present, if need be empty."""


class Carrier:
    """Copies attributes of one source."""

    def __init__(self, source: Dataset) -> None:
        self._source = source

    def start(self) -> Dataset:
        """A new image's dataset: patient, study, series and picture as in the source; the rest is the caller's."""
        made = self.start_study()
        for keyword in (*SERIES, *INSTITUTION, *IMAGE):
            self.copy(keyword, made)
        if str(self._source.get("Modality", None) or "").strip() == "":
            made.Modality = "OT"
        visible_light = self._source.SOPClassUID in VL_CLASSES
        for keyword in ("PatientOrientation", "Laterality"):  # type 2C: present, if need be empty
            if keyword not in made and not (keyword == "Laterality" and "ImageLaterality" in made):
                setattr(made, keyword, None)
        if visible_light and "AcquisitionContextSequence" not in made:
            made.AcquisitionContextSequence = []
        if not visible_light and not made.get("ConversionType", None):
            made.ConversionType = "WSD"
        return made

    def start_study(self) -> Dataset:
        """A new object's dataset with the source's character set, patient and study."""
        made = Dataset()
        if self._source.get("SpecificCharacterSet", None) is not None:
            made.SpecificCharacterSet = self._source.SpecificCharacterSet
        made.set_original_encoding(False, True, self._source.original_character_set)
        for keyword in (*PATIENT, *STUDY):
            self.copy(keyword, made)
        for keyword in REQUIRED_EMPTY:
            if keyword not in made:
                setattr(made, keyword, None)
        return made

    def equipment(self) -> Dataset | None:
        """Whatever the source says of the equipment that took it; None if nothing."""
        made = Dataset()
        made.set_original_encoding(False, True, self._source.original_character_set)
        for keyword in EQUIPMENT:
            self.copy(keyword, made)
        if not made:
            return None
        if "Manufacturer" not in made:
            made.Manufacturer = "unknown"
        return made

    def copy(self, keyword: str, made: Dataset) -> None:
        """Copy one attribute if the source has it and it may be: outside patient and study, only valid values."""
        tag = Tag(_tag(keyword))
        if tag not in self._source:
            return
        kind = dictionary_VR(tag)
        element: DataElement | RawDataElement | None = self._source.get_item(tag)
        if kind == VR.SQ:
            element = self._sequence(tag)
        elif isinstance(element, RawDataElement):
            element = element._replace(VR=kind, value=element.value or b"")
        if element is not None and (keyword in VERBATIM or self._is_valid(element)):
            made[tag] = element if isinstance(element, RawDataElement) else deepcopy(element)

    def _sequence(self, tag: BaseTag) -> DataElement | None:
        """A sequence read, since the encoding of its items may be another than that to write; None if it is damaged."""
        try:
            found = self._source[tag]
            return found if found.VR == VR.SQ and len(found.value) > 0 else None
        except Exception:  # whatever is wrong with it, it is not carried over
            return None

    def _is_valid(self, element: DataElement | RawDataElement) -> bool:
        """Whether the value is one that its VR allows (PS3.5 section 6.2), and not empty."""
        try:
            read = element
            if isinstance(read, RawDataElement):
                read = convert_raw_data_element(read, encoding=self._source.original_character_set)
            if read.VR == VR.SQ:
                return True
            values = read.value if read.VM > 1 else [read.value]
            if read.is_empty:
                return False
            for value in values:
                validate_value(read.VR, value, config.RAISE)
        except Exception:  # whatever is wrong with it, it is not carried over
            return False
        return True


def _tag(keyword: str) -> int | BaseTag:
    found = tag_for_keyword(keyword)
    if found is None:
        raise KeyError(keyword)
    return found
