"""The comparison of methods: every method over the same held-out images, measured alike, with tables and pictures.

Clean images are degraded by `model_training.data.degradation` with the recipe that training never uses, so that the
truth is known; photos without a truth can be given instead. Two rows frame the table: `input`, a method that returns
what it gets, and `clean`, the truth.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path

from model_training.data.degradation import RECIPES, degrade
from model_training.data.photos import Skip, find_photos, require_any, shared_files
from model_training.evaluation.absent import absent_measures
from model_training.evaluation.brisque import read_published
from model_training.evaluation.images import LEAST_SIDE_PX, evenly_spread, read_each, resized, working_size
from model_training.evaluation.methods import INPUT, Method, exported_method, file_digest, find_method
from model_training.evaluation.niqe import PristineModel, fit_pristine, read_pristine, require_blocks
from model_training.evaluation.results import write_report
from model_training.evaluation.scores import Judges, Scores, score
from model_training.runs.output_checks import require_apart, require_writable
from model_training.runs.progress import Start, silent
from service.errors import DataError, ImageDimensions, InvalidParameter
from service.quality.lassim import LEVEL, canonical_size
from service.quality.pyramid import Image, check_level

CLEAN = "clean"
"""Name of the row of the truth itself."""

SEED_STRIDE = 1_000_003
"""Degradation seeds of image i: `seed * stride + i`, far from training's, which count from 0."""


@dataclass(frozen=True, slots=True)
class EvaluationRequest:
    """What to evaluate.

    Attributes:
        images: file or folder of held-out photos.
        methods: as `find_method` takes them.
        out: folder for the report.
        recipe: how photos are degraded: held-out, training, or none for photos that are bad as they are.
        size: (width, height) to resize to; None keeps the proportions at the generator's working area.
        seed: of the degradations.
        limit: at most so many images, evenly spread; None for all.
        pristine: folder of clean photos for the own NIQE model.
        niqe_model: npz with NIQE's published model.
        brisque_folder: folder with BRISQUE's two published files.
        strips: before/after pictures to write.
        model: folder of an exported model that is measured whether or not it is among the methods.
    """

    images: Path
    methods: tuple[str, ...]
    out: Path
    recipe: str = "held-out"
    size: tuple[int, int] | None = None
    seed: int = 1
    limit: int | None = None
    pristine: Path | None = None
    niqe_model: Path | None = None
    brisque_folder: Path | None = None
    strips: int = 4
    model: Path | None = None


@dataclass(slots=True)
class Evaluation:
    """What was measured.

    Attributes:
        scores: per method, one entry an image, in the images' order.
        strips: per picture kept, the images by row name.
        absent: measures that could not be taken, with the reason.
        notes: in words, what the figures were measured on.
        files: SHA-256 of the model's file, by the name of an exported model's row.
        pristine_shared: pristine photos that are among the evaluated ones.
    """

    scores: dict[str, list[Scores]] = field(default_factory=dict)
    strips: list[dict[str, Image]] = field(default_factory=list)
    absent: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)
    pristine_shared: int = 0


def evaluate(request: EvaluationRequest, start: Start = silent, skip: Skip = lambda sentence: None) -> Evaluation:
    """Runs the comparison and writes report.md, scores.csv and figures to `request.out`.

    A file that cannot be used is left out, and `skip` is told why.

    Raises:
        InvalidParameter: an unknown recipe.
        CommandError: the report cannot be written to `request.out`, or would lie among the photos.
        DataError: an unknown method or unusable model file, or no photo that can be used.
        ImageDimensions: the size asked for is too small to measure.
    """
    _require_possible(request)
    methods = find_methods(request)
    paths = evenly_spread(find_photos(request.images), request.limit)
    judges, absent = gather_judges(request, skip)
    result = Evaluation(absent=absent, files={method.name: method.sha256 for method in methods if method.sha256})
    advance, skipped = start(len(paths)), list[str]()
    for index, photo in read_each(paths, skipped.append, least=LEAST_SIDE_PX):
        try:
            if photo is not None:
                _evaluate_one(photo, index, request, methods, judges, result)
        except ImageDimensions as error:
            skipped.append(f"{paths[index]} cannot be measured. {error.detail}")
        advance()
    require_any(len(paths) - len(skipped), request.images, skipped)
    for sentence in skipped:
        skip(sentence)
    result.pristine_shared = shared_files(find_photos(request.pristine), paths) if request.pristine else 0
    result.notes = _notes(request, len(paths) - len(skipped), judges)
    write_report(result, request.out)
    return result


def _require_possible(request: EvaluationRequest) -> None:
    """Refuses before any work what would be refused after it."""
    if request.recipe not in (*RECIPES, "none"):
        raise InvalidParameter(f"The recipe must be one of {', '.join(RECIPES)} or none, not {request.recipe!r}.")
    if request.size is not None:
        width, height = canonical_size(*request.size)
        check_level(height, width, LEVEL)
    require_apart(request.out, request.images)
    require_writable(request.out)


def find_methods(request: EvaluationRequest) -> list[Method]:
    """Doing nothing, the methods asked for, and the model that is measured in any case.

    Raises:
        DataError: an unknown method, an unusable model file, or two methods of one name.
    """
    methods = [find_method(text) for text in dict.fromkeys((INPUT, *request.methods))]
    if request.model is not None:
        model = request.model / "model.onnx"
        if file_digest(model) not in [method.sha256 for method in methods]:
            found = exported_method(model)
            taken = found.name in [method.name for method in methods]
            methods.append(replace(found, name=str(request.model)) if taken else found)
    _refuse_same_names(methods)
    return methods


def _evaluate_one(
    image: Image, index: int, request: EvaluationRequest, methods: list[Method], judges: Judges, result: Evaluation
) -> None:
    photo = at_size(image, request.size)
    clean, input = (None, photo) if request.recipe == "none" else (photo, _degraded(photo, request, index))
    outputs = {method.name: method.enhance(input) for method in methods}
    if clean is not None:
        outputs[CLEAN] = clean
    scores = {name: score(output, input, clean, judges) for name, output in outputs.items()}
    for name, measured in scores.items():
        result.scores.setdefault(name, []).append(measured)
    if len(result.strips) < request.strips:
        result.strips.append(outputs)


def _degraded(photo: Image, request: EvaluationRequest, index: int) -> Image:
    return degrade(photo, request.seed * SEED_STRIDE + index, recipe=RECIPES[request.recipe])


def at_size(image: Image, size: tuple[int, int] | None) -> Image:
    """`image` at `size`, or with its own proportions at the generator's working area."""
    return resized(image, size or working_size(image.shape[1], image.shape[0]))


def gather_judges(request: EvaluationRequest, skip: Skip = lambda sentence: None) -> tuple[Judges, dict[str, str]]:
    """The no-reference measures that can be taken, and why the others cannot.

    Raises:
        DataError: a file named in the request is not what it should be.
    """
    absent = absent_measures()
    published = read_pristine(request.niqe_model) if request.niqe_model else None
    if published is None:
        absent["NIQE (published model)"] = "no file was given (--niqe)"
    good = _good_photos(request, skip)
    own = _own_pristine(good, absent)
    regressor = read_published(request.brisque_folder) if request.brisque_folder else None
    if regressor is None:
        absent["BRISQUE"] = "no folder with the published allmodel and allrange was given (--brisque)"
    return Judges(own, published, regressor), absent


def _good_photos(request: EvaluationRequest, skip: Skip) -> list[Image]:
    """The clean photos that own models are fitted on."""
    if request.pristine is None:
        return []

    def prepare(photo: Image) -> Image:
        small = at_size(photo, request.size)
        require_blocks(small)
        return small

    found = read_each(find_photos(request.pristine), skip, least=LEAST_SIDE_PX, prepare=prepare)
    return [photo for _, photo in found if photo is not None]


def _own_pristine(good: list[Image], absent: dict[str, str]) -> PristineModel | None:
    if not good:
        absent["NIQE (own model)"] = "no clean photos that it can be fitted on were given (--pristine)"
        return None
    try:
        return fit_pristine(good, f"{len(good)} clean photos")
    except DataError as error:
        absent["NIQE (own model)"] = error.detail
        return None


def _refuse_same_names(methods: list[Method]) -> None:
    names = [method.name for method in methods]
    twice = sorted({name for name in names if names.count(name) > 1 or name == CLEAN})
    if twice:
        raise DataError(f"Give each method its own name (NAME=PATH), none of them {CLEAN!r}: {', '.join(twice)}.")


def _notes(request: EvaluationRequest, images: int, judges: Judges) -> list[str]:
    size = "their own proportions" if request.size is None else f"{request.size[0]}x{request.size[1]}"
    notes = [f"{images} image(s) at {size}."]
    if request.recipe == "none":
        notes.append("The photos are taken as they are; no truth is known.")
    else:
        notes.append(f"Each is degraded by the {request.recipe} recipe (seed {request.seed}); the truth is known.")
    if judges.own_pristine is not None:
        notes.append(f"NIQE (own) is fitted on {judges.own_pristine.source}.")
    if judges.regressor is not None:
        notes.append("BRISQUE is by its authors' published regressor.")
    return notes
