"""What an evaluation writes into a model's card: floors, reference distribution, measured figures."""

from collections.abc import Sequence
from pathlib import Path

from model_training.evaluation.calibration import Calibration, calibrate, reference_histogram
from model_training.evaluation.images import find_images, read_image
from model_training.evaluation.methods import exported, model_name
from model_training.evaluation.progress import Start, silent
from model_training.evaluation.report import Evaluation
from model_training.evaluation.report_files import TITLES
from model_training.evaluation.scores import MEASURES, Scores, values
from service.errors import DataError
from service.registry.card import Figure, read_card, write_card


def calibrate_model(
    model: Path, images: Path, out: Path, *, alpha: float, seed: int = 0, start: Start = silent
) -> Calibration:
    """Calibrates the guard of the model in folder `model` on held-out photos and writes floors and reference.

    The card gets them; `out` gets guard.md with every rate.

    Raises:
        DataError: the folder holds no model and card, or there are too few photos.
        ModelInvalid: the card cannot be read.
        UndecodableImage: an image that is none.
    """
    if not (model / "card.json").is_file() or not (model / "model.onnx").is_file():
        raise DataError(f"{model} is no model's folder: it needs model.onnx and card.json.")
    card = read_card(model / "card.json")
    enhance = exported(model / "model.onnx")
    photos = [read_image(path) for path in find_images(images)]
    calibration = calibrate(photos, enhance, alpha=alpha, seed=seed, start=start)
    lassim = card.lassim.model_copy(update={"reference": reference_histogram(photos, enhance, seed=seed)})
    update = {"guard": calibration.as_guard(), "lassim": lassim}
    write_card(card.model_copy(update=update), model / "card.json")
    out.mkdir(parents=True, exist_ok=True)
    (out / "guard.md").write_text(guard_markdown(calibration), encoding="utf-8")
    return calibration


def record(model: Path, result: Evaluation) -> None:
    """Writes what `result` measured of the model in folder `model` into its card, if it was among the methods.

    Raises:
        ModelInvalid: the card cannot be read.
    """
    scores = result.scores.get(model_name(model / "model.onnx"))
    if scores:
        record_figures(model, scores, " ".join(result.notes))


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
    """Floors, false alarms by kind, and detection by fault and size, as Markdown."""
    floors = calibration.floors
    lines = [
        "# Guardrail calibration",
        "",
        f"Stated bound on false alarms: {calibration.alpha}.",
        f"{calibration.calibration_photos} photos set the floors, {calibration.test_photos} others gave these rates.",
        "",
        "| floor | value |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in floors.model_dump().items()),
        "",
        "## False alarms on harmless changes",
        "",
        "| change | below a floor |",
        "|---|---|",
        *(f"| {kind} | {rate:.3f} |" for kind, rate in calibration.false_alarms.items()),
        f"| **all** | **{calibration.false_alarm_rate:.3f}** |",
        "",
        "## Planted faults caught",
        "",
        "| fault | size | in a clean photo | in a restored photo |",
        "|---|---|---|---|",
    ]
    restored = {(item.fault, item.size): item.rate for item in calibration.restored_detection}
    for item in calibration.detection:
        other = restored.get((item.fault, item.size))
        lines.append(f"| {item.fault} | {item.size} | {item.rate:.3f} | {'–' if other is None else f'{other:.3f}'} |")
    return "\n".join([*lines, ""])
