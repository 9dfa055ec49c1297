"""`lamegan models`: the installed models, and which one serves. Commands import their subject when they run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from service.commands.console import print_line

models = typer.Typer(
    help="Look at the installed models, check them, and choose which one serves.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
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
