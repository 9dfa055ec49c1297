"""`lamegan-train evaluate --faults`: the whole measure, from domains and methods to the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from model_training.data.photos import Skip
from model_training.evaluation.faults.card import record_all
from model_training.evaluation.faults.domains import Domain, load_domain, parse_source, require_once
from model_training.evaluation.faults.kinds import faults_named
from model_training.evaluation.faults.native import NATIVE_SIZES, NativeTrial, model_folder, run_native
from model_training.evaluation.faults.report import write_fault_report
from model_training.evaluation.faults.results import FaultResults
from model_training.evaluation.faults.trials import run_trials
from model_training.evaluation.methods import Method, find_method
from model_training.evaluation.niqe import read_pristine
from model_training.runs.output_checks import require_apart, require_writable
from model_training.runs.progress import Start, silent
from service.errors import DataError


@dataclass(frozen=True, slots=True)
class FaultRequest:
    """What to measure.

    Attributes:
        domains: NAME=PATH each, or `phantoms`.
        methods: as `find_method` takes them.
        out: folder for the report.
        faults: names of faults; empty for all.
        held_out: take only the photos that the repository keeps out of training.
        limit: most photos a domain, evenly spread; None for all.
        native: photos a domain that also go through the service at native scale; 0 for none.
        seed: of the random faults.
        niqe_model: npz with NIQE's published model.
        record: write figures and where it is behind into the card of each model measured.
    """

    domains: tuple[str, ...]
    methods: tuple[str, ...]
    out: Path
    faults: tuple[str, ...] = ()
    held_out: bool = False
    limit: int | None = None
    native: int = 0
    seed: int = 1
    niqe_model: Path | None = None
    record: bool = False


def evaluate_faults(request: FaultRequest, start: Start = silent, skip: Skip = lambda sentence: None) -> FaultResults:
    """Measure every method on every fault and write the report to `request.out`.

    A photo that cannot be used is left out, and `skip` is told why.

    Raises:
        InvalidParameter: an unknown domain or fault.
        CommandError: the report cannot be written to `request.out`, or would lie among the photos.
        DataError: an unknown method, two of one name, a domain without photos, or a model without the
            card that it needs.
        ModelError: a model cannot be served.
    """
    sources = [parse_source(text) for text in request.domains]
    require_once(sources)
    faults = faults_named(request.faults)
    for source in sources:
        if source.path is not None:
            require_apart(request.out, source.path)
    require_writable(request.out)
    methods = find_methods(request.methods)
    folders = _folders(request, methods) if request.native or request.record else {}
    pristine = read_pristine(request.niqe_model) if request.niqe_model else None
    domains = [load_domain(source, request.limit, held_out=request.held_out, skip=skip) for source in sources]
    trials = run_trials(methods, domains, faults, seed=request.seed, pristine=pristine, start=start)
    native: list[NativeTrial] = []
    if request.native:
        native = run_native(folders, domains, faults, photos=request.native, seed=request.seed, start=start)
    results = FaultResults(tuple(trials), tuple(native), tuple(_notes(request, domains)))
    write_fault_report(results, request.out)
    if request.record:
        record_all(results, methods, list(folders.values()))
    return results


def find_methods(texts: Sequence[str]) -> list[Method]:
    """The methods that `texts` mean, each of another name.

    Raises:
        DataError: an unknown method, or two of one name.
    """
    methods = [find_method(text) for text in dict.fromkeys(texts)]
    names = [method.name for method in methods]
    if twice := {name for name in names if names.count(name) > 1}:
        raise DataError(f"Give each method its own name (NAME=PATH): {min(twice)} is there twice.")
    return methods


def _folders(request: FaultRequest, methods: Sequence[Method]) -> dict[str, Path]:
    """The folders of the exported models among the methods, by their names in the tables."""
    asked = zip(dict.fromkeys(request.methods), methods, strict=True)
    return {method.name: model_folder(_path(text)) for text, method in asked if method.sha256 is not None}


def _path(text: str) -> Path:
    return Path(text) if Path(text).exists() else Path(text.partition("=")[2])


def _notes(request: FaultRequest, domains: Sequence[Domain]) -> list[str]:
    told = ", ".join(f"{domain.name} {len(domain.photos)}" for domain in domains)
    notes = [f"Photos: {told}; seed {request.seed}."]
    if request.held_out:
        notes.append("All are kept out of training (`model_training/evaluation/held_out/`).")
    if request.niqe_model is None:
        notes.append("NIQE was not measured: no model of it was given (--niqe).")
    if request.native:
        sizes = " and ".join(f"{width}x{height}" for width, height in NATIVE_SIZES)
        notes.append(f"Native scale: {request.native} photo(s) a domain at {sizes}.")
    return notes
