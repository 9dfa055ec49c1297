"""Options that several commands have, and what all of them tell the user."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from service.vocabulary import Device

# Commands import their subject when they run: torch takes seconds, and --help should not.
if TYPE_CHECKING:
    from model_training.config.schema import TrainingConfig
    from model_training.training.loop import Outcome

EXIT_REFUSED = 2
"""Something asked for cannot be done; one sentence on the error output says what."""
EXIT_NOT_HELD = 1
"""An acceptance criterion does not hold; the table says which."""
EXIT_INTERRUPTED = 75
"""Stopped by SIGTERM or Ctrl-C with everything saved: run again with --resume (sysexits.h: EX_TEMPFAIL)."""

PRESETS = ", ".join(sorted(path.stem for path in (Path(__file__).parents[1] / "config" / "presets").glob("*.yaml")))
RECIPES = "training, heavy, held-out"
"""As in `model_training.data.degradation`, too slow to import for a help text; a test holds them together."""
DOMAINS = "throat, larynx, mucosa, natural, phantoms"
"""As in `model_training.evaluation.faults.domains`, likewise."""
PHANTOM_SIDE_PX, PHANTOM_AREA_PX = 4096, 1920 * 1088
"""A drawing of this area takes most of a minute."""

Config = Annotated[str, typer.Option(help=f"A preset ({PRESETS}) or a YAML file.")]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Changes one setting; repeatable.")]
Vgg = Annotated[Path | None, typer.Option(help="VGG16 weights: Caffe's as .npz, or torchvision's state dict.")]
DeviceOption = Annotated[Device, typer.Option(help="auto takes a GPU if there is one.")]
Everyday = Annotated[Path | None, typer.Option(help="Photos of other subjects: what G should leave unchanged.")]
Sources = Annotated[Path | None, typer.Option(help="YAML naming the photos' sources, licences and patients.")]
Resume = Annotated[bool, typer.Option("--resume", help="Continue from the newest sound checkpoint.")]
Minutes = Annotated[float | None, typer.Option(help="Save and stop after this many minutes.", min=0)]
Validate = Annotated[Path | None, typer.Option(help="Clean photos kept out of training, to score G on.")]
Niqe = Annotated[Path | None, typer.Option(help="NIQE's published model: npz with mu_ and cov_pris_param.")]


def name_skipped(skipped: list[str]) -> None:
    """Says on the error output which files were not used, and why."""
    from model_training.data.photos import named_skips

    if skipped:
        warn(named_skips(list(dict.fromkeys(skipped))))


def warn(text: str) -> None:
    """Print `text` in yellow on the error output."""
    Console(stderr=True, soft_wrap=True).print(text, style="yellow", markup=False)


def configured(config: str, settings: list[str] | None, objective: str | None, vgg: Path | None) -> TrainingConfig:
    """The configuration that the options ask for."""
    from model_training.config.load import load_config, override

    overrides = list(settings or [])
    if objective:
        overrides.append(f"objective={objective}")
    if vgg:
        overrides.append(override("features.weights", str(vgg.resolve())))
    return load_config(config, overrides)


def terminal() -> Console:
    """The terminal, for the first of torchrun's ranks; the others keep silent."""
    return Console(quiet=os.environ.get("RANK", "0") != "0")


def end_run(outcome: Outcome, out: Path) -> None:
    """Say why training ended and where its checkpoints are; end the command with 75 where it was interrupted."""
    from model_training.training.loop import Outcome

    if outcome is Outcome.INTERRUPTED:
        terminal().print(f"Interrupted; everything is saved in {out}. Add --resume to go on.", markup=False)
        raise typer.Exit(EXIT_INTERRUPTED)
    terminal().print(f"Training is {outcome.value}; its checkpoints are in {out / 'checkpoints'}.", markup=False)
