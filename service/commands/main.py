"""`lamegan`: thin commands; each one's work is in the module of its subject.

Commands import their subject when they run, so that --help answers at once.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from service.errors import CommandError, LameganError

if TYPE_CHECKING:
    from service.commands.enhance import Outcome
    from service.commands.score import NamedScore, Pairing, Score
    from service.pipeline import EnhanceOptions, Enhancer

TWO_ON_STDOUT = "Standard output takes --json or --csv -, not both."
EXIT_DONE, EXIT_PARTLY, EXIT_REFUSED, EXIT_WITHHELD = 0, 1, 2, 3
"""All done; some of several files could not be; nothing could be (one sentence on the error output says why); all
done, but the guard withheld some enhancement."""

app = typer.Typer(
    help="Enhance throat photos and score how faithful they stayed. Research software, not a medical device.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
models = typer.Typer(
    help="Look at the installed models, check them, and choose which one serves.", no_args_is_help=True
)
app.add_typer(models, name="models")
errors = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)


class FormatOption(StrEnum):
    """What the answers are written as."""

    SAME = "same"
    JPEG = "jpeg"
    PNG = "png"
    WEBP = "webp"


class PolicyOption(StrEnum):
    """What happens below a floor."""

    ANNOTATE = "annotate"
    CONSTRAIN = "constrain"
    WITHHOLD = "withhold"


class ScaleOption(StrEnum):
    """At which size LaSSIM is computed."""

    NATIVE = "native"
    CANONICAL = "canonical"


def print_version(asked: bool) -> None:
    """Print the version and end the command, where that is asked for."""
    if asked:
        from importlib.metadata import version

        print_line(f"lamegan {version('lamegan')}")
        raise typer.Exit


@app.callback()
def _lamegan(
    _version: Annotated[
        bool, typer.Option("--version", callback=print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Keeps `lamegan` a group of commands."""


@app.command()
def score(
    output: Annotated[Path, typer.Argument(help="The enhanced image, or a folder of them.")],
    input: Annotated[Path, typer.Argument(help="The image it was made from, or a folder; paired by name.")],
    scale: Annotated[
        ScaleOption, typer.Option(help="native is the paper's formula; canonical is LaSSIM as the service reports it.")
    ] = ScaleOption.NATIVE,
    level: Annotated[int, typer.Option(min=0, help="Level of the Laplacian pyramid; the paper's is 3.")] = 3,
    map: Annotated[
        Path | None, typer.Option(help="Write where structure changed: a PNG, or a folder of them for folders.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    csv: Annotated[Path | None, typer.Option(help="For folders: write the scores as CSV; - prints them.")] = None,
) -> None:
    """LaSSIM of an image against its input: 1 is unchanged structure.

    Exit codes: 0 everything was scored, 1 some pairs of a folder were not (they are listed) or the CSV could not be
    written, 2 nothing was.
    """
    from service.commands.score import pair_folders, score_files
    from service.settings import read_settings

    if output.is_dir() != input.is_dir():
        raise CommandError("Both must be files, or both folders.")
    if output.is_dir():
        _score_folders(pair_folders(output, input), level, scale, map, as_json, csv)
    if csv is not None:
        raise CommandError("--csv is for folders; use --json for one pair.")
    most = read_settings(allow_anonymous=True).max_pixels
    one = score_files(output, input, level=level, scale=scale.value, max_pixels=most, heat_map=map)
    print_line(json.dumps(one.facts()) if as_json else _as_text(one))


@app.command()
def enhance(
    paths: Annotated[
        list[str], typer.Argument(metavar="IN... [OUT]", help="Files, folders or patterns; the last of several is OUT.")
    ],
    format: Annotated[FormatOption, typer.Option(help="Format of the answers; same is each input's own.")] = (
        FormatOption.SAME
    ),
    quality: Annotated[int | None, typer.Option(min=1, max=100, help="Of JPEG and WebP; LAMEGAN_JPEG_QUALITY.")] = None,
    policy: Annotated[
        PolicyOption | None, typer.Option(help="Below a floor: say so, blend, or keep the original; LAMEGAN_POLICY.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="name or name/version; LAMEGAN_MODEL.")] = None,
    map: Annotated[
        Path | None, typer.Option(help="Write where structure changed: a PNG, or a folder of them for several.")
    ] = None,
    csv: Annotated[Path | None, typer.Option(help="Write the scores as CSV; - prints them.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace answers that exist.")] = False,
) -> None:
    """Enhance photos as the service does. One path: the answer lies beside it as NAME.enhanced.

    Exit codes: 0 everything was enhanced, 1 some files were not (they are listed) or the CSV could not be written,
    2 nothing was, 3 everything was answered, but the guard's verdict on some is withheld: they are the original (under
    annotate, should be).
    """
    from service.commands.enhance import enhance_files, plan, targets_of, to_csv
    from service.engine.threads import usable_cores
    from service.settings import MOST_THREADS

    if as_json and str(csv) == "-":
        raise CommandError(TWO_ON_STDOUT)
    jobs = plan(paths, map)
    targets = targets_of(jobs, None if str(csv) == "-" else csv)
    options = _enhance_options(format, quality)
    with _one_model_enhancer(model, policy, options) as enhancer, progress_bar() as bar:
        task = bar.add_task("Enhancing", total=len(jobs))
        outcomes = enhance_files(
            enhancer,
            jobs,
            options,
            targets=targets,
            overwrite=overwrite,
            threads=min(len(jobs), usable_cores(), MOST_THREADS),
            advance=lambda: bar.advance(task),
        )
    kept = csv is None or _put_table(csv, to_csv(outcomes))
    _print_outcomes(outcomes, as_json, quiet=str(csv) == "-", kept=kept)


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to bind; LAMEGAN_HOST, else 127.0.0.1.")] = None,
    port: Annotated[int | None, typer.Option(help="Port; LAMEGAN_PORT, else 8000; 0 takes a free one.")] = None,
    models_dir: Annotated[Path | None, typer.Option(help="Folder of models; LAMEGAN_MODELS_DIR, else models.")] = None,
    model: Annotated[str | None, typer.Option(help="Default model; LAMEGAN_MODEL, else lamegan-fast.")] = None,
    metrics_port: Annotated[int | None, typer.Option(help="Serve /metrics on a port of its own.")] = None,
    workers: Annotated[
        int | None, typer.Option(min=0, max=64, help="Worker processes; LAMEGAN_PROCESSES, else 0: threads of one.")
    ] = None,
) -> None:
    """Serve HTTP until told to stop. Every setting is a LAMEGAN_* variable; see docs/settings.md."""
    from service.server import serve as run
    from service.settings import read_settings

    run(
        read_settings(
            host=host, port=port, models_dir=models_dir, model=model, metrics_port=metrics_port, processes=workers
        )
    )


@app.command()
def health(
    url: Annotated[str | None, typer.Option(help="Of the service; default: LAMEGAN_HOST and LAMEGAN_PORT.")] = None,
    timeout_s: Annotated[float, typer.Option(help="How long to wait for the answer: above 0, at most 3600.")] = 3.0,
) -> None:
    """Ask a running service whether it is ready: exit code 0 if so, 1 if not. For container health checks."""
    from service.commands.health import ask_readiness, own_url
    from service.settings import read_settings

    if not url:
        chosen = read_settings(allow_anonymous=True)
        url = own_url(chosen.host, chosen.port)
    answer = ask_readiness(url, timeout_s)
    print_line(answer.words)
    raise typer.Exit(0 if answer.ready else 1)


def print_line(text: str) -> None:
    """Print to standard output, undecorated: for people and pipes alike."""
    sys.stdout.write(text + "\n")


def progress_bar() -> Progress:
    """A bar on the error output, so that standard output stays clean; it shows nothing where that is no terminal."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=errors,
        disable=not errors.is_terminal,
    )


@models.command("list")
def list_models(as_json: Annotated[bool, typer.Option("--json", help="Print one JSON array.")] = False) -> None:
    """Every installed model; marked are what a service started now would serve by default, and broken ones."""
    from service.commands.models import as_table, catalogue
    from service.settings import read_settings

    entries = catalogue(read_settings(allow_anonymous=True))
    print_line(json.dumps([entry.facts() for entry in entries]) if as_json else as_table(entries))


@models.command("show")
def show_model(reference: Annotated[str, typer.Argument(help="name or name/version")]) -> None:
    """The card of a model, as JSON."""
    from service.composition import model_store
    from service.settings import read_settings

    store = model_store(read_settings(allow_anonymous=True))
    print_line(store.card(store.resolve(reference)).model_dump_json(indent=2))


@models.command("verify")
def verify_model(reference: Annotated[str, typer.Argument(help="name or name/version")]) -> None:
    """Check a model's digest and run its golden self-test, without serving it."""
    from service.commands.models import verify
    from service.settings import read_settings

    print_line(verify(read_settings(allow_anonymous=True), reference).words)


@models.command("activate")
def activate_model(
    reference: Annotated[str, typer.Argument(help="name or name/version")],
    uncalibrated: Annotated[
        bool, typer.Option("--uncalibrated", help="Also one without a calibrated guardrail; built-in thresholds hold.")
    ] = False,
) -> None:
    """Verify a model and make it the one that serves; a running service follows within a second or two."""
    from service.commands.models import activate
    from service.settings import read_settings

    print_line(activate(read_settings(allow_anonymous=True), reference, uncalibrated=uncalibrated).words)


@models.command("rollback")
def roll_back_model() -> None:
    """Return to the model that was active before, or that served before the first activation."""
    from service.composition import model_store
    from service.settings import read_settings

    print_line(f"{model_store(read_settings(allow_anonymous=True)).roll_back()} is active.")


@app.command("new-key")
def new_key(name: Annotated[str, typer.Argument(help="Whose key it is: letters, digits, dots, dashes.")]) -> None:
    """Make an API key: the key goes to the error output, its line for the keys file to standard output."""
    from service.api.limits.api_keys import key_line

    key, line = key_line(name)
    errors.print(f"Key (shown this once): {key}")
    print_line(line)


@contextmanager
def _one_model_enhancer(model: str | None, policy: PolicyOption | None, options: EnhanceOptions) -> Iterator[Enhancer]:
    """An enhancer with one model loaded; `options` are checked before any file is read.

    Whoever calls the command is the operator: `policy` may be milder than the settings', which HTTP clients may not.
    """
    from service.composition import engine_options
    from service.pipeline import EnhanceDefaults, Enhancer
    from service.registry.store import ModelStore
    from service.serving.single_model import SingleModel
    from service.settings import read_settings
    from service.vocabulary import Policy

    _quiet_decoders()
    chosen = read_settings(model=model, policy=policy and policy.value, allow_anonymous=True)
    defaults = EnhanceDefaults(Policy(chosen.policy), chosen.jpeg_quality, chosen.max_pixels)
    store = ModelStore(chosen.models_dir, chosen.state_dir)
    with SingleModel(store, chosen.model, engine_options(chosen), as_default=model is None) as generators:
        enhancer = Enhancer(generators, defaults)
        enhancer.check(options)
        yield enhancer


def _quiet_decoders() -> None:
    """Image libraries talk to the error output of damaged files, which we list ourselves, in one sentence each."""
    import logging
    import warnings

    import cv2

    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    logging.getLogger("PIL").addHandler(logging.NullHandler())
    warnings.filterwarnings("ignore", module="PIL")


def _enhance_options(format: FormatOption, quality: int | None) -> EnhanceOptions:
    from service.pipeline import EnhanceOptions

    return EnhanceOptions(format=format.value, quality=quality)


def _print_outcomes(outcomes: list[Outcome], as_json: bool, *, quiet: bool, kept: bool) -> None:
    """One line a file, the failed ones on the error output; ends the command with its exit code.

    `kept`: whether the table that was asked for, if any, was written.
    """
    from service.commands.enhance import outcome_facts

    if as_json:
        print_line(json.dumps({"images": [outcome_facts(outcome) for outcome in outcomes]}))
    for outcome in outcomes:
        if outcome.error:
            errors.print(f"Not enhanced: {outcome.source}: {outcome.error}")
        elif not quiet and not as_json:
            print_line(outcome.words())
    done = [outcome for outcome in outcomes if not outcome.error]
    if not done:
        raise CommandError("No file was enhanced.")
    if len(done) < len(outcomes) or not kept:
        raise typer.Exit(EXIT_PARTLY)
    raise typer.Exit(EXIT_WITHHELD if any(outcome.withheld for outcome in done) else EXIT_DONE)


def _score_folders(
    pairing: Pairing, level: int, scale: ScaleOption, maps: Path | None, as_json: bool, csv: Path | None
) -> None:
    from service.commands.score import score_folders, targets_of, to_csv
    from service.settings import read_settings

    if as_json and str(csv) == "-":
        raise CommandError(TWO_ON_STDOUT)
    targets = targets_of(pairing, maps, None if str(csv) == "-" else csv)
    with progress_bar() as bar:
        task = bar.add_task("Scoring", total=len(pairing.pairs))
        scores = score_folders(
            pairing,
            level=level,
            scale=scale.value,
            max_pixels=read_settings(allow_anonymous=True).max_pixels,
            targets=targets,
            heat_maps=maps,
            advance=lambda: bar.advance(task),
        )
    kept = csv is None or _put_table(csv, to_csv(scores))
    for name in pairing.outputs_alone:
        errors.print(f"Not scored: {name} is only among the outputs.")
    for name in pairing.inputs_alone:
        errors.print(f"Not scored: {name} is only among the inputs.")
    for named in scores:
        if named.score is None:
            errors.print(f"Not scored: {named.name}: {named.error}")
    _print_summary(pairing, scores, as_json, quiet=str(csv) == "-")
    scored = sum(named.score is not None for named in scores)
    if scored == 0:
        raise CommandError("No pair was scored.")
    partly = scored < len(scores) or pairing.outputs_alone or pairing.inputs_alone or not kept
    raise typer.Exit(EXIT_PARTLY if partly else EXIT_DONE)


def _print_summary(pairing: Pairing, scores: list[NamedScore], as_json: bool, *, quiet: bool) -> None:
    from service.commands.score import summarise

    done = [named.score for named in scores if named.score is not None]
    summary = (
        {
            "lassim": summarise([one.map.lassim for one in done]),
            "ssim": summarise([one.ssim for one in done]),
        }
        if done
        else {}
    )
    if as_json:
        pairs = [
            {"name": named.name, **(named.score.facts() if named.score else {"error": named.error})} for named in scores
        ]
        unpaired = {"outputs": pairing.outputs_alone, "inputs": pairing.inputs_alone}
        print_line(json.dumps({"summary": summary, "pairs": pairs, "unpaired": unpaired}))
    elif not quiet:
        for name, figures in summary.items():
            label = {"lassim": "LaSSIM", "ssim": "SSIM"}[name]
            print_line(
                f"{label:7} mean {figures['mean']:.5f}  std {figures['std']:.5f}  "
                f"min {figures['min']:.5f}  max {figures['max']:.5f}  ({figures['count']:.0f} pairs)"
            )


def _as_text(one: Score) -> str:
    local = one.map
    box = local.box
    return "\n".join(
        (
            f"LaSSIM  {local.lassim:.5f}  (level {local.level}, {local.scale} scale; 1 is unchanged structure)",
            f"SSIM    {one.ssim:.5f}  (pixels)",
            f"Lowest  {local.worst:.5f}  of the map, at x {box.left}-{box.right}, y {box.top}-{box.bottom} px",
        )
    )


def _put_table(path: Path, text: str) -> bool:
    """Print the CSV if `path` is -, else write it; whether that went well, and if not one sentence says why.

    The work is done by then: its results are worth printing whatever becomes of the table.
    """
    from service.commands.output_files import write_report

    if str(path) == "-":
        sys.stdout.write(text)
        return True
    try:
        write_report(path, text)
    except CommandError as error:
        errors.print(error.detail)
        return False
    return True


def main() -> None:
    """Run `lamegan`; an error raised on purpose is one sentence and exit code 2, never a trace."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="surrogateescape")  # a file's name may be no UTF-8
    try:
        app()
    except LameganError as error:
        errors.print(f"lamegan: {error.detail}")
        sys.exit(EXIT_REFUSED)


if __name__ == "__main__":
    main()
