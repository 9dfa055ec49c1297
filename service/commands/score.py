"""Scoring files from the command line: one pair, or two folders paired by name.

The same numbers as the service's headers: what is read here is decoded as `/enhance` and `/score` decode it.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from service.commands.output_files import Targets
from service.errors import CommandError, LameganError
from service.imaging.codecs import encode
from service.imaging.heatmap import render_heatmap
from service.pipeline.deadline import PixelBudget
from service.pipeline.scorer import ImageFile, Scorer
from service.pixels import Pixels
from service.quality.lassim import LassimMap, lassim_map, ssim
from service.quality.pyramid import WINDOW
from service.vocabulary import Scale

CSV_COLUMNS = ("name", "lassim", "ssim", "level", "scale", "worst", "left", "top", "right", "bottom", "error")


@dataclass(frozen=True, slots=True)
class Score:
    """What one pair scores.

    Attributes:
        map: LaSSIM with its local values and worst region.
        ssim: the paper's pixel SSIM at full size.
    """

    map: LassimMap
    ssim: float

    def facts(self) -> dict[str, object]:
        """The score as one JSON-serialisable object."""
        box = self.map.box
        return {
            "lassim": self.map.lassim,
            "ssim": self.ssim,
            "level": self.map.level,
            "scale": self.map.scale,
            "worst": {
                "value": self.map.worst,
                "box": {"left": box.left, "top": box.top, "right": box.right, "bottom": box.bottom},
            },
            "width": self.map.width,
            "height": self.map.height,
        }


@dataclass(frozen=True, slots=True)
class NamedScore:
    """One pair of a folder: its score, or in one sentence why it has none."""

    name: str
    score: Score | None
    error: str = ""


@dataclass(frozen=True, slots=True)
class Pairing:
    """Two folders paired by name.

    Attributes:
        pairs: (name, output file, input file), sorted by name.
        outputs_alone: names only the output folder has.
        inputs_alone: names only the input folder has.
        files: every file of both folders.
    """

    pairs: list[tuple[str, Path, Path]]
    outputs_alone: list[str]
    inputs_alone: list[str]
    files: list[Path]


def read_image(path: Path) -> ImageFile:
    """An image file under its own name.

    Raises:
        CommandError: the file cannot be read.
    """
    try:
        return ImageFile(path.read_bytes(), name=str(path))
    except OSError as error:
        raise CommandError.unreadable(path, error) from error


def score_files(
    output: Path, input: Path, *, level: int, scale: Scale, max_pixels: int, heat_map: Path | None = None
) -> Score:
    """The score of two files of at most `max_pixels` each; `heat_map` also writes a PNG of where structure changed.

    Raises:
        CommandError: a file cannot be read or written, or the heat map would replace one of the two.
        BadRequest: the sizes differ, or are too small for the level.
    """
    if heat_map is not None:
        Targets((output, input)).check(heat_map)
    scorer = Scorer(PixelBudget(max_pixels), max_pixels)
    with scorer.decoded(read_image(output), read_image(input)) as (made, given):
        score = Score(lassim_map(made, given, level=level, scale=scale), ssim(made, given))
        if heat_map is not None:
            write_heat_map(score.map, given, heat_map)
    return score


def write_heat_map(local: LassimMap, photo: Pixels, path: Path) -> None:
    """Write a PNG of `photo`'s size with the changed regions in colour.

    Raises:
        CommandError: the file cannot be written.
    """
    drawn = render_heatmap(local.values, (local.width, local.height), photo, border=WINDOW // 2)
    try:
        path.write_bytes(encode(drawn, "png"))
    except OSError as error:
        raise CommandError.unwritable(path, error) from error


def pair_folders(outputs: Path, inputs: Path) -> Pairing:
    """Pair two folders by file name without its suffix, sub-folders included.

    Raises:
        CommandError: a folder cannot be read, or two of its files share a name but for the suffix.
    """
    by_output, by_input = _by_name(outputs), _by_name(inputs)
    both = sorted(by_output.keys() & by_input.keys())
    return Pairing(
        pairs=[(name, by_output[name], by_input[name]) for name in both],
        outputs_alone=sorted(by_output.keys() - by_input.keys()),
        inputs_alone=sorted(by_input.keys() - by_output.keys()),
        files=[*by_output.values(), *by_input.values()],
    )


def targets_of(pairing: Pairing, heat_maps: Path | None = None, table: Path | None = None) -> Targets:
    """What scoring the folders may write; `table`, the CSV file, is claimed already.

    Raises:
        CommandError: a heat map or the table would replace a file of the folders, or the table cannot be written.
    """
    targets = Targets(pairing.files)
    if heat_maps is not None:
        for name, _, _ in pairing.pairs:
            targets.check(_map_path(heat_maps, name))
    if table is not None:
        targets.claim_report(table)
    return targets


def score_folders(
    pairing: Pairing,
    *,
    level: int,
    scale: Scale,
    max_pixels: int,
    targets: Targets,
    heat_maps: Path | None = None,
    advance: Callable[[], None] = lambda: None,
) -> list[NamedScore]:
    """Score every pair; one that cannot be scored is kept with its reason.

    `targets` are those of `targets_of`. `advance` is called after each.
    """
    scores = []
    for name, output, input in pairing.pairs:
        try:
            drawn = None if heat_maps is None else _map_path(heat_maps, name)
            if drawn is not None:
                targets.claim(drawn, overwrite=True)
                _make_folder(drawn.parent)
            score = score_files(output, input, level=level, scale=scale, max_pixels=max_pixels, heat_map=drawn)
            scores.append(NamedScore(name, score))
        except LameganError as error:
            scores.append(NamedScore(name, None, error.detail))
        advance()
    return scores


def to_csv(scores: Iterable[NamedScore]) -> str:
    """The scores as CSV with a header; a pair without a score has its reason in `error`."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for named in scores:
        if named.score is None:
            writer.writerow([named.name, *[""] * (len(CSV_COLUMNS) - 2), named.error])
            continue
        local = named.score.map
        box = (local.box.left, local.box.top, local.box.right, local.box.bottom)
        figures = (f"{local.lassim:.6f}", f"{named.score.ssim:.6f}", local.level, local.scale, f"{local.worst:.6f}")
        writer.writerow([named.name, *figures, *box, ""])
    return text.getvalue()


def summarise(values: list[float]) -> dict[str, float]:
    """Count, mean, sample standard deviation, least and largest of at least one value."""
    mean = math.fsum(values) / len(values)
    spread = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1)) if len(values) > 1 else 0.0
    return {"count": len(values), "mean": mean, "std": spread, "min": min(values), "max": max(values)}


def _by_name(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    try:
        files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    except OSError as error:
        raise CommandError.unreadable(folder, error) from error
    for path in files:
        name = path.relative_to(folder).with_suffix("").as_posix()
        if name in found:
            raise CommandError(f"{folder} has two files named {name}: which one is meant cannot be told.")
        found[name] = path
    if not found:
        raise CommandError(f"{folder} holds no files.")
    return found


def _map_path(folder: Path, name: str) -> Path:
    return folder / f"{name}.png"


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CommandError.unmakable(folder, error) from error
