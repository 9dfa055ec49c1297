"""`lamegan score` for two folders: every pair, a table, and what could not be scored."""

from __future__ import annotations

from pathlib import Path

import typer

from service.commands.console import (
    EXIT_DONE,
    EXIT_PARTLY,
    TWO_ON_STDOUT,
    errors,
    print_summary,
    progress_bar,
    put_table,
)
from service.commands.score import Pairing, score_folders, targets_of, to_csv
from service.errors import CommandError
from service.settings import read_settings
from service.vocabulary import Scale


def score_all(pairing: Pairing, level: int, scale: Scale, maps: Path | None, as_json: bool, csv: Path | None) -> None:
    """Score the pairs and end the command.

    Raises:
        CommandError: nothing was scored, or two tables were asked for on standard output.
    """
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
