"""`lamegan-train` fit-guard and fit-detail: the guardrail's detectors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
from rich.console import Console

from model_training.commands.options import name_skipped
from service.errors import ConfigurationError

if TYPE_CHECKING:
    from torch import nn

    from model_training.runs.progress import Start
    from service.quality.pyramid import Image

Photos = Annotated[list[Path], typer.Argument(help="Folders of clean photos, none of them kept for calibration.")]
Count = Annotated[int, typer.Option(help="Pairs to learn from.", min=1)]
Epochs = Annotated[int, typer.Option(help="Passes over them.", min=1)]
Seed = Annotated[int, typer.Option(help="Seed of the pairs and the weights.", min=0)]

commands = typer.Typer()
T = TypeVar("T")


@commands.command("fit-guard")
def fit_guard(
    photos: Photos,
    out: Annotated[Path, typer.Option(help="The file to write, as service/quality/change_detector.npz.")],
    count: Count = 12000,
    epochs: Epochs = 11,
    seed: Seed = 11,
) -> None:
    """Fit the guardrail's structure detector to harmless changes and planted faults; calibrate models again after."""
    from model_training.guardrail.detector import fit_detector, make_examples

    _fit(
        photos,
        out,
        lambda images, start: make_examples(images, count, seed, start),
        lambda examples, start: fit_detector(examples, epochs, seed, start),
    )


@commands.command("fit-detail")
def fit_detail(
    photos: Photos,
    out: Annotated[Path, typer.Option(help="The file to write, as service/quality/detail.npz.")],
    count: Count = 2000,
    epochs: Epochs = 10,
    seed: Seed = 5,
) -> None:
    """Fit the guardrail's detector of fine detail to harmless and planted changes; calibrate models again after."""
    from model_training.guardrail.detail_detector import fit_detail_detector, make_detail_examples

    _fit(
        photos,
        out,
        lambda images, start: make_detail_examples(images, count, seed, start),
        lambda examples, start: fit_detail_detector(examples, epochs, seed, start),
    )


def _fit(
    photos: list[Path], out: Path, make: Callable[[list[Image], Start], T], fit: Callable[[T, Start], nn.Module]
) -> None:
    """Make examples of `photos`, fit a detector to them and write it to `out`."""
    from model_training.guardrail.fitting import write_network
    from model_training.runs.progress import bar

    images = _detector_photos(photos, out)
    with bar("Making pairs") as start:
        examples = make(images, start)
    with bar("Fitting") as start:
        write_network(fit(examples, start), out)
    Console().print(f"The detector is written to {out}.", markup=False, highlight=False)


def _detector_photos(folders: list[Path], out: Path) -> list[Image]:
    """The photos of `folders` that can be used; the others are named on the error output.

    Raises:
        ConfigurationError: `out` is a folder, or cannot be written.
        DataError: a folder holds no photo.
    """
    from model_training.data.photos import find_photos
    from model_training.evaluation.images import LEAST_SIDE_PX, read_each
    from model_training.runs.output_checks import require_writable_file

    if out.is_dir():
        raise ConfigurationError(f"{out} is a folder; --out names the file to write.")
    require_writable_file(out)
    skipped: list[str] = []
    paths = [path for folder in folders for path in find_photos(folder)]
    images = [image for _, image in read_each(paths, skipped.append, least=LEAST_SIDE_PX) if image is not None]
    name_skipped(skipped)
    return images
