"""`lamegan gateway clear`: what is found is told, a person agrees, and it is removed."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import typer

from service.commands.console import print_line
from service.commands.gateway_spool import with_spool
from service.dicom.gateway.clearing import ASIDE, Clearing, age_s, find
from service.dicom.gateway.clearing import clear as remove
from service.errors import CommandError


def clear(
    file: Path, wanted: tuple[bool, bool], older_than: str, *, dry_run: bool = False, yes: bool = False, as_json: bool
) -> None:
    """Remove objects from the spool of the gateway that `file` configures, running or not.

    Args:
        file: the gateway's configuration.
        wanted: whether those in each state of `ASIDE` are meant.
        older_than: least age, such as 7d.
        dry_run: only tell what would be removed.
        yes: do not ask.
        as_json: print one JSON object.

    Raises:
        CommandError: no state was said, the age is not valid, or nobody agreed.
        ConfigurationError: the file makes no sense, or there is no spool yet.
    """
    states = tuple(state for state, meant in zip(ASIDE, wanted, strict=True) if meant)
    if not states:
        raise CommandError("Say what to remove: --kept, --dead or both.")
    oldest_s = age_s(older_than)
    clearing = with_spool(file, lambda spool: find(spool, states, oldest_s))
    agreed = not dry_run and bool(clearing.found)
    if agreed and not yes:
        _ask(clearing)
    removed = with_spool(file, lambda spool: remove(spool, clearing)) if agreed else set()
    facts = clearing.facts(removed, dry_run=dry_run)
    print_line(json.dumps(facts) if as_json else as_text(facts))


def _ask(clearing: Clearing) -> None:
    """Ask the person at the terminal.

    Raises:
        CommandError: the response is no, or nobody is there.
    """
    if not sys.stdin.isatty():
        raise CommandError("Say --yes to remove objects without a question, or --dry-run to see which.")
    typer.echo(as_text(clearing.facts(set(), dry_run=True)), err=True)
    if not typer.confirm("Remove them for good?", err=True):
        raise CommandError("Nothing was removed.")


def as_text(facts: dict[str, Any]) -> str:
    """The facts of a clearing as a table."""
    lines = [f"{'state':6} {'reason':40} {'objects':>8} {'MB':>10}"]
    lines += [
        f"{one['state']:6} {one['reason']:40} {one['count']:>8} {one['bytes'] / 1e6:>10.1f}" for one in facts["reasons"]
    ]
    if facts["dry_run"]:
        return "\n".join([*lines, f"{facts['found']} objects would be removed."])
    return "\n".join([*lines, f"{facts['removed']} objects were removed, {facts['bytes_removed'] / 1e6:.1f} MB."])
