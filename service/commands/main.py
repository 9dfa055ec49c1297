"""`lamegan`: thin commands; each one's work is in the module of its subject.

Commands import their subject when they run, so that --help answers at once.
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
    EXIT_PARTLY,
    EXIT_REFUSED,
    errors,
    print_line,
    print_outcomes,
    print_summary,
    progress_bar,
    put_table,
    quiet_decoders,
    score_text,
)
from service.errors import CommandError, LameganError
from service.vocabulary import OutputFormat, Policy, Scale

if TYPE_CHECKING:
    from service.commands.score import Pairing
    from service.pipeline import EnhanceOptions, Enhancer

TWO_ON_STDOUT = "Standard output takes --json or --csv -, not both."
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
        list[str], typer.Argument(metavar="IN... [OUT]", help="Files, folders or patterns; the last of several is OUT.")
    ],
    format: Annotated[OutputFormat, typer.Option(help="Format of the answers; same is each input's own.")] = ("same"),
    quality: Annotated[int | None, typer.Option(min=1, max=100, help="Of JPEG and WebP; LAMEGAN_JPEG_QUALITY.")] = None,
    policy: Annotated[
        Policy | None, typer.Option(help="Below a floor: say so, blend, or keep the original; LAMEGAN_POLICY.")
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
    kept = csv is None or put_table(csv, to_csv(outcomes))
    print_outcomes(outcomes, as_json, quiet=str(csv) == "-", kept=kept)


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
def _one_model_enhancer(model: str | None, policy: Policy | None, options: EnhanceOptions) -> Iterator[Enhancer]:
    """An enhancer with one model loaded; `options` are checked before any file is read.

    Whoever calls the command is the operator: `policy` may be milder than the settings', which HTTP clients may not.
    """
    from service.composition import engine_options
    from service.pipeline import EnhanceDefaults, Enhancer
    from service.registry.store import ModelStore
    from service.serving.single_model import SingleModel
    from service.settings import read_settings

    quiet_decoders()
    chosen = read_settings(model=model, policy=policy and policy.value, allow_anonymous=True)
    defaults = EnhanceDefaults(Policy(chosen.policy), chosen.jpeg_quality, chosen.max_pixels)
    store = ModelStore(chosen.models_dir, chosen.state_dir)
    with SingleModel(store, chosen.model, engine_options(chosen), as_default=model is None) as generators:
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
