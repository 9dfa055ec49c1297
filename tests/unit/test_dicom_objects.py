"""Derived objects and reports: what they carry over, what they say anew, and that dciodvfy finds no error in them."""

from __future__ import annotations

import subprocess
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
from pydicom import config, uid
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.valuerep import validate_value

from service.dicom.conversion import DicomEnhancer
from service.dicom.frames import frames_of
from service.dicom.source import read_source
from service.engine.engine import EngineOptions
from service.errors import ImageDimensions, LameganError, UndecodableImage, UnsupportedType
from service.pipeline import EnhanceDefaults, EnhanceOptions, Enhancer
from service.registry.store import ModelStore
from service.serving.single_model import SingleModel
from service.vocabulary import Policy
from tests import dicom_files as objects
from tests import models
from tests.live import decoded, encoded, scene

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)

KINDS: dict[str, Callable[[], bytes]] = {
    "VL Endoscopic": lambda: objects.as_file(objects.endoscopic()),
    "VL Photographic, implicit VR": lambda: objects.as_file(objects.photographic(), uid.ImplicitVRLittleEndian),
    "Secondary Capture": lambda: objects.as_file(objects.secondary_capture()),
    "Secondary Capture, multi-frame": lambda: objects.as_file(objects.multi_frame()),
    "YBR_FULL": lambda: objects.as_file(objects.in_ybr_full(objects.photographic())),
    "YBR_FULL_422": lambda: objects.as_file(objects.in_ybr_full_422(objects.photographic())),
    "colour by plane": lambda: objects.as_file(objects.by_plane(objects.photographic())),
    "palette": lambda: objects.as_file(objects.in_palette(objects.photographic())),
    "grey, 8 bits": lambda: objects.as_file(objects.grey()),
    "grey, 12 bits": lambda: objects.as_file(objects.grey(12)),
    "grey, 16 bits, signed": lambda: objects.as_file(objects.grey(16, signed=True)),
    "grey, MONOCHROME1": lambda: objects.as_file(objects.grey(photometric="MONOCHROME1")),
    "a Japanese name": lambda: objects.as_file(objects.named(objects.endoscopic(), objects.JAPANESE)),
    "a Korean name, implicit VR": lambda: objects.as_file(
        objects.named(objects.endoscopic(), objects.KOREAN), uid.ImplicitVRLittleEndian
    ),
    "an Arabic name": lambda: objects.as_file(objects.named(objects.endoscopic(), objects.ARABIC)),
    "a name in UTF-8": lambda: objects.as_file(objects.named(objects.endoscopic(), objects.UTF8)),
    **{
        f"{syntax.name}": lambda syntax=syntax: objects.compressed(objects.photographic(), syntax)
        for syntax in objects.COMPRESSED
    },
    **{
        f"{syntax.name}, multi-frame": lambda syntax=syntax: objects.compressed(objects.multi_frame(2), syntax)
        for syntax in objects.COMPRESSED
    },
}


@pytest.fixture(scope="module")
def enhancer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DicomEnhancer]:
    yield from with_model(tmp_path_factory.mktemp("models"), models.brighten())


def with_model(folder: Path, model: object, **defaults: object) -> Iterator[DicomEnhancer]:
    models.install(folder, model)  # type: ignore[arg-type]
    with SingleModel(ModelStore(folder, None), "tiny", EngineOptions("cpu", False, 1), as_default=True) as one:
        yield DicomEnhancer(Enhancer(one, EnhanceDefaults(**defaults)))  # type: ignore[arg-type]


def read(body: bytes | None) -> Dataset:
    assert body is not None
    return pydicom.dcmread(BytesIO(body))


def faults(body: bytes, folder: Path) -> list[str]:
    """What dciodvfy calls an error."""
    path = folder / "object.dcm"
    path.write_bytes(body)
    told = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, check=False).stderr
    assert b"Image" in told or b"SR" in told, "dciodvfy did not say what it read"
    return [line for line in told.decode(errors="replace").splitlines() if line.startswith("Error")]


def validate(body: bytes) -> int:
    """Hold every value in `body` to pydicom's rules for its value representation; how many there are.

    Raises:
        ValueError: one breaks them.
    """
    count = 0
    for element in read(body).iterall():
        for value in element.value if element.VM > 1 else [element.value]:
            told = getattr(value, "original_string", None) or value  # a decimal or whole number is held to its text
            validate_value(element.VR, told, config.RAISE)
            count += 1
    return count


@pytest.mark.parametrize(
    ("keyword", "value"), [("StudyDate", "yesterday"), ("SeriesNumber", "3.5"), ("Modality", "es")]
)
def test_values_are_held_to_their_rules(keyword: str, value: str) -> None:
    made = objects.endoscopic()
    made[keyword] = DataElement(keyword, made[keyword].VR, value, validation_mode=config.IGNORE, already_converted=True)
    with pytest.raises(ValueError, match=r"[Ii]nvalid value"):
        validate(objects.as_file(made))


@pytest.mark.parametrize("kind", KINDS)
def test_an_object_of_any_kind_gives_valid_objects_with_the_enhancers_own_pixels(
    kind: str, enhancer: DicomEnhancer, tmp_path: Path
) -> None:
    body = KINDS[kind]()
    answer = enhancer.enhance(body, made_at=NOON)
    assert answer.image is not None
    assert faults(answer.image, tmp_path) == []
    assert faults(answer.report, tmp_path) == []
    for made in (answer.image, answer.report):
        (tmp_path / "object.dcm").write_bytes(made)
        dumped = subprocess.run(["dcmdump", str(tmp_path / "object.dcm")], capture_output=True, check=True)
        assert dumped.stderr == b""
        assert validate(made) > 50
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = highdicom.sr.srread(BytesIO(answer.report))
        assert len(report.content.get_image_measurement_groups()) == answer.frames  # type: ignore[attr-defined]
        pixels = read(answer.image).pixel_array
    frames = list(frames_of(read_source(body, max_pixels=10**6)))
    for frame, got in zip(frames, pixels.reshape(len(frames), *frames[0].shape), strict=True):
        wanted = enhancer._enhancer.enhance(encoded(frame), EnhanceOptions(format="png")).body
        assert np.array_equal(got, decoded(wanted))


def test_uncompressed_and_losslessly_compressed_objects_show_what_was_stored() -> None:
    wanted = scene(96, 64, 1)
    for body in (
        objects.as_file(objects.endoscopic()),
        objects.as_file(objects.by_plane(objects.photographic())),
        *(
            objects.compressed(objects.photographic(), syntax)
            for syntax in (uid.RLELossless, uid.JPEG2000Lossless, uid.JPEGLSLossless)
        ),
    ):
        (frame,) = frames_of(read_source(body, max_pixels=10**6))
        assert np.array_equal(frame, wanted)


def test_grey_levels_go_through_window_and_polarity() -> None:
    def shown(made: Dataset) -> np.ndarray:
        (frame,) = frames_of(read_source(objects.as_file(made), max_pixels=10**6))
        assert (frame[..., 0] == frame[..., 1]).all()
        return frame[..., 0].astype(int)

    plain = shown(objects.grey())
    assert np.array_equal(plain, scene(96, 64, 1)[..., 1])
    assert np.array_equal(shown(objects.grey(photometric="MONOCHROME1")), 255 - plain)
    for made in (objects.grey(12), objects.grey(16), objects.grey(16, signed=True)):
        assert np.abs(shown(made) - plain).max() <= 1
    windowed = objects.grey(12)
    windowed.WindowCenter, windowed.WindowWidth = 2048, 1024
    stored = np.frombuffer(windowed.PixelData, np.uint16).reshape(64, 96)
    wanted = np.clip((stored - 2047.5) / 1023 + 0.5, 0, 1) * 255
    assert np.abs(shown(windowed) - wanted).max() <= 0.5
    windowed.RescaleSlope, windowed.RescaleIntercept = 1, -2048
    windowed.WindowCenter = 0
    assert np.abs(shown(windowed) - wanted).max() <= 0.5


def test_patient_and_study_are_carried_over_byte_for_byte_in_their_character_set(enhancer: DicomEnhancer) -> None:
    for names in (objects.JAPANESE, objects.KOREAN, objects.ARABIC, objects.UTF8):
        source = objects.named(objects.endoscopic(), names)
        body = objects.as_file(source)
        stored = read(body).get_item("PatientName").value
        answer = enhancer.enhance(body)
        for made in (read(answer.image), read(answer.report)):
            assert made.get_item("PatientName").value == stored
            assert made.PatientName == names[1]
            assert made.get("SpecificCharacterSet") == read(body).SpecificCharacterSet


def test_a_patient_with_odd_values_stays_the_same_patient(enhancer: DicomEnhancer) -> None:
    source = objects.endoscopic()
    source.PatientID = "x" * 200
    source.PatientSex = "?"
    source.PatientBirthDate = "long ago"
    source.StationName = "y" * 300
    source.SeriesDescription = "z" * 300
    body = objects.as_file(source)
    body = body.replace(f"{objects.SENTINEL}^Name".encode(), b"\xff\xfe" + b"^" * (len(objects.SENTINEL) + 3))
    answer = enhancer.enhance(body)
    for made in (answer.image, answer.report):
        for keyword in ("PatientName", "PatientID", "PatientSex", "PatientBirthDate", "StudyInstanceUID"):
            assert read(made).get_item(keyword).value == read(body).get_item(keyword).value
    image = read(answer.image)
    assert "StationName" not in image
    assert len(image.SeriesDescription) <= 64


def test_the_same_object_model_and_options_give_the_same_objects(enhancer: DicomEnhancer) -> None:
    body = objects.as_file(objects.endoscopic())
    once, again = enhancer.enhance(body, made_at=NOON), enhancer.enhance(body, made_at=NOON)
    assert (once.image, once.report) == (again.image, again.report)
    strict = enhancer.enhance(body, EnhanceOptions(policy=Policy.WITHHOLD))
    other = enhancer.enhance(objects.as_file(objects.endoscopic(seed=2)))
    uids = {read(one.image).SOPInstanceUID for one in (once, strict, other)}
    assert len(uids) == 3
    assert all(len(one) <= 64 and one.is_valid for one in uids)


def test_objects_of_one_series_land_in_one_series(enhancer: DicomEnhancer) -> None:
    first = objects.as_file(objects.endoscopic(1))
    second = objects.as_file(objects.endoscopic(2, SeriesInstanceUID=read(first).SeriesInstanceUID))
    made = [enhancer.enhance(body) for body in (first, second)]
    assert len({read(one.image).SeriesInstanceUID for one in made}) == 1
    assert len({read(one.report).SeriesInstanceUID for one in made}) == 1
    assert read(made[0].image).SeriesInstanceUID != read(made[0].report).SeriesInstanceUID


def test_the_image_tells_its_own_story(enhancer: DicomEnhancer) -> None:
    body = objects.as_file(objects.endoscopic())
    source, made = read(body), read(enhancer.enhance(body).image)
    digest = enhancer.enhance(body).worst.model_sha256
    assert made.SOPClassUID == source.SOPClassUID
    assert made.SOPInstanceUID != source.SOPInstanceUID
    assert made.SeriesInstanceUID != source.SeriesInstanceUID
    assert list(made.ImageType[:2]) == ["DERIVED", "SECONDARY"]
    (reference,) = made.SourceImageSequence
    assert reference.ReferencedSOPInstanceUID == source.SOPInstanceUID
    assert reference.PurposeOfReferenceCodeSequence[0].CodeValue == "121322"
    for word in ("research", "LaSSIM", "verdict pass", digest):
        assert word in made.DerivationDescription
    acquired, processed = made.ContributingEquipmentSequence
    assert acquired.Manufacturer == "Phantom Works"
    assert acquired.PurposeOfReferenceCodeSequence[0].CodeMeaning == "Acquisition Equipment"
    assert processed.PurposeOfReferenceCodeSequence[0].CodeMeaning == "Processing Equipment"
    assert digest in processed.SoftwareVersions
    assert processed.DeviceUID == made.DeviceUID
    assert made.ContentQualification == "RESEARCH"
    assert "research only" in made.SeriesDescription
    assert "BurnedInAnnotation" not in made
    assert "RecognizableVisualFeatures" not in made


def test_what_was_lossy_once_stays_so_with_method_and_ratio(enhancer: DicomEnhancer) -> None:
    kept = read(enhancer.enhance(objects.compressed(objects.photographic(), uid.JPEGBaseline8Bit)).image)
    assert (kept.LossyImageCompression, kept.LossyImageCompressionMethod) == ("01", "ISO_10918_1")
    assert kept.LossyImageCompressionRatio == 8.0
    once = objects.photographic(LossyImageCompression="01")
    assert read(enhancer.enhance(objects.as_file(once)).image).LossyImageCompression == "01"
    silent = read(objects.compressed(objects.photographic(), uid.JPEGBaseline8Bit))
    for keyword in ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod"):
        delattr(silent, keyword)
    told = read(enhancer.enhance(objects.as_file(silent, uid.JPEGBaseline8Bit)).image)
    assert (told.LossyImageCompression, told.LossyImageCompressionMethod) == ("01", "ISO_10918_1")
    assert told.LossyImageCompressionRatio > 1
    assert read(enhancer.enhance(objects.as_file(objects.photographic())).image).LossyImageCompression == "00"


def test_the_report_holds_scores_thresholds_verdict_and_the_worst_region(tmp_path: Path) -> None:
    models.install(tmp_path, models.brighten(), floors=models.STRICT)
    body = objects.as_file(objects.endoscopic())
    with SingleModel(ModelStore(tmp_path, None), "tiny", EngineOptions("cpu", False, 1), as_default=True) as one:
        answer = DicomEnhancer(Enhancer(one)).enhance(body, made_at=NOON)
    report = highdicom.sr.srread(BytesIO(answer.report))
    (group,) = report.content.get_image_measurement_groups()  # type: ignore[attr-defined]
    values = {item.name.value: item.value for item in group.get_measurements()}
    judged = answer.worst.judgement
    assert values["lassim"] == pytest.approx(judged.lassim, abs=1e-6)
    assert values["t-lassim"] == models.STRICT.lassim
    assert next(item.value.value for item in group.get_qualitative_evaluations()) == judged.verdict.value
    (region,) = report.content.get_planar_roi_measurement_groups()  # type: ignore[attr-defined]
    assert region.roi.value[0].tolist() == [judged.box.left, judged.box.top]
    assert (
        region.roi.ContentSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID
        == read(answer.image).SOPInstanceUID
    )
    referenced = {
        instance.ReferencedSOPInstanceUID
        for study in report.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for instance in series.ReferencedSOPSequence
    }
    assert referenced == {read(body).SOPInstanceUID, read(answer.image).SOPInstanceUID}
    assert report.StudyInstanceUID == read(body).StudyInstanceUID


def test_what_is_withheld_has_a_report_and_no_image(tmp_path: Path) -> None:
    models.install(tmp_path, models.colour_shift(), floors=models.STRICT)
    body = objects.as_file(objects.endoscopic())
    with SingleModel(ModelStore(tmp_path, None), "tiny", EngineOptions("cpu", False, 1), as_default=True) as one:
        answer = DicomEnhancer(Enhancer(one, EnhanceDefaults(Policy.WITHHOLD))).enhance(body)
    assert answer.image is None
    assert faults(answer.report, tmp_path) == []
    report = highdicom.sr.srread(BytesIO(answer.report))
    (group,) = report.content.get_image_measurement_groups()  # type: ignore[attr-defined]
    assert group.get_qualitative_evaluations()[0].value.value == "withheld"
    assert group.source_images[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID == read(body).SOPInstanceUID


def test_its_own_output_is_not_enhanced_again(enhancer: DicomEnhancer) -> None:
    image = enhancer.enhance(objects.as_file(objects.endoscopic())).image
    assert image is not None
    with pytest.raises(UnsupportedType, match="already"):
        enhancer.enhance(image)


def _changed(**changes: object) -> bytes:
    return objects.as_file(objects.endoscopic(**changes))


REFUSED: dict[str, tuple[Callable[[], bytes], type[LameganError]]] = {
    "another class": (lambda: _changed(SOPClassUID=uid.CTImageStorage), UnsupportedType),
    "a private class": (lambda: _changed(SOPClassUID="1.2.3.4"), UnsupportedType),
    "a report": (lambda: _changed(SOPClassUID=uid.Comprehensive3DSRStorage), UnsupportedType),
    "big endian": (lambda: _relabelled(uid.ExplicitVRBigEndian), UnsupportedType),
    "deflated": (lambda: _relabelled(uid.DeflatedExplicitVRLittleEndian), UnsupportedType),
    "a video": (lambda: _relabelled(uid.MPEG2MPML), UnsupportedType),
    "16-bit colour": (lambda: _changed(BitsAllocated=16, BitsStored=16), UnsupportedType),
    "1-bit pixels": (lambda: _changed(BitsAllocated=1, BitsStored=1, SamplesPerPixel=1), UnsupportedType),
    "far too many pixels": (lambda: _changed(Rows=65535, Columns=65535), ImageDimensions),
    "far too many frames": (lambda: _changed(NumberOfFrames=2_000_000_000), ImageDimensions),
    "no rows": (lambda: _changed(Rows=0), UndecodableImage),
    "pixel data cut off": (lambda: _changed(PixelData=b"\0\0"), UndecodableImage),
    "no valid instance UID": (lambda: _changed(StudyInstanceUID="study"), UndecodableImage),
    "cut off": (lambda: objects.as_file(objects.endoscopic())[:400], LameganError),
    "meta information cut off": (lambda: objects.as_file(objects.endoscopic())[:140], UndecodableImage),
    "not DICOM": (lambda: b"\0" * 128 + b"DICX", UnsupportedType),
    "frames larger than said": (
        lambda: objects.compressed(objects.photographic(pixels=scene(960, 640)), uid.JPEGBaseline8Bit).replace(
            b"\x28\x00\x10\x00US\x02\x00\x80\x02", b"\x28\x00\x10\x00US\x02\x00\x40\x00"
        ),
        UndecodableImage,
    ),
}


def _relabelled(syntax: uid.UID) -> bytes:
    made = objects.as_file(objects.endoscopic())
    old, new = (f"{one}".encode() + b"\0" * (len(one) % 2) for one in (uid.ExplicitVRLittleEndian, syntax))
    meta = made[144:].index(b"\x02\x00\x10\x00UI") + 144
    start = meta + 8
    grown = len(new) - len(old)
    length = int.from_bytes(made[140:144], "little") + grown
    head = made[:140] + length.to_bytes(4, "little") + made[144 : meta + 6] + len(new).to_bytes(2, "little")
    return head + new + made[start + len(old) :]


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_served_is_refused_in_words_that_quote_nothing(name: str, enhancer: DicomEnhancer) -> None:
    make, error = REFUSED[name]
    with pytest.raises(error) as refusal:
        enhancer.enhance(make())
    assert objects.SENTINEL not in refusal.value.detail
