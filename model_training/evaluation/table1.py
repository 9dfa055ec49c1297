"""The paper's table I, run again: does LaSSIM tell a warped image from a blurred one, where SSIM cannot?

Each image is blurred (three strengths), and warped and then blurred (nine pairs); SSIM and LaSSIM of both against
the original give two distributions a pair, and the Jensen-Shannon divergence says how far apart they lie.

Source: arXiv 2304.01864, section III-A, table I and figure 5.
"""

from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import TypeAlias

import numpy as np

from model_training.data.photos import Skip, find_photos
from model_training.evaluation.images import read_each
from model_training.evaluation.table1_report import plot_table1, write_table
from model_training.evaluation.table1_rows import INTENSITIES, Row
from model_training.guardrail.faults import BLUR_SIZES_PX, WARP_ALPHAS, box_blur, warp
from model_training.runs.output_checks import require_apart, require_writable
from model_training.runs.progress import Start, silent
from service.errors import DataError, InvalidParameter
from service.quality.lassim import LEVEL, lassim, ssim
from service.quality.pyramid import Image, check_level

METRICS = {"SSIM": ssim, "LaSSIM": lassim}

Key: TypeAlias = tuple[str, str, str]
"""(metric, deformation, blur)."""


def score_pairs(image: Image, generator: np.random.Generator) -> dict[Key, tuple[float, float]]:
    """Scores of one image blurred, and warped and blurred, by (metric, deformation, blur)."""
    bent = {strength: warp(image, WARP_ALPHAS[strength], generator) for strength in INTENSITIES}
    scores: dict[Key, tuple[float, float]] = {}
    for blur in INTENSITIES:
        only_blurred = box_blur(image, BLUR_SIZES_PX[blur])
        both = {strength: box_blur(bent[strength], BLUR_SIZES_PX[blur]) for strength in INTENSITIES}
        for name, metric in METRICS.items():
            of_blur = metric(only_blurred, image)
            for strength in INTENSITIES:
                scores[name, strength, blur] = (of_blur, metric(both[strength], image))
    return scores


def run_table1(
    paths: list[Path],
    size: tuple[int, int],
    seed: int,
    seeds: int,
    advance: Callable[[], None] = lambda: None,
    skip: Skip = lambda sentence: None,
) -> list[Row]:
    """The 18 rows of table I over the images of `paths`, each with `seeds` random fields from `seed` on.

    Args:
        paths: image files.
        size: (width, height) each image is resized to.
        seed: first seed; field k of image i comes from the pair (seed + k, i).
        seeds: random fields an image.
        advance: called once for every image and field done.
        skip: told why each file that cannot be read is left out.

    Raises:
        DataError: none can be read.
    """
    collected: dict[Key, list[tuple[float, float]]] = {}
    skipped: list[str] = []
    for index, image in read_each(paths, skipped.append, size):
        for number in range(seeds):
            generator = np.random.default_rng((seed + number, index))
            for key, pair in ({} if image is None else score_pairs(image, generator)).items():
                collected.setdefault(key, []).append(pair)
            advance()
    if not collected:
        raise DataError(f"None of the {len(paths)} image(s) can be used: {skipped[0]}")
    for sentence in skipped:
        skip(sentence)
    return [_row(key, collected[key]) for key in _row_keys()]


def _row_keys() -> list[Key]:
    """(metric, deformation, blur) in the paper's order."""
    return [(metric, warped, blur) for metric in METRICS for blur, warped in product(INTENSITIES, INTENSITIES)]


def _row(key: Key, pairs: list[tuple[float, float]]) -> Row:
    blurred, warped = np.array(pairs).T
    return Row(*key, blurred, warped)


def validate_lassim(
    images: Path,
    out: Path,
    *,
    size: tuple[int, int] = (480, 272),
    seed: int = 0,
    seeds: int = 1,
    start: Start = silent,
    skip: Skip = lambda sentence: None,
) -> list[Row]:
    """Runs table I over `images` (file or folder) and writes table.md, table.csv and distributions.png to `out`.

    Args:
        start: told the number of steps, returns the function to call after each (see `progress`).
        skip: told why each file that cannot be read is left out.

    Raises:
        InvalidParameter: `seeds` is below 1.
        CommandError: `out` cannot be written to, or lies among the images.
        DataError: no image that can be read is there.
        LevelUnavailable: `size` is too small for LaSSIM.
    """
    if seeds < 1:
        raise InvalidParameter(f"At least one random field an image is needed, not {seeds}.")
    check_level(size[1], size[0], LEVEL)
    require_apart(out, images)
    require_writable(out)
    paths = find_photos(images)
    rows = run_table1(paths, size, seed, seeds, start(len(paths) * seeds), skip)
    counts = f"{len(rows[0].blurred) // seeds} image(s), {seeds} random field(s) each, seed {seed}"
    write_table(rows, out, f"Table I at {size[0]}x{size[1]}: {counts}")
    plot_table1(rows, out / "distributions.png")
    return rows
