"""The score as a structured report: TID 1500 in a Comprehensive 3D SR, beside the image it is about.

For each frame one measurement group (TID 1501) holds the scores, the verdict, the thresholds and what made it, and one
planar region (TID 1410) shows the worst region on the image. Source: DICOM PS3.16 TID 1500, PS3.3 A.35.13.

highdicom builds the content. It is given a bare skeleton of the source, for it logs what it finds odd; patient and
study are put in afterwards, byte for byte.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from highdicom.coding_schemes import CodingSchemeIdentificationItem
from highdicom.sr import (
    AlgorithmIdentification,
    CodedConcept,
    Comprehensive3DSR,
    DeviceObserverIdentifyingAttributes,
    ImageRegion,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    PlanarROIMeasurementsAndQualitativeEvaluations,
    QualitativeEvaluation,
    SourceImageForMeasurementGroup,
    SourceImageForRegion,
    TrackingIdentifier,
)
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from service.dicom.carry_over import Carrier
from service.dicom.derived import SERIES_NUMBER_STEP, next_series_number, write
from service.dicom.identity import MANUFACTURER, SCHEME, SCHEME_NAME, Making, processing_equipment
from service.dicom.source import SourceObject
from service.quality.guardrail import Floors, Judgement

SERIES_DESCRIPTION = "Fidelity report, research only"
RATIO = Code("1", "UCUM", "no units")
FIDELITY = Code("fidelity", SCHEME, "Fidelity of an enhanced image to its source")
WORST_REGION = Code("worst-region", SCHEME, "Region where structure changed most")
VERDICT = Code("verdict", SCHEME, "Verdict of the guardrail")
MISSED = Code("missed", SCHEME, "Threshold that the enhancement as made did not keep")
PROCEDURE = Code("enhanced", SCHEME, "Structure-preserving image enhancement")

VERDICTS = {
    "pass": Code("pass", SCHEME, "Pass: delivered as made"),
    "constrained": Code("constrained", SCHEME, "Constrained: delivered with a share of its source blended in"),
    "withheld": Code("withheld", SCHEME, "Withheld: no enhanced image is delivered"),
}

MEASURES = {
    "lassim": "LaSSIM to the source (1 is unchanged structure)",
    "worst": "Lowest value of the LaSSIM map",
    "blend": "Share of the source blended in",
    "delta_e_mean": "Mean colour difference (CIEDE2000)",
    "delta_e_p95": "95th percentile of the colour difference (CIEDE2000)",
    "redder_share": "Share of the area that turned redder",
    "paler_share": "Share of the area that was red and turned paler",
    "redness_order": "Rank correlation of the redness of places",
    "detail": "Lowest value of the fine detail",
}
"""Our measurements by code value; the threshold of each has `t-` before it (SH: 16 characters)."""


@dataclass(frozen=True, slots=True)
class ReportFacts:
    """What a report says.

    Attributes:
        making: model and options.
        judgements: one a frame.
        floors: thresholds of the guardrail, None for one that is off.
        verdict: of the object: the strictest of its frames.
        image: the derived image; None when none is delivered.
        made_at: Content Date and Time of the report.
    """

    making: Making
    judgements: list[Judgement]
    floors: Floors
    verdict: str
    image: Dataset | None
    made_at: datetime


def report(source: SourceObject, facts: ReportFacts) -> bytes:
    """The report as a DICOM file."""
    making = facts.making
    evidence = [_skeleton(source.dataset)] + ([_skeleton(facts.image)] if facts.image is not None else [])
    built = Comprehensive3DSR(
        evidence=evidence,
        content=_content(evidence, facts),
        series_instance_uid=making.uid("report series", str(source.dataset.SeriesInstanceUID)),
        series_number=next_series_number(source.dataset, 2 * SERIES_NUMBER_STEP),
        sop_instance_uid=making.uid("report", source.sop_instance),
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=making.model_name[:64],
        software_versions=tuple(making.versions),
        device_serial_number=None,
        series_description=SERIES_DESCRIPTION,
        is_complete=True,
        is_final=False,
        content_date=facts.made_at.date(),
        content_time=facts.made_at.time(),
        coding_schemes=[CodingSchemeIdentificationItem(SCHEME, name=SCHEME_NAME)],
    )
    made = Carrier(source.dataset).start_study()
    for element in built:
        if element.keyword not in _FROM_SOURCE and element.tag not in made:
            made[element.tag] = element
    made.DeviceUID = making.device_uid
    made.ContentQualification = "RESEARCH"
    made.ContributingEquipmentSequence = Sequence([processing_equipment(making, "Measured fidelity with LaSSIM")])
    number = source.dataset.get("InstanceNumber", None)
    made.InstanceNumber = number if isinstance(number, int) and number > 0 else 1
    return write(made)


_FROM_SOURCE = frozenset(("SpecificCharacterSet", "InstanceNumber", "InstanceCreationDate", "InstanceCreationTime"))
"""Set from the source or not at all: an object made twice is one object, so it does not say when it was written."""


def _skeleton(dataset: Dataset) -> Dataset:
    """What the report's content needs of an image, without patient or study attributes."""
    bare = Dataset()
    for keyword in ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Rows", "Columns"):
        setattr(bare, keyword, dataset[keyword].value)
    if int(dataset.get("NumberOfFrames", None) or 1) > 1:
        bare.NumberOfFrames = int(dataset.NumberOfFrames)
    for keyword in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID"):
        setattr(bare, keyword, None)
    bare.StudyDate = bare.StudyTime = bare.ReferringPhysicianName = None
    bare.Modality = "XC"
    return bare


def _content(evidence: list[Dataset], facts: ReportFacts) -> MeasurementReport:
    device = DeviceObserverIdentifyingAttributes(
        uid=facts.making.device_uid, manufacturer_name=MANUFACTURER, model_name=facts.making.model
    )
    observer = ObserverContext(observer_type=codes.DCM.Device, observer_identifying_attributes=device)
    groups = [
        group
        for number, judgement in enumerate(facts.judgements, start=1)
        for group in _groups(evidence[-1], number, judgement, facts)
    ]
    return MeasurementReport(
        observation_context=ObservationContext(observer_device_context=observer),
        procedure_reported=PROCEDURE,
        imaging_measurements=groups,
        title=codes.DCM.ImagingMeasurementReport,
        referenced_images=evidence,
    )


def _groups(
    image: Dataset, number: int, judgement: Judgement, facts: ReportFacts
) -> Iterator[MeasurementsAndQualitativeEvaluations | PlanarROIMeasurementsAndQualitativeEvaluations]:
    """The groups of one frame: its scores, and its worst region."""
    frames = [number] if "NumberOfFrames" in image else None
    of = image.SOPClassUID, image.SOPInstanceUID, frames
    algorithm = _algorithm(facts)
    yield MeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking(facts, "fidelity", number, image),
        finding_type=FIDELITY,
        algorithm_id=algorithm,
        measurements=[*_scores(judgement), *_thresholds(facts.floors)],
        qualitative_evaluations=_evaluations(judgement),
        source_images=[SourceImageForMeasurementGroup(*of)],
    )
    yield PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking(facts, "worst region", number, image),
        finding_type=WORST_REGION,
        algorithm_id=algorithm,
        referenced_region=ImageRegion("POLYLINE", _outline(judgement), SourceImageForRegion(*of)),
        measurements=[_number("worst", judgement.worst)],
    )


def _tracking(facts: ReportFacts, what: str, number: int, image: Dataset) -> TrackingIdentifier:
    return TrackingIdentifier(
        uid=facts.making.uid(f"{what} {number}", str(image.SOPInstanceUID)), identifier=f"{what}, frame {number}"
    )


def _algorithm(facts: ReportFacts) -> AlgorithmIdentification:
    name, _, model_version = facts.making.model.partition("/")
    software = facts.making.versions[0]
    return AlgorithmIdentification(
        name=f"LaMEGAN {name}",
        version=model_version or "0",
        parameters=[
            f"model sha256={facts.making.model_sha256}",
            f"policy={facts.making.policy}",
            f"software={software}",
        ],
    )


def _scores(judgement: Judgement) -> Iterator[Measurement]:
    colour = judgement.colour
    yield _number("lassim", judgement.lassim)
    yield _number("worst", judgement.worst)
    yield _number("blend", judgement.blend)
    yield _number("delta_e_mean", colour.delta_e_mean)
    yield _number("delta_e_p95", colour.delta_e_p95)
    yield _number("redder_share", colour.redder_share)
    yield _number("paler_share", colour.paler_share)
    yield _number("redness_order", colour.redness_order)
    if judgement.detail is not None:
        yield _number("detail", judgement.detail.value)


def _thresholds(floors: Floors) -> Iterator[Measurement]:
    for name in (name for name in MEASURES if name != "blend"):
        value = getattr(floors, name)
        if value is not None:
            yield Measurement(
                name=CodedConcept(f"t-{name}", SCHEME, f"Threshold of: {MEASURES[name]}"[:64]),
                value=float(value),
                unit=RATIO,
            )


def _number(name: str, value: float) -> Measurement:
    return Measurement(name=CodedConcept(name, SCHEME, MEASURES[name]), value=round(float(value), 6), unit=RATIO)


def _evaluations(judgement: Judgement) -> list[QualitativeEvaluation]:
    missed = [
        QualitativeEvaluation(name=MISSED, value=CodedConcept(name, SCHEME, MEASURES.get(name, name)))
        for name in judgement.missed
    ]
    return [QualitativeEvaluation(name=VERDICT, value=VERDICTS[judgement.verdict.value]), *missed]


def _outline(judgement: Judgement) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """The worst region's closed outline, (5, 2) column and row."""
    box = judgement.box
    corners = [(box.left, box.top), (box.right, box.top), (box.right, box.bottom), (box.left, box.bottom)]
    return np.array([*corners, corners[0]], dtype=np.float64)
