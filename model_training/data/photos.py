"""Two folders of photos, decoded once and kept as bytes; bad files are named, never passed over in silence."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model_training.runs.progress import Start, silent
from service.errors import BadRequest, DataError
from service.imaging.codecs import decode

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})
MOST_PIXELS = 179_000_000
"""About what Pillow opens; far beyond any camera, so that only a damaged header says more."""
_SKIPPED_SHOWN = 5

Fit = Literal["stretch", "cover"]
Skip = Callable[[str], None]
"""Told one sentence for each file that cannot be used."""


@dataclass(frozen=True, slots=True)
class PhotoSet:
    """One side of the training data.

    Attributes:
        pixels: (N, 3, H, W) uint8 RGB.
        names: the files, in the order of ``pixels``.
        skipped: one sentence for each file that could not be used.
        digest: SHA-256 over the sorted SHA-256 digests of the files used.
        digests: SHA-256 of each file, in the order of ``pixels``.
        images: the photos at their own sizes, where they were kept so; ``pixels`` is empty then.
    """

    pixels: Tensor
    names: tuple[str, ...]
    skipped: tuple[str, ...]
    digest: str
    digests: tuple[str, ...] = ()
    images: tuple[NDArray[np.uint8], ...] = ()

    def __len__(self) -> int:
        return len(self.names)


def as_images(photos: PhotoSet | None) -> list[NDArray[np.uint8]]:
    """The photos, if any, as (H, W, 3) uint8 RGB arrays."""
    if photos and photos.images:
        return list(photos.images)
    return [photo.permute(1, 2, 0).contiguous().numpy() for photo in photos.pixels] if photos else []


def find_photos(source: Path) -> list[Path]:
    """The image files of a folder (and below), an image itself, or those that a text file lists.

    A list has one file a line, relative to itself; empty lines and those that begin with # are passed over.

    Raises:
        DataError: there is no such folder or file, or it names no image.
    """
    if source.is_dir():
        found = sorted(path for path in source.rglob("*") if path.suffix.lower() in SUFFIXES)
    elif source.is_file() and source.suffix.lower() in SUFFIXES:
        found = [source]
    elif source.is_file():
        found = _listed(source)
    else:
        raise DataError(f"There is no folder or list of images at {source}.", path=str(source))
    if not found:
        raise DataError(f"There are no images in {source}.", path=str(source))
    return found


def load_photos(
    source: Path,
    size: tuple[int, int],
    *,
    least: int,
    fit: Fit = "stretch",
    start: Start = silent,
) -> PhotoSet:
    """Every usable image of ``source`` at ``size`` (height, width), decoded on all cores.

    An image that cannot be read, or with a side under ``least`` pixels, is skipped and says so in ``skipped``.
    `start` shows the progress.

    Raises:
        DataError: nothing usable is left.
    """
    paths = find_photos(source)
    advance = start(len(paths))
    pixels: list[NDArray[np.uint8]] = []
    names: list[str] = []
    digests: list[str] = []
    skipped: list[str] = []
    with ThreadPoolExecutor() as threads:
        decoded = threads.map(lambda path: _decoded(path, size, least, fit), paths)
        for path, found in zip(paths, decoded, strict=True):
            if isinstance(found, DataError):
                skipped.append(found.detail)
            else:
                pixels.append(found[0])
                digests.append(found[1])
                names.append(str(path))
            advance()
    require_any(len(pixels), source, skipped)
    stack = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).contiguous()
    return PhotoSet(stack, tuple(names), tuple(skipped), combined_digest(digests), tuple(digests))


def load_at_own_size(source: Path, *, least: int, most_pixels: int) -> PhotoSet:
    """Every usable image of ``source`` at its own size, or shrunk to ``most_pixels`` where it has more.

    An image that cannot be read, or with a side under ``least`` pixels, is skipped and says so in ``skipped``.

    Raises:
        DataError: nothing usable is left.
    """
    paths = find_photos(source)
    images, names, digests, skipped = [], [], [], []
    for path in paths:
        try:
            image = read_photo(path, least=least)
        except DataError as error:
            skipped.append(error.detail)
            continue
        shrunk = min(1.0, (most_pixels / (image.shape[0] * image.shape[1])) ** 0.5)
        images.append(resize(image, (round(image.shape[0] * shrunk), round(image.shape[1] * shrunk))))
        names.append(str(path))
        digests.append(hashlib.sha256(path.read_bytes()).hexdigest())
    require_any(len(images), source, skipped)
    nothing = torch.empty((0, 3, 0, 0), dtype=torch.uint8)
    return PhotoSet(nothing, tuple(names), tuple(skipped), combined_digest(digests), tuple(digests), tuple(images))


def require_any(used: int, source: Path, skipped: Sequence[str]) -> None:
    """Refuses a source of which nothing can be used.

    Raises:
        DataError: none of its images was of use; the first reason is told.
    """
    if not used:
        why = f": {skipped[0]}" if skipped else "."
        raise DataError(f"No image of {source} can be used{why}", path=str(source), skipped=len(skipped))


def named_skips(skipped: Sequence[str], of: int | None = None) -> str:
    """How many files (of so many, where that is known) were not used, and the first of them by name."""
    lines = [f"{len(skipped)} of {of} files are skipped:" if of else f"Skipped, {len(skipped)} in all:"]
    lines += [f"  {sentence}" for sentence in skipped[:_SKIPPED_SHOWN]]
    if len(skipped) > _SKIPPED_SHOWN:
        lines.append(f"  and {len(skipped) - _SKIPPED_SHOWN} more")
    return "\n".join(lines)


def _decoded(path: Path, size: tuple[int, int], least: int, fit: Fit) -> tuple[NDArray[np.uint8], str] | DataError:
    """One file at ``size`` with its SHA-256, or why it cannot be used."""
    try:
        image = resize(read_photo(path, least=least), size, fit=fit)
    except DataError as error:
        return error
    return image, hashlib.sha256(path.read_bytes()).hexdigest()


def read_photo(path: Path, *, least: int) -> NDArray[np.uint8]:
    """The upright image in a file, (H, W, 3) uint8 RGB: the pixels that the service decodes from the same bytes.

    Raises:
        DataError: it cannot be read, or a side is under ``least`` pixels.
    """
    try:
        image = decode(path.read_bytes(), max_pixels=MOST_PIXELS).pixels
    except FileNotFoundError as error:
        raise DataError(f"{path} is not there.") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read as an image. {error.strerror}.") from error
    except BadRequest as error:
        raise DataError(f"{path} cannot be read as an image. {error.detail}") from error
    height, width = image.shape[:2]
    if min(height, width) < least:
        raise DataError(f"{path} is too small: {width}x{height} pixels, and {least} are needed on each side.")
    return image


def resize(image: NDArray[np.uint8], size: tuple[int, int], *, fit: Fit = "stretch") -> NDArray[np.uint8]:
    """``image`` at ``size`` (height, width); "cover" keeps the proportions and crops what sticks out, centred.

    Shape: (h, w, 3) uint8 -> (*size, 3) uint8.
    """
    height, width = size
    if fit == "cover":
        image = _centred(image, height / width)
    if image.shape[:2] == size:
        return np.ascontiguousarray(image)
    shrinks = image.shape[0] >= height and image.shape[1] >= width
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (width, height), interpolation=interpolation), dtype=np.uint8)


def file_sha256(path: Path) -> str | None:
    """SHA-256 of a file's bytes; None where they cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None


def without_repeats(paths: Iterable[Path], skip: Skip) -> list[Path]:
    """``paths`` without those whose bytes another had before; ``skip`` is told of each."""
    kept: list[Path] = []
    first: dict[str, Path] = {}
    for number, path in enumerate(paths, start=1):
        digest = file_sha256(path)
        if digest is not None and digest in first:
            skip(f"{path}, number {number} of the photos, repeats {first[digest]}.")
            continue
        kept.append(path)
        if digest is not None:
            first[digest] = path
    return kept


def shared_files(ours: Iterable[Path], others: Iterable[Path]) -> int:
    """How many of ``ours`` have the bytes of one of ``others``."""
    known = {file_sha256(path) for path in others} - {None}
    return sum(file_sha256(path) in known for path in ours)


def combined_digest(digests: Iterable[str]) -> str:
    """SHA-256 over sorted digests: the same for the same files in any order."""
    return hashlib.sha256("\n".join(sorted(digests)).encode()).hexdigest()


def _listed(source: Path) -> list[Path]:
    try:
        text = source.read_text(encoding="utf-8-sig")
        if "\0" in text:  # no file's name holds one
            raise ValueError("not text")
    except ValueError as error:
        raise DataError(
            f"{source} is neither a folder nor a text list of images, nor an image ({', '.join(sorted(SUFFIXES))}).",
            path=str(source),
        ) from error
    lines = text.splitlines()
    return [source.parent / line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]


def _centred(image: NDArray[np.uint8], proportion: float) -> NDArray[np.uint8]:
    height, width = image.shape[:2]
    if height > width * proportion:
        kept = round(width * proportion)
        top = (height - kept) // 2
        return image[top : top + kept]
    kept = round(height / proportion)
    left = (width - kept) // 2
    return image[:, left : left + kept]
