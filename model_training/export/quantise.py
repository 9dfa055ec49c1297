"""`lamegan-train quantise`: a variant in other numbers beside a model, measured, and refused where it loses."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import onnxruntime

from model_training.data.photos import Skip, find_photos, without_repeats
from model_training.data.signal_faults import as_pixels, signal_faults
from model_training.evaluation.faults.kinds import FAULTS, damaged
from model_training.evaluation.images import LEAST_SIDE_PX, evenly_spread, read_each, resized, working_size
from model_training.evaluation.psnr import psnr
from model_training.export.eight_bit import in_eight_bits, measured_ranges
from model_training.export.half_precision import in_half_precision
from model_training.export.onnx import as_base64_png, from_base64_png
from model_training.export.stages import branches
from model_training.runs.progress import Start, silent
from service.durable import write_whole
from service.errors import DataError, ExportError
from service.pixels import Pixels
from service.registry.card import ModelCard, read_card, write_card
from service.registry.model_file import EightBit, HalfPrecision
from service.vocabulary import VARIANT_FILES

LEAST_PHOTOS = 8
MEASURED = 4
"""One photo in so many is not calibrated on: the figures are measured there."""
DRAWS = 3
"""Ways in which each calibration photo is damaged; besides it is taken as it is."""
MOST_LOST_DB = 0.1
"""PSNR to the clean photo that the mean over the photos may lose under any one fault."""
LEAST_ALIKE_DB = 45.0
"""PSNR between both variants' results, the least mean under any one fault."""

Run = Callable[[Pixels], Pixels]
Numbers = Literal["int8", "float16"]
Facts = EightBit | HalfPrecision


@dataclass(frozen=True, slots=True)
class QuantiseRequest:
    """What `quantise` is asked for; see its options."""

    model: Path
    photos: Sequence[Path]
    seed: int = 0
    limit: int = 96
    precision: Numbers = "int8"


def quantise(request: QuantiseRequest, *, skip: Skip = lambda sentence: None, start: Start = silent) -> Facts:
    """Write the variant beside `model.onnx`, and its digest and figures into the card; or nothing at all.

    The same photos and seed give the same file. A signature of the model no longer holds afterwards.

    Raises:
        DataError: the folder holds no sound model, or there are too few photos.
        ExportError: the model has no detail stage to rewrite, or the variant is too far from it.
    """
    card, weights = _read_model(request.model)
    calibrated, measured = _photos(request, skip)
    model = onnx.load_from_string(weights)
    if request.precision == "int8":
        variant = in_eight_bits(model, measured_ranges(model, _damaged(calibrated, request.seed)))
    else:
        variant = in_half_precision(model)
    _require_alike(model, variant)
    content = variant.SerializeToString(deterministic=True)
    run, run_variant = runner(weights), runner(content)
    lost, alike = _compare(run, run_variant, measured, request.seed, start)
    found = HalfPrecision(
        sha256=hashlib.sha256(content).hexdigest(),
        size_bytes=len(content),
        golden_png=as_base64_png(run_variant(from_base64_png(card.golden.input_png))),
        seed=request.seed,
        measured_photos=len(measured),
        lost_db=lost,
        alike_db=alike,
    )
    in_bytes = request.precision == "int8"
    facts = EightBit(**found.model_dump(), calibration_photos=len(calibrated)) if in_bytes else found
    require_close(facts)
    try:
        write_whole(request.model / VARIANT_FILES[request.precision], content)
        write_card(card.model_copy(update={"eight_bit" if in_bytes else "half": facts}), request.model / "card.json")
    except OSError as error:
        raise ExportError(f"The {request.precision} variant could not be written: {error.strerror}.") from error
    return facts


def require_close(facts: Facts) -> None:
    """Hold the figures to `MOST_LOST_DB` and `LEAST_ALIKE_DB`.

    Raises:
        ExportError: one is beyond its bound, or not a number; in eight bits a processor without VNNI may be why.
    """
    for fault, lost in facts.lost_db.items():
        alike = facts.alike_db[fault]
        if not (lost <= MOST_LOST_DB and alike >= LEAST_ALIKE_DB):
            advice = (
                " On a processor without VNNI its sums may overflow; else calibrate on more photos of the kinds it "
                "is for."
            )
            raise ExportError(
                f"Under {fault} the variant loses {lost:.2f} dB (at most {MOST_LOST_DB}) and is within {alike:.1f} dB "
                f"of the model (at least {LEAST_ALIKE_DB:.0f}). Nothing was written."
                f"{advice if isinstance(facts, EightBit) else ''}"
            )


def runner(weights: bytes) -> Run:
    """Runs one (H, W, 3) uint8 RGB photo through a model on the CPU."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(weights, options, providers=["CPUExecutionProvider"])
    return lambda photo: np.asarray(session.run(["enhanced"], {"image": photo[None]})[0][0], np.uint8)


def _read_model(folder: Path) -> tuple[ModelCard, bytes]:
    try:
        weights = (folder / "model.onnx").read_bytes()
    except OSError as error:
        raise DataError(f"{folder} is not a model's folder: it needs model.onnx and card.json.") from error
    card = read_card(folder / "card.json")
    if card.file.sha256 != hashlib.sha256(weights).hexdigest():
        raise DataError(f"{folder} is not a model's folder: model.onnx is not the file that card.json describes.")
    return card, weights


def _photos(request: QuantiseRequest, skip: Skip) -> tuple[list[Pixels], list[Pixels]]:
    """The photos at working size: those to calibrate on, and those to measure on."""
    sources = [evenly_spread(find_photos(source), request.limit // len(request.photos)) for source in request.photos]
    paths = without_repeats([path for source in sources for path in source], skip)
    found = read_each(paths, skip, least=LEAST_SIDE_PX, prepare=_at_working_size)
    photos = [photo for _, photo in found if photo is not None]
    if len(photos) < LEAST_PHOTOS:
        raise DataError(f"There are {len(photos)} photos to calibrate on; at least {LEAST_PHOTOS} are needed.")
    measured = photos[MEASURED - 1 :: MEASURED]
    return [photo for index, photo in enumerate(photos) if index % MEASURED != MEASURED - 1], measured


def _at_working_size(photo: Pixels) -> Pixels:
    return resized(photo, working_size(photo.shape[1], photo.shape[0]))


def _damaged(photos: Iterable[Pixels], seed: int) -> Iterator[Pixels]:
    """Each photo as it is, and with faults of the training's."""
    for index, photo in enumerate(photos):
        yield photo
        rng = np.random.default_rng([seed, index])
        for _ in range(DRAWS):
            yield as_pixels(signal_faults(photo.astype(np.float32) / np.float32(255), rng))


def _compare(
    run: Run, run_variant: Run, photos: Sequence[Pixels], seed: int, start: Start
) -> tuple[dict[str, float], dict[str, float]]:
    """For each fault: the mean PSNR to the clean photo that is lost, and that between both variants' results."""
    advance, lost, alike = start(len(FAULTS) * len(photos)), dict[str, float](), dict[str, float]()
    for fault in FAULTS:
        of_fault = []
        for index, clean in enumerate(photos):
            bad = damaged(clean, fault, seed + 1, key=str(index))
            made, varied = run(bad), run_variant(bad)
            of_fault.append((psnr(made, clean) - psnr(varied, clean), psnr(varied, made)))
            advance()
        lost[fault.name], alike[fault.name] = (round(float(mean), 3) for mean in np.mean(of_fault, 0))
    return lost, alike


def _require_alike(model: onnx.ModelProto, variant: onnx.ModelProto) -> None:
    """Both take and give the same, under the same versions, and branch alike.

    Raises:
        ExportError: they do not.
    """
    if _shape_of(model) != _shape_of(variant):
        raise ExportError("The variant does not take, give or branch as the model does.")


def _shape_of(model: onnx.ModelProto) -> object:
    ends = [end.SerializeToString(deterministic=True) for end in (*model.graph.input, *model.graph.output)]
    versions = [(item.domain, item.version) for item in model.opset_import]
    return ends, versions, model.ir_version, _choices(model.graph)


def _choices(graph: onnx.GraphProto) -> list[object]:
    """The nodes with branches: their names, what decides, and the choices inside."""
    return [
        (node.name, list(node.input), [_choices(branch) for branch in branches(node)])
        for node in graph.node
        if branches(node)
    ]
