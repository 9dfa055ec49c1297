"""`lamegan`: thin commands; each one's work is in the module of its subject.

Commands import their subject when they run, so that --help is quick.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.commands import EXIT_INTERRUPTED
from service.commands.console import (
    EXIT_DONE,
    EXIT_PARTLY,
    EXIT_REFUSED,
    EXIT_WITHHELD,
    TWO_ON_STDOUT,
    errors,
    print_line,
    print_outcomes,
    progress_bar,
    put_table,
    quiet_decoders,
    score_text,
)
from service.commands.gateway import gateway
from service.commands.model_commands import models
from service.commands.operator_commands import audit, drift, new_key
from service.errors import CommandError, LameganError
from service.vocabulary import OutputFormat, Policy, Scale

if TYPE_CHECKING:
    from service.commands.journal import Journal
    from service.pipeline import EnhanceOptions, Enhancer
    from service.serving.single_model import SingleModel

app = typer.Typer(
    help="Enhance throat photos and score how faithful they stayed. Research software, not a medical device.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(models, name="models")
app.add_typer(audit, name="audit")
app.add_typer(gateway, name="gateway")


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
        Scale, typer.Option(help="native is the paper's formula; canonical is LaSSIM as the service reports it.")
    ] = "native",
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
    from service.commands.score_folders import score_all
    from service.settings import read_settings

    if output.is_dir() != input.is_dir():
        raise CommandError("Both must be files, or both folders.")
    if output.is_dir():
        score_all(pair_folders(output, input), level, scale, map, as_json, csv)
    if csv is not None:
        raise CommandError("--csv is for folders; use --json for one pair.")
    most = read_settings(allow_anonymous=True).max_pixels
    one = score_files(output, input, level=level, scale=scale, max_pixels=most, heat_map=map)
    print_line(json.dumps(one.facts()) if as_json else score_text(one))


@app.command()
def enhance(
    paths: Annotated[
        list[str], typer.Argument(metavar="IN...", help="Files, folders or patterns; - is standard input.")
    ],
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", help="Folder of the results, or for one input a file; - is standard output."),
    ] = None,
    format: Annotated[OutputFormat, typer.Option(help="Format of the results; same is each input's own.")] = "same",
    quality: Annotated[int | None, typer.Option(min=1, max=100, help="Of JPEG and WebP; LAMEGAN_JPEG_QUALITY.")] = None,
    policy: Annotated[
        Policy | None, typer.Option(help="Below a threshold: say so, blend, or keep the original; LAMEGAN_POLICY.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="name or name/version; LAMEGAN_MODEL.")] = None,
    models_dir: Annotated[Path | None, typer.Option(help="Folder of models; LAMEGAN_MODELS_DIR.")] = None,
    map: Annotated[
        Path | None, typer.Option(help="Write where structure changed: a PNG, or a folder of them for several.")
    ] = None,
    csv: Annotated[Path | None, typer.Option(help="Write the scores as CSV; - prints them.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace results that exist.")] = False,
    skip_existing: Annotated[
        bool, typer.Option("--skip-existing", help="Go on with an earlier run: leave results that exist alone.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no line a file; errors only.")] = False,
) -> None:
    """Enhance photos as the service does. Without -o each result lies beside its photo as NAME.enhanced.

    An input is never replaced. After Ctrl-C or a crash, the same command with --skip-existing goes on and gives the
    whole table.

    Exit codes: 0 everything was enhanced, 1 some files were not (they are listed) or the CSV could not be written,
    2 nothing was, 3 everything was answered, but the guard's verdict on some is withheld: they are the original (under
    annotate, should be), 130 it was interrupted.
    """
    from service.commands.enhance import Run, enhance_files, targets_of, to_csv
    from service.commands.enhance_plan import plan
    from service.engine.threads import usable_cores
    from service.settings import MOST_THREADS

    meant = plan(paths, output, map, overwrite=overwrite)
    jobs = meant.jobs
    _check_stdout(as_json, csv, streamed=jobs[0].to_stdout)
    options = _enhance_options(format, quality)
    journal = _journal(meant.journal_folder, (format, quality, policy, model, models_dir, map is not None))
    targets = targets_of(jobs, None if str(csv) == "-" else csv)
    run = Run(options, targets, journal, overwrite, skip_existing)
    with _one_model_enhancer(model, policy, options, models_dir) as enhancer, progress_bar(quiet) as bar:
        task = bar.add_task("Enhancing", total=len(jobs))
        threads = min(len(jobs), usable_cores(), MOST_THREADS)
        try:
            outcomes = enhance_files(enhancer, jobs, run, threads=threads, advance=lambda: bar.advance(task))
        except KeyboardInterrupt:
            raise typer.Exit(_interrupted(int(bar.tasks[0].completed), len(jobs))) from None
    kept = csv is None or put_table(csv, to_csv(outcomes))
    silent = quiet or str(csv) == "-" or jobs[0].to_stdout
    if meant.passed_over and not quiet:
        errors.print(f"Passed over: {meant.passed_over} files that are not images.")
    print_outcomes(outcomes, as_json, quiet=silent, kept=kept)


@app.command()
def assess(
    paths: Annotated[
        list[str], typer.Argument(metavar="IN...", help="Files, folders or patterns; - is standard input.")
    ],
    csv: Annotated[Path | None, typer.Option(help="Write the measures as CSV; - prints them.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Say whether photos are fit for use: good, usable or retake, and why. No model is needed.

    Exit codes: 0 every photo was assessed, 1 some could not be (they are listed), 2 none, 3 some are to be taken again.
    """
    from service.commands.assess import assess_files, to_csv
    from service.quality.assessment import Fitness
    from service.settings import read_settings

    if as_json and str(csv) == "-":
        raise CommandError(TWO_ON_STDOUT)
    quiet_decoders()
    files = list(assess_files(paths, read_settings(allow_anonymous=True).max_pixels))
    kept = csv is None or put_table(csv, to_csv(files))
    if as_json:
        print_line(json.dumps({"images": [one.facts() for one in files]}))
    for one in files:
        if one.found is None:
            errors.print(one.words())
        elif not as_json and str(csv) != "-":
            print_line(one.words())
    found = [one.found for one in files if one.found is not None]
    if not found:
        raise CommandError("No photo was assessed.")
    if len(found) < len(files) or not kept:
        raise typer.Exit(EXIT_PARTLY)
    raise typer.Exit(EXIT_WITHHELD if any(one.verdict is Fitness.RETAKE for one in found) else EXIT_DONE)


def _check_stdout(as_json: bool, csv: Path | None, *, streamed: bool) -> None:
    if as_json and str(csv) == "-":
        raise CommandError(TWO_ON_STDOUT)
    if streamed and (as_json or str(csv) == "-"):
        raise CommandError("Standard output takes the image, or --json or --csv -, not both.")
    if streamed and sys.stdout.isatty():
        raise CommandError("An image is not for a terminal: add -o FILE, or send the output to a file or a pipe.")


def _journal(folder: Path | None, asked: tuple[object, ...]) -> Journal:
    """The journal in `folder`, if any; `asked` and the settings that it stands for tell runs of other options apart."""
    from service.commands.journal import JOURNAL_NAME, Journal
    from service.settings import read_settings

    chosen = read_settings(allow_anonymous=True)
    options = repr((*map(str, asked), chosen.model, chosen.policy, chosen.jpeg_quality, chosen.max_pixels))
    return Journal(folder / JOURNAL_NAME if folder is not None else None, options)


def _interrupted(done: int, of: int) -> int:
    errors.print(f"Interrupted after {done} of {of}. The same command with --skip-existing goes on from here.")
    return EXIT_INTERRUPTED


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
    from service.commands.models import told_where
    from service.server import serve as run
    from service.settings import read_settings

    settings = read_settings(
        host=host, port=port, models_dir=models_dir, model=model, metrics_port=metrics_port, processes=workers
    )
    with told_where(settings):
        run(settings)


@app.command()
def bench(
    model: Annotated[str | None, typer.Option(help="name or name/version; LAMEGAN_MODEL.")] = None,
    seconds: Annotated[float, typer.Option(min=0.01, max=600, help="How long each figure is measured.")] = 2.0,
    size: Annotated[
        list[str] | None, typer.Option(help="WIDTHxHEIGHT, as often as you like; else four common ones.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure what this machine does: photos a second by size, where the time goes, and a queue that suits it."""
    from service.commands import bench as benching
    from service.pipeline import EnhanceOptions
    from service.settings import read_settings, warm_sizes

    sizes = [benching.read_size(text) for text in size or benching.SIZES]
    settings = read_settings(allow_anonymous=True)
    workers = benching.workers_of(settings.workers)
    loaded: list[SingleModel] = []
    with _one_model_enhancer(model, None, EnhanceOptions(), tell=loaded.append) as enhancer, progress_bar() as bar:
        loaded[0].warm(warm_sizes(settings))
        task = bar.add_task("Measuring", total=len(sizes))
        figures = benching.bench(enhancer, workers, seconds, sizes, lambda: bar.advance(task))
    as_text = benching.as_json if as_json else benching.as_table
    print_line(as_text(figures, workers, loaded[0].precision, loaded[0].accelerator))


@app.command()
def health(
    url: Annotated[str | None, typer.Option(help="Of the service; default: LAMEGAN_HOST and LAMEGAN_PORT.")] = None,
    timeout_s: Annotated[float, typer.Option(help="How long to wait for the response: above 0, at most 3600.")] = 3.0,
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


app.command()(drift)
app.command("new-key")(new_key)


@contextmanager
def _one_model_enhancer(
    model: str | None,
    policy: Policy | None,
    options: EnhanceOptions,
    models_dir: Path | None = None,
    tell: Callable[[SingleModel], None] = lambda _model: None,
) -> Iterator[Enhancer]:
    """An enhancer with one model, of which `tell` is told; `options` are checked before any file is read.

    Whoever calls the command is the operator: `policy` may be milder than the settings',
    which HTTP clients may not.
    """
    from service.commands.models import told_where
    from service.composition import engine_options, model_store
    from service.pipeline import EnhanceDefaults, Enhancer
    from service.serving.single_model import SingleModel
    from service.settings import read_settings

    quiet_decoders()
    chosen = read_settings(model=model, policy=policy and policy.value, models_dir=models_dir, allow_anonymous=True)
    defaults = EnhanceDefaults(Policy(chosen.policy), chosen.jpeg_quality, chosen.max_pixels)
    store = model_store(chosen)
    with told_where(chosen), SingleModel(store, chosen.model, engine_options(chosen), as_default=model is None) as made:
        enhancer = Enhancer(made, defaults)
        enhancer.check(options)
        tell(made)
        yield enhancer


def _enhance_options(format: OutputFormat, quality: int | None) -> EnhanceOptions:
    from service.pipeline import EnhanceOptions

    return EnhanceOptions(format=format, quality=quality)


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
