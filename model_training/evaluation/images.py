"""Images from files for the evaluation: found by folder, file or pattern, read as RGB."""

import re
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from service.errors import InvalidParameter, UndecodableImage
from service.quality.pyramid import Image

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"})
LIST_SUFFIX = ".txt"

WORKING_AREA_PX = 480 * 272
"""Area that the generator sees, as the model card's default has it."""


def find_images(source: Path) -> list[Path]:
    """Image files at `source` in name order: an image itself, what a text file lists, or all below a folder.

    Lines of a list are paths, relative to the list's folder.

    Raises:
        UndecodableImage: nothing is there, or it holds or lists no image.
    """
    if source.is_file():
        return _listed(source) if source.suffix == LIST_SUFFIX else [source]
    if not source.is_dir():
        raise UndecodableImage(f"There is no file or folder named {source}.")
    found = sorted(path for path in source.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not found:
        raise UndecodableImage(f"The folder {source} holds no image ({', '.join(sorted(SUFFIXES))}).")
    return found


def _listed(source: Path) -> list[Path]:
    try:
        lines = source.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UndecodableImage(f"{source} cannot be read as a list of images.") from error
    found = [source.parent / line.strip() for line in lines if line.strip()]
    if not found:
        raise UndecodableImage(f"{source} lists no image.")
    return found


def read_image(path: Path, size: tuple[int, int] | None = None) -> Image:
    """The picture in `path` as (H, W, 3) uint8 RGB, resized to `size` = (width, height) if given.

    Shrinking averages areas, enlarging is bilinear.

    Raises:
        UndecodableImage: the file cannot be read, or is not an image.
    """
    try:
        data = np.fromfile(path, np.uint8)
    except OSError as error:
        raise UndecodableImage(f"{path} cannot be read: {error.strerror}.") from error
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    if decoded is None:
        raise UndecodableImage(f"{path} is not an image that can be decoded.")
    image = cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)
    return image if size is None else resized(image, size)


def resized(image: Image, size: tuple[int, int]) -> Image:
    """`image` at `size` = (width, height): area average to shrink, bilinear to enlarge."""
    height, width = image.shape[:2]
    if (width, height) == size:
        return image
    shrinks = size[0] <= width and size[1] <= height
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def working_size(width: int, height: int) -> tuple[int, int]:
    """(width, height) at the generator's working area with the proportions kept, never enlarged."""
    scale = min(1.0, (WORKING_AREA_PX / (width * height)) ** 0.5)
    return max(1, round(width * scale)), max(1, round(height * scale))


def each_image(paths: list[Path], size: tuple[int, int] | None = None) -> Iterator[Image]:
    """The pictures of `paths`, one after the other, so that a large set needs no large memory."""
    for path in paths:
        yield read_image(path, size)


def parse_size(text: str) -> tuple[int, int]:
    """(width, height) from text such as `480x272`.

    Raises:
        InvalidParameter: the text is not two whole numbers from 1 with an x between them.
    """
    match = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", text.strip().lower())
    if match is None:
        raise InvalidParameter(f"A size is written WIDTHxHEIGHT, as in 480x272; {text!r} is not.")
    return int(match[1]), int(match[2])
