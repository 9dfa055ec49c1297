"""Images from files for the evaluation, read as training reads them, and the sizes that they are measured at."""

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from model_training.data.photos import Skip, read_photo, resize
from service.errors import DataError, ImageDimensions, InvalidParameter
from service.quality.pyramid import Image

LEAST_SIDE_PX = 64
"""What a generator takes at least, as the model card's default has it."""
LONGEST_SIDE_PX, LARGEST_AREA_PX = 8192, 50_000_000
"""Beyond these a size is a slip of the finger."""
WORKING_AREA_PX = 480 * 272
"""Area that the generator sees, as the model card's default has it."""


def read_image(path: Path, size: tuple[int, int] | None = None, *, least: int = 1) -> Image:
    """The picture in `path` as (H, W, 3) uint8 RGB, resized to `size` = (width, height) if given.

    Shrinking averages areas, enlarging is bilinear.

    Raises:
        DataError: the file cannot be read, is not an image, or has a side under `least` pixels.
    """
    image = read_photo(path, least=least)
    return image if size is None else resized(image, size)


def read_each(
    paths: Iterable[Path],
    skip: Skip,
    size: tuple[int, int] | None = None,
    *,
    least: int = 1,
    prepare: Callable[[Image], Image] = lambda image: image,
) -> Iterator[tuple[int, Image | None]]:
    """Number and picture of each of `paths`, as `read_image` reads it and `prepare` makes it.

    None, and `skip` told why, where it cannot be read or `prepare` finds its size unsuitable (ImageDimensions).
    """
    for index, path in enumerate(paths):
        try:
            image = prepare(read_image(path, size, least=least))
        except DataError as error:
            skip(error.detail)
            yield index, None
        except ImageDimensions as error:
            skip(f"{path} is left out. {error.detail}")
            yield index, None
        else:
            yield index, image


def resized(image: Image, size: tuple[int, int]) -> Image:
    """`image` at `size` = (width, height): area average to shrink, bilinear to enlarge."""
    return resize(image, (size[1], size[0]))


def working_size(width: int, height: int) -> tuple[int, int]:
    """(width, height) at the generator's working area with the proportions kept, never enlarged."""
    scale = min(1.0, (WORKING_AREA_PX / (width * height)) ** 0.5)
    return max(1, round(width * scale)), max(1, round(height * scale))


def evenly_spread(paths: list[Path], limit: int | None) -> list[Path]:
    """At most `limit` of `paths`, evenly spread, the first and the last among them."""
    if limit is None or limit >= len(paths):
        return paths
    return [paths[index] for index in np.linspace(0, len(paths) - 1, max(1, limit)).astype(int)]


def parse_size(text: str, *, longest_px: int = LONGEST_SIDE_PX, area_px: int = LARGEST_AREA_PX) -> tuple[int, int]:
    """(width, height) from text such as `480x272`.

    Raises:
        InvalidParameter: the text is not two whole numbers from 1 with an x between them, or the size is too large.
    """
    match = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", text.strip().lower())
    if match is None:
        raise InvalidParameter(f"A size is written WIDTHxHEIGHT, as in 480x272; {text!r} is not.")
    width, height = int(match[1]), int(match[2])
    if max(width, height) > longest_px or width * height > area_px:
        raise InvalidParameter(
            f"The size {width}x{height} is too large: at most {longest_px} pixels a side and {area_px:,} in all."
        )
    return width, height
