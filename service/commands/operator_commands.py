"""Commands for who runs the service: drift, the audit log, keys. Commands import their subject when they run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from service.commands.console import EXIT_DONE, EXIT_PARTLY, errors, print_line
from service.errors import CommandError

audit = typer.Typer(help="Check the audit log.", no_args_is_help=True)


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


def new_key(name: Annotated[str, typer.Argument(help="Whose key it is: letters, digits, dots, dashes.")]) -> None:
    """Make an API key: the key goes to the error output, its line for the keys file to standard output."""
    from service.api.limits.api_keys import key_line

    key, line = key_line(name)
    errors.print(f"Key (shown this once): {key}")
    print_line(line)
