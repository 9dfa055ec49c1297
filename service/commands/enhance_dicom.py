"""A DICOM object on the command line: the derived image, and beside it the report about it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from service.dicom.answer import DICOM_SUFFIX, DicomAnswer, ObjectEnhancer
from service.errors import CommandError
from service.pipeline import EnhanceOptions

REPORT = ".report"
"""Stands in a report's name before the mark of a result, if it has one, and the ending."""


def image_and_report(target: Path, mark: str) -> tuple[Path, Path]:
    """Where the image named `target` and its report go; `mark` ends the stem of a result beside its input."""
    stem = target.stem.removesuffix(mark)
    marked = mark if stem != target.stem else ""
    return target, target.with_name(f"{stem}{REPORT}{marked}{target.suffix}")


def dicom_target(folder: Path, stem: str, suffix: str | None) -> Path:
    """The file that a derived image is written to.

    Raises:
        CommandError: `suffix`, the OUT file's ending, is not DICOM's.
    """
    if suffix is not None and suffix.lower() != DICOM_SUFFIX:
        raise CommandError(f"A DICOM object is written as {DICOM_SUFFIX}, not as {suffix}.")
    return folder / f"{stem}{suffix or DICOM_SUFFIX}"


def enhance_object(
    enhancer: ObjectEnhancer,
    body: bytes,
    options: EnhanceOptions,
    paths: tuple[Path, Path],
    write: Callable[[Path, bytes], None],
) -> tuple[Path, DicomAnswer]:
    """Write the objects made of `body`; the path of the image, or of the report where the image is withheld.

    Raises:
        CommandError: a result cannot be written there.
        LameganError: see `DicomEnhancer.enhance`.
    """
    answer = enhancer.enhance(body, options)
    image, report = paths
    write(report, answer.report)
    if answer.image is None:
        return report, answer
    write(image, answer.image)
    return image, answer
