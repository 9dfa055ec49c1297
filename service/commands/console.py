"""What the commands print: results on standard output, everything else on the error output; and how they end."""

from __future__ import annotations

import json
import logging
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from service.errors import CommandError

if TYPE_CHECKING:
    from service.commands.enhance import Outcome
    from service.commands.score import NamedScore, Pairing, Score

EXIT_DONE, EXIT_PARTLY, EXIT_REFUSED, EXIT_WITHHELD = 0, 1, 2, 3
"""All done; some of several files could not be; nothing could be (one sentence on the error output says why); all
done, but the guardrail withheld some enhancement. `service.commands.EXIT_INTERRUPTED`: by Ctrl-C."""

TWO_ON_STDOUT = "Standard output takes --json or --csv -, not both."

errors = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)


def print_line(text: str) -> None:
    """Print to standard output, undecorated: for people and pipes alike."""
    sys.stdout.write(text + "\n")


def progress_bar(quiet: bool = False) -> Progress:
    """A bar on the error output, so that standard output stays clean; it shows nothing where that is not a terminal."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=errors,
        disable=quiet or not errors.is_terminal,
    )


def put_table(path: Path, text: str) -> bool:
    """Print the CSV if `path` is -, else write it. Return whether that went well; if not, one sentence says why.

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


def quiet_decoders() -> None:
    """Keep Pillow from writing about damaged files to the error output, as `service.imaging.decoders` keeps OpenCV."""
    logging.getLogger("PIL").addHandler(logging.NullHandler())
    warnings.filterwarnings("ignore", module="PIL")


def print_outcomes(outcomes: list[Outcome], as_json: bool, *, quiet: bool, kept: bool) -> None:
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


def score_text(one: Score) -> str:
    """The score of one pair in three lines."""
    local = one.map
    box = local.box
    return "\n".join(
        (
            f"LaSSIM  {local.lassim:.5f}  (level {local.level}, {local.scale} scale; 1 is unchanged structure)",
            f"SSIM    {one.ssim:.5f}  (pixels)",
            f"Lowest  {local.worst:.5f}  of the map, at x {box.left}-{box.right}, y {box.top}-{box.bottom} px",
        )
    )


def print_summary(pairing: Pairing, scores: list[NamedScore], as_json: bool, *, quiet: bool) -> None:
    """Print the scores of two folders, as JSON or as one line a measure."""
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
