"""`lamegan-train` validate-lassim, evaluate, accept and reference: what a model is worth."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from model_training.commands.options import (
    DOMAINS,
    EXIT_NOT_HELD,
    RECIPES,
    Niqe,
    name_skipped,
    warn,
)
from service.errors import InvalidParameter

if TYPE_CHECKING:
    from model_training.evaluation.report import EvaluationRequest

commands = typer.Typer()


@commands.command("validate-lassim")
def validate_lassim(
    images: Annotated[Path, typer.Argument(help="An image, a folder of them, or a text file that lists them.")],
    out: Annotated[Path, typer.Option(help="The folder for table.md, table.csv and distributions.png.")],
    size: Annotated[str, typer.Option(help="WIDTHxHEIGHT that each image is resized to.")] = "480x272",
    seed: Annotated[int, typer.Option(help="Seed of the first random field.", min=0)] = 0,
    seeds: Annotated[int, typer.Option(help="Random fields per image.", min=1)] = 1,
) -> None:
    """Run the paper's table I: does LaSSIM tell warped images from blurred ones?"""
    from model_training.evaluation.images import parse_size
    from model_training.evaluation.table1 import validate_lassim as run
    from model_training.evaluation.table1_report import summary
    from model_training.runs.progress import bar

    skipped: list[str] = []
    with bar("Scoring") as start:
        rows = run(images, out, size=parse_size(size), seed=seed, seeds=seeds, start=start, skip=skipped.append)
    name_skipped(skipped)
    Console().print(f"{summary(rows)} Written to {out}.", markup=False, highlight=False)


@commands.command()
def evaluate(
    out: Annotated[Path, typer.Option(help="The folder for the report, its tables and figures.")],
    images: Annotated[
        Path | None, typer.Argument(help="Held-out photos: a folder, a text file that lists them, or one.")
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(help="clahe, dark-channel, weighted-guided-filter, or [NAME=]PATH of a model or checkpoint."),
    ] = None,
    recipe: Annotated[
        str, typer.Option(help=f"{RECIPES}: how clean photos are degraded; none: they are used as they are.")
    ] = "held-out",
    size: Annotated[
        str | None, typer.Option(help="WIDTHxHEIGHT; default: about 130k pixels, proportions kept.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the degradations.", min=1)] = 1,
    limit: Annotated[
        int | None,
        typer.Option(help="Compare on at most this many photos, evenly spread; calibration uses all.", min=1),
    ] = None,
    pristine: Annotated[Path | None, typer.Option(help="Clean photos to fit our own NIQE model on.")] = None,
    niqe: Niqe = None,
    brisque: Annotated[Path | None, typer.Option(help="Folder with BRISQUE's allmodel and allrange.")] = None,
    strips: Annotated[int, typer.Option(help="Before/after pictures to write.", min=0)] = 4,
    calibrate: Annotated[
        Path | None,
        typer.Option(help="A model's folder: measure it, calibrate its guardrail on these photos, write its card."),
    ] = None,
    alpha: Annotated[float, typer.Option(help="Bound on the guardrail's false alarms, in (0, 1).")] = 0.05,
    faults: Annotated[
        bool, typer.Option("--faults", help="Measure single faults by strength and domain, beside one-line filters.")
    ] = False,
    domain: Annotated[
        list[str] | None,
        typer.Option(help=f"With --faults: clean photos, NAME=PATH with {DOMAINS}; phantoms alone are drawn."),
    ] = None,
    fault: Annotated[list[str] | None, typer.Option(help="With --faults: only this one; repeatable.")] = None,
    held_out: Annotated[
        bool, typer.Option("--held-out", help="With --faults: only photos that no training here has seen.")
    ] = False,
    native: Annotated[
        int, typer.Option(help="With --faults: so many photos a domain also at 1280x720 and 1920x1080.", min=0)
    ] = 0,
    write_cards: Annotated[
        bool, typer.Option("--record", help="With --faults: write each model's figures into its card.")
    ] = False,
) -> None:
    """Compare methods over held-out photos: tables, scores and pictures; calibrate a model's guardrail.

    With --faults, measure each method on single faults of known strength instead: lamegan-train evaluate --faults
    --domain larynx=photos/larynx --method models/lamegan-fast/1.0.0 --out report
    """
    asked = {"--domain": domain, "--fault": fault, "--held-out": held_out, "--native": native, "--record": write_cards}
    if faults:
        left = {
            "IMAGES": images,
            "--calibrate": calibrate,
            "--pristine": pristine,
            "--size": size,
            "--brisque": brisque,
        }
        _refuse(left, "{} cannot go with --faults, which takes its photos by --domain and has measures of its own.")
        names = (tuple(domain or ()), tuple(method or ()), out, tuple(fault or ()))
        _evaluate_faults(*names, held_out, limit, native, seed, niqe, write_cards)
        return
    _refuse(asked, "{} goes with --faults only.")
    if images is None:
        raise InvalidParameter("Name the photos to compare methods over, or give --faults with --domain NAME=PATH.")
    from model_training.evaluation.images import parse_size
    from model_training.evaluation.report import EvaluationRequest

    request = EvaluationRequest(
        images=images,
        methods=tuple(method or ()),
        out=out,
        recipe=recipe,
        size=parse_size(size) if size else None,
        seed=seed,
        limit=limit,
        pristine=pristine,
        niqe_model=niqe,
        brisque_folder=brisque,
        strips=strips,
        model=calibrate,
    )
    _compare(request, alpha)


def _compare(request: EvaluationRequest, alpha: float) -> None:
    """Compare the methods, write the report, and calibrate the model's guardrail where there is one to calibrate."""
    from model_training.evaluation.report import evaluate as run
    from model_training.guardrail.card_update import calibrate_model, calibration_subject, record
    from model_training.runs.output_checks import require_apart, require_writable
    from model_training.runs.progress import bar

    images, out, model = request.images, request.out, request.model
    require_apart(out, images)
    require_writable(out)
    skipped: list[str] = []
    subject = calibration_subject(model, images, alpha, skipped.append) if model is not None else None
    with bar("Evaluating") as start:
        result = run(request, start, skipped.append)
    name_skipped(skipped)
    if result.pristine_shared:
        warn(
            f"{result.pristine_shared} of the --pristine photos are among the evaluated ones: NIQE (own) is "
            "too kind to them."
        )
    Console().print(f"{len(result.scores)} rows written to {out / 'report.md'}.", markup=False, highlight=False)
    if subject is not None:
        with bar("Calibrating") as start:
            found = calibrate_model(subject, out, start=start)
        record(subject.folder, result)
        Console().print(
            f"Guardrail of {model}: {found.false_alarm_rate:.1%} false alarms (bound {alpha:.0%}); thresholds and "
            f"figures written to its card, rates to {out / 'guard.md'}.",
            markup=False,
            highlight=False,
        )


def _refuse(options: Mapping[str, object], sentence: str) -> None:
    """Refuses the first of the options that was given, in the words of `sentence`."""
    if given := [name for name, value in options.items() if value]:
        raise InvalidParameter(sentence.format(given[0]))


def _evaluate_faults(*options: Any) -> None:
    from model_training.evaluation.faults.report import FILES
    from model_training.evaluation.faults.run import FaultRequest, evaluate_faults
    from model_training.runs.progress import bar

    request, skipped = FaultRequest(*options), list[str]()
    with bar("Measuring faults") as start:
        result = evaluate_faults(request, start, skipped.append)
    name_skipped(skipped)
    told = f"{result.summary()} {', '.join(FILES)} are in {request.out}."
    Console(soft_wrap=True).print(told, markup=False, highlight=False)


@commands.command()
def accept(
    model: Annotated[Path, typer.Argument(help="The model's folder, NAME/VERSION with model.onnx and card.json.")],
    data: Annotated[Path, typer.Option(help="Folder with throat, larynx, mucosa and natural.")],
    niqe: Niqe = None,
    elsewhere: Annotated[Path | None, typer.Option(help="Clean photos of other subjects, not trained on.")] = None,
    out: Annotated[list[Path] | None, typer.Option(help="A .json or .md file to write; repeatable.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Few photos: where does a model stand?")] = False,
    frames: Annotated[int | None, typer.Option(help="Larynx frames for the held-out recipe.", min=1)] = None,
    photos: Annotated[int | None, typer.Option(help="Photos a domain for the single faults.", min=1)] = None,
) -> None:
    """Measure every criterion that a model must hold before it ships; exit code 1 if one does not hold."""
    from dataclasses import replace

    from model_training.acceptance.accept import QUICK, AcceptRequest, Amount
    from model_training.acceptance.accept import accept as run
    from model_training.runs.progress import bar

    amount = QUICK if quick else Amount()
    amount = replace(amount, frames=frames or amount.frames, photos=photos or amount.photos)
    skipped: list[str] = []
    with bar("Measuring") as start:
        found = run(AcceptRequest(model, data, amount, niqe, elsewhere, tuple(out or ())), start, skipped.append)
    name_skipped(skipped)
    held = sum(item.holds for item in found.criteria)
    lines = [*map(str, found.criteria), *found.notes, f"{held} of {len(found.criteria)} criteria hold."]
    Console(soft_wrap=True).print("\n".join(lines), markup=False, highlight=False)
    if not found.holds:
        raise typer.Exit(EXIT_NOT_HELD)


@commands.command()
def reference(
    name: Annotated[str, typer.Option(help="What to call it: lower-case letters, digits, dashes.")],
    out: Annotated[Path, typer.Option(help="Folder of references, the service's LAMEGAN_REFERENCES_DIR.")],
    prometheus: Annotated[str | None, typer.Option(help="Address of a Prometheus that scrapes the service.")] = None,
    csv: Annotated[Path | None, typer.Option(help="A CSV of scores, as `lamegan enhance --csv` writes it.")] = None,
    days: Annotated[int, typer.Option(min=1, help="How many days of Prometheus to take.")] = 28,
    model_digest: Annotated[str | None, typer.Option(help="SHA-256 of the model that made the scores.")] = None,
    version: Annotated[str | None, typer.Option(help="Of the reference; else the next after those in OUT.")] = None,
) -> None:
    """Make a reference of a site's own first weeks, to compare later ones with; a version is never changed."""
    from model_training.evaluation.reference import make_reference

    path, made = make_reference(
        out, name=name, version=version, prometheus=prometheus, csv=csv, days=days, model_digest=model_digest
    )
    typer.echo(f"{path}: {made.label}, {max(sum(found) for found in made.counts.values())} photos.")
