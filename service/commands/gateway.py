"""`lamegan gateway`: run it, look at it, send dead letters on their way again, and remove what it set aside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from service.commands.console import print_line
from service.errors import CommandError

gateway = typer.Typer(
    help="Stand between a PACS and the enhancement: DICOM in, DICOM out.", invoke_without_command=True
)

ConfigFile = Annotated[Path | None, typer.Option("--config", help="The gateway's file; LAMEGAN_GATEWAY_FILE.")]


@gateway.callback()
def run_gateway(context: typer.Context, config: ConfigFile = None) -> None:
    """Run the gateway until told to stop; see docs/pacs.md for its file."""
    if context.invoked_subcommand is None:
        from service.commands.gateway_run import run

        run(_file(config))


@gateway.command("status")
def status(
    config: ConfigFile = None, as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False
) -> None:
    """What is in the spool, what is being retried, and the dead letters with their reasons."""
    from service.commands.gateway_spool import with_spool
    from service.dicom.gateway.status import as_table
    from service.dicom.gateway.status import status as status_of

    told = with_spool(_file(config), status_of)
    print_line(json.dumps(told) if as_json else as_table(told))


@gateway.command("retry")
def retry(
    number: Annotated[int | None, typer.Argument(metavar="[OBJECT]", help="An object's number; none: all.")] = None,
    config: ConfigFile = None,
    kept: Annotated[bool, typer.Option("--kept", help="Those kept aside, after a change of settings.")] = False,
) -> None:
    """Try dead letters again, and what waits for its next try at once; a running gateway follows within a second."""
    from service.commands.gateway_spool import with_spool

    revived = with_spool(_file(config), lambda spool: spool.revive(number, "kept" if kept else "dead"))
    print_line(f"{revived} {'kept objects' if kept else 'dead letters'} are tried again.")


@gateway.command("clear")
def clear(
    config: ConfigFile = None,
    kept: Annotated[bool, typer.Option("--kept", help="Objects kept aside.")] = False,
    dead: Annotated[bool, typer.Option("--dead", help="Dead letters.")] = False,
    older_than: Annotated[str, typer.Option(help="Received so long ago: 90m, 12h, 7d, 2w.")] = "0m",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would be removed.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Remove objects from the spool for good: those kept aside, dead letters, or both."""
    from service.commands.gateway_clear import clear as run

    run(_file(config), (kept, dead), older_than, dry_run=dry_run, yes=yes, as_json=as_json)


def _file(given: Path | None) -> Path:
    from service.settings import read_settings

    chosen = given or read_settings(allow_anonymous=True).gateway_file
    if chosen is None:
        raise CommandError("Say --config FILE, or set LAMEGAN_GATEWAY_FILE.")
    return chosen
