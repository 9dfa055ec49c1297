"""The photos of a run: read with a bar, and what an operator should know of them told."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from model_training.config.schema import TrainingConfig
from model_training.data.photos import PhotoSet, load_photos, named_skips
from model_training.runs.progress import bar
from model_training.training.validation import Validation


def load_side(source: Path, config: TrainingConfig, console: Console) -> PhotoSet:
    """One side's photos as the configuration wants them; says which files it skips.

    Raises:
        DataError: nothing usable is there.
    """
    data = config.data
    with bar("reading", console) as start:
        photos = load_photos(source, (data.height, data.width), least=data.crop, fit=data.fit, start=start)
    name_skipped(photos, console)
    return photos


def name_skipped(photos: PhotoSet, console: Console) -> None:
    """Says which files of a folder or list were not used, and why."""
    if photos.skipped:
        said = named_skips(photos.skipped, len(photos) + len(photos.skipped))
        console.print(said, style="yellow", markup=False)


def name_shared(validation: Validation | None, sides: Sequence[PhotoSet | None], console: Console) -> None:
    """Says how many of the photos that a run is scored on are among those that it learns from."""
    if validation is None:
        return
    trained = {digest for side in sides if side is not None for digest in side.digests}
    shared = sum(digest in trained for digest in validation.digests)
    if shared:
        console.print(
            f"{shared} of the {len(validation.digests)} photos of --validate are among the training photos: the score "
            "says less of others.",
            style="yellow",
            markup=False,
        )
