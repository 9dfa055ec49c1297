"""`lamegan-train accept`: every criterion that a model must hold before it ships, measured and written down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from model_training.acceptance import fault_criteria as single
from model_training.acceptance.criteria import at_working_size, other_photos, photos_of, recipe_criteria, trials
from model_training.acceptance.criterion import Criterion, as_json, as_markdown
from model_training.data.photos import Skip, find_photos
from model_training.evaluation.classical import Enhance
from model_training.evaluation.faults.domains import SCENE_DOMAINS, Domain, DomainSource, load_domain
from model_training.evaluation.faults.native import NATIVE_SIZES, model_folder, run_native
from model_training.evaluation.faults.results import FaultResults
from model_training.evaluation.faults.trials import run_trials
from model_training.evaluation.images import evenly_spread, read_image
from model_training.evaluation.methods import Method, exported, file_digest
from model_training.evaluation.niqe import PristineModel, fit_pristine, read_pristine
from model_training.runs.output_checks import require_writable_file
from model_training.runs.progress import Start, silent
from service.errors import InvalidParameter
from service.quality.pyramid import Image

ACCEPTANCE_DOMAINS = (*SCENE_DOMAINS, "natural")
HELD_OUT_SEQUENCES = ("patient1/seq1", "patient2/seq6")
BLURRED_THROAT = "throat/image_blur.png"
PRISTINE_FRAMES = 64
"""NIQE's own pristine model is fitted on so many of the larynx frames that training had: there are many alike."""


@dataclass(frozen=True, slots=True)
class Amount:
    """How many photos are measured; None for all.

    Attributes:
        frames: larynx frames that are degraded by the held-out recipe, three times each.
        photos: photos a domain for the single faults.
        native: photos a domain at native scale.
        sizes: (width, height) of native scale.
    """

    frames: int | None = 16
    photos: int | None = 6
    native: int = 1
    sizes: tuple[tuple[int, int], ...] = NATIVE_SIZES


QUICK = Amount(frames=4, photos=2, native=1, sizes=NATIVE_SIZES[:1])
"""Enough to see where a model stands; too few photos to accept one by."""


@dataclass(frozen=True, slots=True)
class AcceptRequest:
    """What to measure.

    Attributes:
        model: folder of an exported model, or its model.onnx.
        data: folder with throat/, larynx/, mucosa/ and natural/, of which only photos kept out of training are taken,
            and larynx_labels/ if there are labels.
        amount: how many photos.
        niqe: npz with NIQE's published model.
        elsewhere: folder of clean photos of other subjects, not trained on.
        outs: files to write, each .json or .md.
    """

    model: Path
    data: Path
    amount: Amount = Amount()
    niqe: Path | None = None
    elsewhere: Path | None = None
    outs: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class Acceptance:
    """What was found: the criteria, and in words what could not be measured or what was measured on few photos."""

    criteria: tuple[Criterion, ...]
    notes: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """Whether every criterion measured holds."""
        return all(item.holds for item in self.criteria)


def accept(request: AcceptRequest, start: Start = silent, skip: Skip = lambda sentence: None) -> Acceptance:
    """Measure the model on every criterion and write the files asked for.

    Raises:
        CommandError: a file cannot be written.
        DataError: the model cannot be used, or a domain has no photo kept out of training.
        InvalidParameter: a file to write is neither .json nor .md.
        ModelError: the service cannot load the model.
    """
    for out in request.outs:
        _require_kind(out)
        require_writable_file(out)
    folder = model_folder(request.model)
    enhance = exported(folder / "model.onnx", threads=1)
    published = read_pristine(request.niqe) if request.niqe else None
    domains = [_domain(name, request, skip) for name in ACCEPTANCE_DOMAINS]
    results = _fault_results(request, folder, domains, enhance, start)
    criteria = [*_recipe_criteria(request, enhance, published), *_fault_criteria(results, domains, enhance)]
    if published is not None:
        blurred = read_image(request.data / BLURRED_THROAT)
        criteria.append(single.niqe_criterion(blurred, enhance, published))
    found = Acceptance(tuple(criteria), tuple(_notes(request, domains)))
    for out in request.outs:
        _write(found, out)
    return found


def _domain(name: str, request: AcceptRequest, skip: Skip) -> Domain:
    source = DomainSource(name, request.data / name)
    return load_domain(source, request.amount.photos, held_out=True, skip=skip)


def _fault_results(
    request: AcceptRequest, folder: Path, domains: Sequence[Domain], enhance: Enhance, start: Start
) -> FaultResults:
    """The required faults in every domain, at working size and at native scale."""
    name, amount = f"{folder.parent.name}/{folder.name}", request.amount
    method = Method(name, enhance, file_digest(folder / "model.onnx"))
    at_working = run_trials([method], domains, single.REQUIRED, start=start)
    native = run_native({name: folder}, domains, single.REQUIRED, sizes=amount.sizes, photos=amount.native, start=start)
    return FaultResults(tuple(trial for trial in at_working if trial.model == name), tuple(native))


def _fault_criteria(results: FaultResults, domains: Sequence[Domain], enhance: Enhance) -> list[Criterion]:
    return [
        *single.gain_criteria(results.cells),
        *single.clean_criteria(results.cells),
        *single.twice_criteria(domains, enhance),
        *single.redness_criteria(results.cells),
        *single.native_criteria(results.native),
    ]


def _recipe_criteria(request: AcceptRequest, enhance: Enhance, published: PristineModel | None) -> list[Criterion]:
    """The criteria on the held-out recipe: the larynx sequences, the throat photo, and photos of other kinds."""
    larynx, labels = request.data / "larynx", request.data / "larynx_labels"
    known = labels if labels.is_dir() else None
    pairs = trials(larynx, known, HELD_OUT_SEQUENCES, enhance, request.amount.frames)
    pristine = [fit_pristine(_trained_on(larynx), "own pristine model")]
    if published is not None:
        pristine.append(published)
    kinds = other_photos()
    if request.elsewhere is not None:
        paths = evenly_spread(find_photos(request.elsewhere), request.amount.frames)
        kinds["photos from elsewhere"] = [at_working_size(read_image(path)) for path in paths]
    throat = [read_image(request.data / "throat" / "image_original.png")]
    return recipe_criteria(pairs, throat, enhance, pristine, kinds)


def _trained_on(larynx: Path) -> list[Image]:
    """Good larynx frames for a pristine model: of the sequences that training had, where there are any."""
    held_out = set(photos_of(larynx, HELD_OUT_SEQUENCES))
    paths = find_photos(larynx)
    others = [path for path in paths if path not in held_out] or paths
    return [at_working_size(read_image(path)) for path in evenly_spread(others, PRISTINE_FRAMES)]


def _notes(request: AcceptRequest, domains: Sequence[Domain]) -> list[str]:
    amount, told = request.amount, ", ".join(f"{domain.name} {len(domain.photos)}" for domain in domains)
    sizes = " and ".join(f"{width}x{height}" for width, height in amount.sizes)
    measured = f"Held-out recipe on {amount.frames or 'all'} larynx frames; single faults on {told} photos"
    notes = [f"{measured}; native scale on {amount.native} photo(s) a domain at {sizes}."]
    if request.niqe is None:
        notes.append("Not measured: what asks for the published NIQE (--niqe).")
    if request.elsewhere is None:
        notes.append("Not measured: photos from elsewhere (--elsewhere).")
    if request.amount == QUICK:
        notes.append("A quick look: too few photos to accept a model by.")
    return notes


def _require_kind(out: Path) -> None:
    if out.suffix not in (".json", ".md"):
        raise InvalidParameter(f"{out} must end in .json or .md.")


def _write(found: Acceptance, out: Path) -> None:
    if out.suffix == ".json":
        text = as_json(found.criteria)
    else:
        text = "# Acceptance criteria\n\n" + "\n".join(found.notes) + "\n\n" + as_markdown(found.criteria)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text, encoding="utf-8")
