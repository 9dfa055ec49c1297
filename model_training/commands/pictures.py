"""`lamegan-train` degrade and phantom: pictures made for training and tests."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from model_training.commands.options import (
    PHANTOM_AREA_PX,
    PHANTOM_SIDE_PX,
    RECIPES,
    name_skipped,
)

commands = typer.Typer()


@commands.command()
def degrade(
    photos: Annotated[Path, typer.Argument(help="Clean photos: a folder, or a text file that lists them.")],
    out: Annotated[Path, typer.Option(help="The folder for the degraded photos.")],
    seed: Annotated[int, typer.Option(help="Seed of the first picture; each next one adds 1.", min=0)] = 0,
    recipe: Annotated[str, typer.Option(help=f"One of {RECIPES}.")] = "training",
) -> None:
    """Make degraded photos from clean ones: haze, blur, bad light, colour casts, noise, JPEG."""
    from model_training.data.degradation import recipe_named, write_degraded
    from model_training.runs.progress import bar

    skipped: list[str] = []
    with bar("Degrading") as start:
        written = write_degraded(
            photos, out, seed, recipe=recipe_named(recipe), start=start, skip=skipped.append
        )  # fmt: skip
    name_skipped(skipped)
    Console().print(f"{written} pictures written to {out}.", markup=False, highlight=False)


@commands.command()
def phantom(
    out: Annotated[Path, typer.Option(help="The folder for the pictures.")],
    count: Annotated[int, typer.Option(help="How many.", min=1)] = 1,
    size: Annotated[str, typer.Option(help=f"WIDTHxHEIGHT; 64 a side to {PHANTOM_AREA_PX:,} pixels.")] = "480x272",
    seed: Annotated[int, typer.Option(help="Seed of the first picture; each next one adds 1.", min=0)] = 0,
    pairs: Annotated[bool, typer.Option("--pairs", help="Also write a degraded version of each.")] = False,
    everyday: Annotated[bool, typer.Option("--everyday", help="Everyday-like pictures instead of throats.")] = False,
) -> None:
    """Draw throats that belong to nobody."""
    from model_training.data import phantom as throats
    from model_training.data import synthetic as pictures
    from model_training.evaluation.images import parse_size
    from model_training.runs.progress import bar

    shape = parse_size(size, longest_px=PHANTOM_SIDE_PX, area_px=PHANTOM_AREA_PX)
    with bar("Drawing") as start:
        draw = pictures.everyday if everyday else throats.phantom
        written = throats.write_phantoms(out, count, shape, seed, draw=draw, pairs=pairs, start=start)
    Console().print(f"{written} pictures written to {out}.", markup=False, highlight=False)
