"""`lamegan`: thin commands; each one's work is in the module of its subject.

Commands import their subject when they run, so that --help is quick.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.commands.console import (
    EXIT_DONE,
    EXIT_INTERRUPTED,
    EXIT_PARTLY,
    EXIT_REFUSED,
    EXIT_WITHHELD,
    errors,
    print_line,
    print_outcomes,
    print_summary,
    progress_bar,
    put_table,
    quiet_decoders,
    score_text,
)
from service.commands.gateway import gateway
from service.errors import CommandError, LameganError, UnknownModel
from service.vocabulary import OutputFormat, Policy, Scale

if TYPE_CHECKING:
    from service.commands.journal import Journal
    from service.commands.score import Pairing
    from service.pipeline import EnhanceOptions, Enhancer

TWO_ON_STDOUT = "Standard output takes --json or --csv -, not both."
app = typer.Typer(
    help="Enhance throat photos and score how faithful they stayed. Research software, not a medical device.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
models = typer.Typer(
    help="Look at the installed models, check them, and choose which one serves.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(models, name="models")
audit = typer.Typer(help="Check the audit log.", no_args_is_help=True)
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
    from service.settings import read_settings

    if output.is_dir() != input.is_dir():
        raise CommandError("Both must be files, or both folders.")
    if output.is_dir():
        _score_folders(pair_folders(output, input), level, scale, map, as_json, csv)
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
    from service.composition import model_store
    from service.server import serve as run
    from service.settings import read_settings

    settings = read_settings(
        host=host, port=port, models_dir=models_dir, model=model, metrics_port=metrics_port, processes=workers
    )
    with _told_where(model_store(settings).folder):
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
    from service.settings import read_settings

    sizes = [benching.read_size(text) for text in size or benching.SIZES]
    workers = benching.workers_of(read_settings(allow_anonymous=True).workers)
    with _one_model_enhancer(model, None, EnhanceOptions()) as enhancer, progress_bar() as bar:
        task = bar.add_task("Measuring", total=len(sizes))
        figures = benching.bench(enhancer, workers, seconds, sizes, lambda: bar.advance(task))
    print_line(benching.as_json(figures, workers) if as_json else benching.as_table(figures, workers))


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


@models.command("sign")
def sign_model(
    reference: Annotated[str, typer.Argument(help="name/version")],
    key: Annotated[Path, typer.Option(help="Ed25519 private key in PEM (openssl genpkey -algorithm ed25519).")],
) -> None:
    """Sign a model's card and weights; a service with LAMEGAN_TRUSTED_KEYS_FILE serves signed ones only."""
    from service.composition import model_store
    from service.settings import read_settings

    fingerprint = model_store(read_settings(allow_anonymous=True)).sign(reference, key)
    print_line(f"{reference} is signed by {fingerprint}.")


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


@app.command()
def drift(
    prometheus: Annotated[str | None, typer.Option(help="Address of a Prometheus that scrapes the service.")] = None,
    csv: Annotated[Path | None, typer.Option(help="A CSV of scores, as `lamegan enhance --csv` writes it.")] = None,
    window: Annotated[str, typer.Option(help="How far back to look in Prometheus: 6h, 1d, 4d.")] = "1d",
    reference: Annotated[
        Path | None, typer.Option(help="A reference.json or card.json; else the service's own, or the default model's.")
    ] = None,
    model_digest: Annotated[str | None, typer.Option(help="Whose scores; needed where several models served.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the distributions to this PNG.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Compare the scores and photos of a window with a reference.

    Exit codes, for cron: 0 no drift, 1 drift, 2 it cannot be told (one sentence says why).
    """
    from service.commands.drift import as_json as to_json
    from service.commands.drift import as_text, card_counts, draw, findings, reference_counts
    from service.composition import model_store
    from service.drift.sources import from_csv, from_prometheus, reference_from_prometheus
    from service.settings import read_settings

    if (prometheus is None) == (csv is None):
        raise CommandError("Give either --prometheus or --csv.")
    seen = from_csv(csv) if csv else from_prometheus(str(prometheus), window, model_digest)
    if reference is not None:
        known = reference_counts(reference)
    elif prometheus is not None:
        known = reference_from_prometheus(prometheus, seen.model_digest)
    else:
        chosen = read_settings(allow_anonymous=True)
        store = model_store(chosen)
        default = store.first_sound(store.at_start(chosen.model))
        if default is None:
            raise CommandError("No sound model is installed whose card could be the reference: give --reference.")
        known = card_counts(store.card(default))
    found = findings(seen, known)
    print_line((to_json if as_json else as_text)(found, seen, known))
    if plot is not None:
        draw(found, seen, known, plot)
    raise typer.Exit(1 if any(one.drifted for one in found) else EXIT_DONE)


@audit.command("verify")
def verify_audit(
    folder: Annotated[Path | None, typer.Argument(help="Of the log; LAMEGAN_AUDIT_DIR.")] = None,
    expect: Annotated[
        str | None, typer.Option(metavar="LINE:HASH", help="A line kept elsewhere that must be in the log.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Find any cut, edit or gap in the audit log.

    Exit codes: 0 the log is whole, 1 it is not (each fault is listed), 2 it cannot be read.
    """
    from service.commands.audit import check
    from service.settings import read_settings

    chosen = folder or read_settings(allow_anonymous=True).audit_dir
    if chosen is None:
        raise CommandError("Name the folder of the audit log, or set LAMEGAN_AUDIT_DIR.")
    found = check(chosen, expect)
    print_line(json.dumps(found.facts()) if as_json else found.words())
    raise typer.Exit(EXIT_DONE if found.whole else EXIT_PARTLY)


@app.command("new-key")
def new_key(name: Annotated[str, typer.Argument(help="Whose key it is: letters, digits, dots, dashes.")]) -> None:
    """Make an API key: the key goes to the error output, its line for the keys file to standard output."""
    from service.api.limits.api_keys import key_line

    key, line = key_line(name)
    errors.print(f"Key (shown this once): {key}")
    print_line(line)


@contextmanager
def _told_where(folder: Path) -> Iterator[None]:
    """Adds to the error that there is no such model where it was looked for; clients of a service are not told."""
    try:
        yield
    except UnknownModel as error:
        raise UnknownModel(
            f"{error.detail} Models were looked for in {folder}; --models-dir or LAMEGAN_MODELS_DIR names another."
        ) from error


@contextmanager
def _one_model_enhancer(
    model: str | None, policy: Policy | None, options: EnhanceOptions, models_dir: Path | None = None
) -> Iterator[Enhancer]:
    """An enhancer with one model loaded; `options` are checked before any file is read.

    Whoever calls the command is the operator: `policy` may be milder than the settings', which HTTP clients may not.
    """
    from service.composition import engine_options, model_store
    from service.pipeline import EnhanceDefaults, Enhancer
    from service.serving.single_model import SingleModel
    from service.settings import read_settings

    quiet_decoders()
    chosen = read_settings(model=model, policy=policy and policy.value, models_dir=models_dir, allow_anonymous=True)
    defaults = EnhanceDefaults(Policy(chosen.policy), chosen.jpeg_quality, chosen.max_pixels)
    store = model_store(chosen)
    with (
        _told_where(store.folder),
        SingleModel(store, chosen.model, engine_options(chosen), as_default=model is None) as generators,
    ):
        enhancer = Enhancer(generators, defaults)
        enhancer.check(options)
        yield enhancer


def _enhance_options(format: OutputFormat, quality: int | None) -> EnhanceOptions:
    from service.pipeline import EnhanceOptions

    return EnhanceOptions(format=format, quality=quality)


def _score_folders(
    pairing: Pairing, level: int, scale: Scale, maps: Path | None, as_json: bool, csv: Path | None
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
            scale=scale,
            max_pixels=read_settings(allow_anonymous=True).max_pixels,
            targets=targets,
            heat_maps=maps,
            advance=lambda: bar.advance(task),
        )
    kept = csv is None or put_table(csv, to_csv(scores))
    for name in pairing.outputs_alone:
        errors.print(f"Not scored: {name} is only among the outputs.")
    for name in pairing.inputs_alone:
        errors.print(f"Not scored: {name} is only among the inputs.")
    for named in scores:
        if named.score is None:
            errors.print(f"Not scored: {named.name}: {named.error}")
    print_summary(pairing, scores, as_json, quiet=str(csv) == "-")
    scored = sum(named.score is not None for named in scores)
    if scored == 0:
        raise CommandError("No pair was scored.")
    partly = scored < len(scores) or pairing.outputs_alone or pairing.inputs_alone or not kept
    raise typer.Exit(EXIT_PARTLY if partly else EXIT_DONE)


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
