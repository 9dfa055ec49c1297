"""What an evaluation writes into a model's card: thresholds, reference distribution, measured figures."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from model_training.data.photos import Skip, find_photos, without_repeats
from model_training.evaluation.classical import Enhance
from model_training.evaluation.images import LEAST_SIDE_PX, read_each
from model_training.evaluation.methods import exported, file_digest
from model_training.evaluation.report import Evaluation
from model_training.evaluation.results import TITLES
from model_training.evaluation.scores import MEASURES, Scores, values
from model_training.guardrail.calibration import Calibration, calibrate, reference_histograms, require_enough
from model_training.runs.progress import Start, silent
from service.errors import DataError
from service.quality.detail import to_detail_scale
from service.quality.lassim import LEVEL, canonical_size
from service.quality.pyramid import Image, check_level
from service.registry.card import Detection, Figure, read_card, write_card


@dataclass(frozen=True, slots=True)
class Subject:
    """What a calibration needs, checked.

    Attributes:
        folder: the model's.
        enhance: the model.
        photos: (H, W, 3) uint8 RGB, in native resolution up to the detail scale.
        alpha: bound on the false alarms.
    """

    folder: Path
    enhance: Enhance
    photos: tuple[Image, ...]
    alpha: float


def calibration_subject(model: Path, images: Path, alpha: float, skip: Skip = lambda sentence: None) -> Subject:
    """The model in folder `model` and the held-out photos of `images`, refused here if they cannot be calibrated.

    A file that cannot be used is left out, and so is one whose bytes came before: repeats would void the guarantee.
    `skip` is told of each.

    Raises:
        DataError: the folder holds no model with its card, or there are too few photos.
        InvalidParameter: alpha outside (0, 1).
        ModelInvalid: the card cannot be read.
    """
    if not (model / "card.json").is_file() or not (model / "model.onnx").is_file():
        raise DataError(f"{model} is not a model's folder: it needs model.onnx and card.json.")
    if read_card(model / "card.json").file.sha256 != file_digest(model / "model.onnx"):
        raise DataError(f"{model} is not a model's folder: model.onnx is not the file that card.json describes.")
    paths = without_repeats(find_photos(images), skip)
    require_enough(len(paths), alpha)
    found = read_each(paths, skip, least=LEAST_SIDE_PX, prepare=_measurable)
    photos = tuple(photo for _, photo in found if photo is not None)
    require_enough(len(photos), alpha)
    return Subject(model, exported(model / "model.onnx"), photos, alpha)


def _measurable(photo: Image) -> Image:
    """`photo` at the detail scale.

    Raises:
        ImageDimensions: it is too small at the canonical scale to be measured.
    """
    width, height = canonical_size(photo.shape[1], photo.shape[0])
    check_level(height, width, LEVEL)
    return to_detail_scale(photo)


def calibrate_model(subject: Subject, out: Path, *, seed: int = 0, start: Start = silent) -> Calibration:
    """Calibrates the guard of a model on held-out photos and writes thresholds and reference.

    The card gets them; `out` gets guard.md with every rate.

    Raises:
        ModelInvalid: the card cannot be read.
    """
    enhance, photos, path = subject.enhance, subject.photos, subject.folder / "card.json"
    calibration = calibrate(photos, enhance, alpha=subject.alpha, seed=seed, start=start)
    references = reference_histograms(photos, enhance, seed=seed)
    card = read_card(path)
    lassim = card.lassim.model_copy(update={"reference": references.pop("lassim")})
    write_card(
        card.model_copy(update={"guard": calibration.as_guard(), "lassim": lassim, "references": references}), path
    )
    out.mkdir(parents=True, exist_ok=True)
    (out / "guard.md").write_text(guard_markdown(calibration), encoding="utf-8")
    return calibration


def record(model: Path, result: Evaluation) -> None:
    """Writes what `result` measured of the model in folder `model` into its card, if its file was measured.

    Raises:
        ModelInvalid: the card cannot be read.
    """
    sha256 = file_digest(model / "model.onnx")
    for name, measured in result.files.items():
        if measured == sha256:
            record_figures(model, result.scores[name], " ".join(result.notes))
            return


def record_figures(model: Path, scores: Sequence[Scores], on: str) -> None:
    """Writes the means of `scores` into the card of the model in folder `model`, replacing those of the same kind.

    Raises:
        ModelInvalid: the card cannot be read.
    """
    card = read_card(model / "card.json")
    fresh = [
        Figure(metric=TITLES[name], value=round(sum(found) / len(found), 4), on=on, images=len(found))
        for name in MEASURES
        if (found := values(scores, name))
    ]
    kept = [figure for figure in card.evaluation if figure.on != on]
    write_card(card.model_copy(update={"evaluation": [*kept, *fresh]}), model / "card.json")


def guard_markdown(calibration: Calibration) -> str:
    """Thresholds, false alarms by kind, and detection by fault and size, as Markdown."""
    floors = calibration.floors
    lines = [
        "# Guardrail calibration",
        "",
        f"Stated bound on false alarms: {calibration.alpha}.",
        f"{calibration.calibration_photos} photos set the thresholds, {calibration.test_photos} others the rates.",
        "",
        "| threshold | value |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in floors.model_dump().items()),
        "",
        "## False alarms on harmless changes",
        "",
        "| change | below a threshold |",
        "|---|---|",
        *(f"| {kind} | {rate:.3f} |" for kind, rate in calibration.false_alarms.items()),
        f"| **all** | **{calibration.false_alarm_rate:.3f}** |",
        "",
        "## Planted faults caught",
        "",
        "| fault | size | in a clean photo | in a restored photo |",
        "|---|---|---|---|",
    ]
    lines += _detection_rows(calibration.detection, calibration.restored_detection)
    lines += [
        "",
        "## Planted faults of fine detail caught, in native resolution",
        "",
        "| fault | size | in a clean photo | in a restored photo |",
        "|---|---|---|---|",
        *_detection_rows(calibration.detail_detection, calibration.restored_detail_detection),
    ]
    return "\n".join([*lines, ""])


def _detection_rows(clean: Sequence[Detection], restored: Sequence[Detection]) -> list[str]:
    rates = {(item.fault, item.size): f"{item.rate:.3f}" for item in restored}
    return [
        f"| {item.fault} | {item.size} | {item.rate:.3f} | {rates.get((item.fault, item.size), '–')} |"
        for item in clean
    ]
