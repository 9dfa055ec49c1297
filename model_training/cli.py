"""``lamegan-train``: thin commands; each one's work is in the module of its subject."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import typer
from rich.console import Console

from service.errors import ConfigurationError, InvalidParameter, LameganError
from service.vocabulary import Device

# Commands import their subject when they run: torch takes seconds, and --help should not.
if TYPE_CHECKING:
    from torch import nn

    from model_training.config.schema import TrainingConfig
    from model_training.runs.progress import Start
    from model_training.training.loop import Outcome
    from service.quality.pyramid import Image

EXIT_REFUSED = 2
"""Something asked for cannot be done; one sentence on the error output says what."""
EXIT_NOT_HELD = 1
"""An acceptance criterion does not hold; the table says which."""
EXIT_INTERRUPTED = 75
"""Stopped by SIGTERM or Ctrl-C with everything saved: run again with --resume (sysexits.h: EX_TEMPFAIL)."""

T = TypeVar("T")
_DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}

app = typer.Typer(
    help="Train, compare and export LaMEGAN generators.", no_args_is_help=True, pretty_exceptions_enable=False
)


PRESETS = ", ".join(sorted(path.stem for path in (Path(__file__).parent / "config" / "presets").glob("*.yaml")))
RECIPES = "training, heavy, held-out"
"""As in `model_training.data.degradation`, too slow to import for a help text; a test holds them together."""
DOMAINS = "throat, larynx, mucosa, natural, phantoms"
"""As in `model_training.evaluation.faults.domains`, likewise."""
PHANTOM_SIDE_PX, PHANTOM_AREA_PX = 4096, 1920 * 1088
"""A drawing of this area takes most of a minute."""

Config = Annotated[str, typer.Option(help=f"A preset ({PRESETS}) or a YAML file.")]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Changes one setting; repeatable.")]
Vgg = Annotated[Path | None, typer.Option(help="VGG16 weights: Caffe's as .npz, or torchvision's state dict.")]
DeviceOption = Annotated[Device, typer.Option(help="auto takes a GPU if there is one.")]
Everyday = Annotated[Path | None, typer.Option(help="Photos of other subjects: what G should leave unchanged.")]
Sources = Annotated[Path | None, typer.Option(help="YAML naming the photos' sources, licences and patients.")]


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        sys.stdout.write(f"lamegan {version('lamegan')}\n")
        raise typer.Exit


@app.callback()
def _train(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Keeps `lamegan-train` a group of commands."""


@app.command()
def fit(
    lq: Annotated[Path, typer.Option(help="Photos of low quality: a folder, or a text file that lists them.")],
    hq: Annotated[Path, typer.Option(help="Photos of high quality, of other scenes.")],
    out: Annotated[Path, typer.Option(help="The run's folder: checkpoints, losses, pictures.")],
    config: Config = "paper",
    objective: Annotated[str | None, typer.Option(help="lamegan, cyclegan, miinet or stillgan.")] = None,
    settings: Set = None,
    vgg: Vgg = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue from the newest sound checkpoint.")] = False,
    warm_start: Annotated[Path | None, typer.Option(help="A checkpoint whose G and F to start from.")] = None,
    everyday: Everyday = None,
    validate: Annotated[Path | None, typer.Option(help="Clean photos kept out of training, to score G on.")] = None,
    sources: Sources = None,
    device: DeviceOption = "auto",
    minutes: Annotated[float | None, typer.Option(help="Save and stop after this many minutes.", min=0)] = None,
) -> None:
    """Train a generator from two folders of unpaired photos."""
    from model_training.training.fit import FitRequest
    from model_training.training.fit import fit as run

    request = FitRequest(
        config=_configured(config, settings, objective, vgg),
        lq=lq,
        hq=hq,
        out=out,
        resume=resume,
        warm_start=warm_start,
        everyday=everyday,
        validate=validate,
        sources=sources,
        device=device,
        minutes=minutes,
    )
    _end(run(request, _console()), out)


@app.command()
def distil(
    teacher: Annotated[Path, typer.Argument(help="The bigger generator: a checkpoint, or a run's folder.")],
    photos: Annotated[Path, typer.Option(help="Unpaired photos: a folder, or a text file that lists them.")],
    out: Annotated[Path, typer.Option(help="The run's folder.")],
    config: Config = "smoke",
    settings: Set = None,
    vgg: Vgg = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue from the newest sound checkpoint.")] = False,
    sources: Sources = None,
    device: DeviceOption = "auto",
    minutes: Annotated[float | None, typer.Option(help="Save and stop after this many minutes.", min=0)] = None,
) -> None:
    """Teach a small generator (the configuration's) from a bigger one."""
    from model_training.training.distil import DistilRequest
    from model_training.training.distil import distil as run

    request = DistilRequest(
        config=_configured(config, settings, None, vgg),
        teacher=teacher,
        photos=photos,
        out=out,
        resume=resume,
        sources=sources,
        device=device,
        minutes=minutes,
    )
    _end(run(request, _console()), out)


@app.command()
def export(
    checkpoint: Annotated[Path, typer.Argument(help="A checkpoint, or a run's folder (its best, else its newest).")],
    name: Annotated[str, typer.Option(help="The model's name.")],
    version: Annotated[str, typer.Option(help="The model's version, as 1.0.0.")],
    out: Annotated[Path, typer.Option(help="The models' folder.")] = Path("models"),
    sources: Sources = None,
) -> None:
    """Write model.onnx and card.json, after checking that ONNX Runtime returns torch's pixels."""
    from model_training.export.onnx import ExportRequest, export_model

    exported = export_model(ExportRequest(checkpoint, name, version, out, sources=sources))
    Console().print(
        f"{exported.folder}: {exported.parameters:,} parameters, {exported.size_bytes / 1e6:.2f} MB; against torch at "
        f"most {exported.parity.worst} grey level(s), {exported.parity.share:.4%} of the values.",
        markup=False,
    )
    _warn(
        "The guardrail is not calibrated and nothing is measured yet: the service would hold this model to strict "
        "built-in thresholds, and lamegan models activate refuses it. Next, with held-out good photos: "
        f"lamegan-train evaluate PHOTOS --out REPORT --calibrate {exported.folder}"
    )


@app.command("warm-start")
def warm_start(
    hq: Annotated[Path, typer.Option(help="Clean photos; the degraded ones are made from them.")],
    out: Annotated[Path, typer.Option(help="The run's folder.")],
    config: Config = "fast",
    settings: Set = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue from the newest sound checkpoint.")] = False,
    begin: Annotated[Path | None, typer.Option(help="A checkpoint whose weights to start from.")] = None,
    everyday: Everyday = None,
    validate: Annotated[Path | None, typer.Option(help="Clean photos kept out of training, to score G on.")] = None,
    sources: Sources = None,
    device: DeviceOption = "auto",
    minutes: Annotated[float | None, typer.Option(help="Save and stop after this many minutes.", min=0)] = None,
) -> None:
    """Teach G to restore and F to degrade on generated pairs; `fit --warm-start` continues from there."""
    from model_training.training.pretrain import WarmStartRequest
    from model_training.training.pretrain import warm_start as run

    request = WarmStartRequest(
        config=_configured(config, settings, None, None),
        hq=hq,
        out=out,
        everyday=everyday,
        resume=resume,
        device=device,
        minutes=minutes,
        validate=validate,
        sources=sources,
        begin=begin,
    )
    _end(run(request, _console()), out)


@app.command()
def mean(
    begun: Annotated[Path, typer.Argument(help="The checkpoint that fine-tuning began with.")],
    tuned: Annotated[Path, typer.Argument(help="The checkpoint that it ended with.")],
    out: Annotated[Path, typer.Option(help="The checkpoint to write.")],
    share: Annotated[float, typer.Option(help="Weight of the tuned checkpoint in the average.", min=0, max=1)] = 0.5,
) -> None:
    """Average the weights of two generators: most of what fine-tuning gained, less of what it forgot."""
    from model_training.runs.average import write_mean

    Console().print(f"{out}: {write_mean(begun, tuned, out, share=share)}", markup=False, highlight=False)


@app.command()
def degrade(
    photos: Annotated[Path, typer.Argument(help="Clean photos: a folder, or a text file that lists them.")],
    out: Annotated[Path, typer.Option(help="The folder for the degraded photos.")],
    seed: Annotated[int, typer.Option(help="Seed of the first picture; each next one adds 1.", min=0)] = 0,
    recipe: Annotated[str, typer.Option(help=f"One of {RECIPES}.")] = "training",
) -> None:
    """Make degraded photos from clean ones: haze, blur, bad light, colour casts, noise, JPEG."""
    from model_training.data.degradation import recipe_named, write_degraded
    from model_training.runs.progress import bar

    skipped: list[str] = []
    with bar("Degrading") as start:
        written = write_degraded(
            photos, out, seed, recipe=recipe_named(recipe), start=start, skip=skipped.append
        )  # fmt: skip
    _name_skipped(skipped)
    Console().print(f"{written} pictures written to {out}.", markup=False, highlight=False)


@app.command()
def phantom(
    out: Annotated[Path, typer.Option(help="The folder for the pictures.")],
    count: Annotated[int, typer.Option(help="How many.", min=1)] = 1,
    size: Annotated[str, typer.Option(help=f"WIDTHxHEIGHT; 64 a side to {PHANTOM_AREA_PX:,} pixels.")] = "480x272",
    seed: Annotated[int, typer.Option(help="Seed of the first picture; each next one adds 1.", min=0)] = 0,
    pairs: Annotated[bool, typer.Option("--pairs", help="Also write a degraded version of each.")] = False,
    everyday: Annotated[bool, typer.Option("--everyday", help="Everyday-like pictures instead of throats.")] = False,
) -> None:
    """Draw throats that belong to nobody."""
    from model_training.data import phantom as throats
    from model_training.data import synthetic as pictures
    from model_training.evaluation.images import parse_size
    from model_training.runs.progress import bar

    shape = parse_size(size, longest_px=PHANTOM_SIDE_PX, area_px=PHANTOM_AREA_PX)
    with bar("Drawing") as start:
        draw = pictures.everyday if everyday else throats.phantom
        written = throats.write_phantoms(out, count, shape, seed, draw=draw, pairs=pairs, start=start)
    Console().print(f"{written} pictures written to {out}.", markup=False, highlight=False)


@app.command("validate-lassim")
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
    _name_skipped(skipped)
    Console().print(f"{summary(rows)} Written to {out}.", markup=False, highlight=False)


@app.command()
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
    niqe: Annotated[Path | None, typer.Option(help="NIQE's published model: npz with mu_ and cov_pris_param.")] = None,
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
    from model_training.evaluation.report import evaluate as run
    from model_training.guardrail.card_update import calibrate_model, calibration_subject, record
    from model_training.runs.output_checks import require_apart, require_writable
    from model_training.runs.progress import bar

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
    require_apart(out, images)
    require_writable(out)
    skipped: list[str] = []
    subject = calibration_subject(calibrate, images, alpha, skipped.append) if calibrate is not None else None
    with bar("Evaluating") as start:
        result = run(request, start, skipped.append)
    _name_skipped(skipped)
    if result.pristine_shared:
        _warn(
            f"{result.pristine_shared} of the --pristine photos are among the evaluated ones: NIQE (own) is "
            "too kind to them."
        )
    Console().print(f"{len(result.scores)} rows written to {out / 'report.md'}.", markup=False, highlight=False)
    if subject is not None:
        with bar("Calibrating") as start:
            found = calibrate_model(subject, out, start=start)
        record(subject.folder, result)
        Console().print(
            f"Guard of {calibrate}: {found.false_alarm_rate:.1%} false alarms (bound {alpha:.0%}); floors and figures "
            f"written to its card, rates to {out / 'guard.md'}.",
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
    _name_skipped(skipped)
    told = f"{result.summary()} {', '.join(FILES)} are in {request.out}."
    Console(soft_wrap=True).print(told, markup=False, highlight=False)


@app.command()
def accept(
    model: Annotated[Path, typer.Argument(help="The model's folder, NAME/VERSION with model.onnx and card.json.")],
    data: Annotated[Path, typer.Option(help="Folder with throat, larynx, mucosa and natural.")],
    niqe: Annotated[Path | None, typer.Option(help="NIQE's published model: npz with mu_ and cov_pris_param.")] = None,
    elsewhere: Annotated[Path | None, typer.Option(help="Clean photos of anything else, not trained on.")] = None,
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
    _name_skipped(skipped)
    held = sum(item.holds for item in found.criteria)
    lines = [*map(str, found.criteria), *found.notes, f"{held} of {len(found.criteria)} criteria hold."]
    Console(soft_wrap=True).print("\n".join(lines), markup=False, highlight=False)
    if not found.holds:
        raise typer.Exit(EXIT_NOT_HELD)


@app.command("fit-guard")
def fit_guard(
    photos: Annotated[list[Path], typer.Argument(help="Folders of clean photos, none of them kept for calibration.")],
    out: Annotated[Path, typer.Option(help="The file to write, as service/quality/change_detector.npz.")],
    count: Annotated[int, typer.Option(help="Pairs to learn from.", min=1)] = 12000,
    epochs: Annotated[int, typer.Option(help="Passes over them.", min=1)] = 11,
    seed: Annotated[int, typer.Option(help="Seed of the pairs and the weights.", min=0)] = 11,
) -> None:
    """Fit the guardrail's structure detector to harmless changes and planted faults; calibrate models again after."""
    from model_training.guardrail.detector import fit_detector, make_examples

    _fit(
        photos,
        out,
        lambda images, start: make_examples(images, count, seed, start),
        lambda examples, start: fit_detector(examples, epochs, seed, start),
    )


@app.command("fit-detail")
def fit_detail(
    photos: Annotated[list[Path], typer.Argument(help="Folders of clean photos, none of them kept for calibration.")],
    out: Annotated[Path, typer.Option(help="The file to write, as service/quality/detail.npz.")],
    count: Annotated[int, typer.Option(help="Pairs to learn from.", min=1)] = 2000,
    epochs: Annotated[int, typer.Option(help="Passes over them.", min=1)] = 10,
    seed: Annotated[int, typer.Option(help="Seed of the pairs and the weights.", min=0)] = 5,
) -> None:
    """Fit the guardrail's detector of fine detail to harmless and planted changes; calibrate models again after."""
    from model_training.guardrail.detail_detector import fit_detail_detector, make_detail_examples

    _fit(
        photos,
        out,
        lambda images, start: make_detail_examples(images, count, seed, start),
        lambda examples, start: fit_detail_detector(examples, epochs, seed, start),
    )


def _fit(
    photos: list[Path], out: Path, make: Callable[[list[Image], Start], T], fit: Callable[[T, Start], nn.Module]
) -> None:
    """Make examples of `photos`, fit a detector to them and write it to `out`."""
    from model_training.guardrail.fitting import write_network
    from model_training.runs.progress import bar

    images = _detector_photos(photos, out)
    with bar("Making pairs") as start:
        examples = make(images, start)
    with bar("Fitting") as start:
        write_network(fit(examples, start), out)
    Console().print(f"The detector is written to {out}.", markup=False, highlight=False)


def _detector_photos(folders: list[Path], out: Path) -> list[Image]:
    """The photos of `folders` that can be used; the others are named on the error output.

    Raises:
        ConfigurationError: `out` is a folder, or cannot be written.
        DataError: a folder holds no photo.
    """
    from model_training.data.photos import find_photos
    from model_training.evaluation.images import LEAST_SIDE_PX, read_each
    from model_training.runs.output_checks import require_writable_file

    if out.is_dir():
        raise ConfigurationError(f"{out} is a folder; --out names the file to write.")
    require_writable_file(out)
    skipped: list[str] = []
    paths = [path for folder in folders for path in find_photos(folder)]
    images = [image for _, image in read_each(paths, skipped.append, least=LEAST_SIDE_PX) if image is not None]
    _name_skipped(skipped)
    return images


@app.command()
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


def main(arguments: list[str] | None = None) -> NoReturn:
    """Runs the command line; every refusal is one sentence and exit code 2."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a file's name need not be UTF-8; the error output does so
    errors = Console(stderr=True, soft_wrap=True, highlight=False)
    try:
        app(arguments)
    except (LameganError, OSError) as error:
        errors.print(f"lamegan-train: {refusal(error)}", markup=False)
        raise SystemExit(EXIT_REFUSED) from None
    raise SystemExit(0)


def refusal(error: LameganError | OSError) -> str:
    """What a command that ends with `error` says: one sentence."""
    if isinstance(error, LameganError):
        return error.detail
    if error.errno in _DISK_FULL:
        return f"The disk is full ({error.strerror}); what was saved before is untouched."
    said = error.strerror or str(error) or type(error).__name__
    return f"{error.filename} cannot be used ({said})." if error.filename else f"Reading or writing failed ({said})."


def _name_skipped(skipped: list[str]) -> None:
    """Says on the error output which files were not used, and why."""
    from model_training.data.photos import named_skips

    if skipped:
        _warn(named_skips(list(dict.fromkeys(skipped))))


def _warn(text: str) -> None:
    Console(stderr=True, soft_wrap=True).print(text, style="yellow", markup=False)


def _configured(config: str, settings: list[str] | None, objective: str | None, vgg: Path | None) -> TrainingConfig:
    from model_training.config.load import load_config, override

    overrides = list(settings or [])
    if objective:
        overrides.append(f"objective={objective}")
    if vgg:
        overrides.append(override("features.weights", str(vgg.resolve())))
    return load_config(config, overrides)


def _console() -> Console:
    """The terminal, for the first of torchrun's ranks; the others keep silent."""
    return Console(quiet=os.environ.get("RANK", "0") != "0")


def _end(outcome: Outcome, out: Path) -> None:
    from model_training.training.loop import Outcome

    if outcome is Outcome.INTERRUPTED:
        _console().print(f"Interrupted; everything is saved in {out}. Add --resume to go on.", markup=False)
        raise typer.Exit(EXIT_INTERRUPTED)
    _console().print(f"Training is {outcome.value}; its checkpoints are in {out / 'checkpoints'}.", markup=False)


if __name__ == "__main__":
    main()
