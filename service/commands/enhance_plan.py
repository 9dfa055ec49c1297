"""Which files `lamegan enhance` is to enhance, and where each result goes."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from service.dicom.answer import DICOM_SUFFIX, is_dicom
from service.errors import CommandError, UnsupportedType
from service.imaging.codecs import SUFFIXES, WRITTEN
from service.imaging.headers import SourceFormat, sniff

MADE = ".enhanced"
"""Ends the stem of a result that lies beside its input; such files are skipped in folders and patterns."""

STREAM = "-"
"""Standard input, or standard output."""

BY_SUFFIX: dict[str, SourceFormat] = {
    **{suffix: form for form, suffix in SUFFIXES.items()},
    ".jpeg": "jpeg",
    ".jpe": "jpeg",
    ".tiff": "tiff",
    ".heif": "heic",
}

_OTHER_IMAGES = frozenset(
    (".jp2", ".j2k", ".jls", ".dcm", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf", ".psd", ".jxr")
)
"""Images of kinds that are not read: in a folder they are listed with what to do, not passed over."""

_HEAD_BYTES = 1024


@dataclass(frozen=True, slots=True)
class Job:
    """One file to enhance.

    Attributes:
        source: the file; `-` is standard input.
        folder: where the result goes.
        stem: the result's name without its ending.
        suffix: the result's ending; None: the format's own.
        heatmap: where the heat map goes, if asked for.
        to_stdout: the result goes to standard output instead.
    """

    source: Path
    folder: Path
    stem: str
    suffix: str | None
    heatmap: Path | None
    to_stdout: bool = False

    def target(self, form: SourceFormat) -> Path:
        """The file that the result in `form` is written to."""
        kept = self.suffix or (self.source.suffix if BY_SUFFIX.get(self.source.suffix.lower()) == form else "")
        return self.folder / f"{self.stem}{kept or SUFFIXES[form]}"


@dataclass(frozen=True, slots=True)
class Plan:
    """What a command line means.

    Attributes:
        jobs: the files to enhance.
        passed_over: how many files in folders are not images.
        journal_folder: where a journal may be kept; None for a single file.
    """

    jobs: list[Job]
    passed_over: int = 0
    journal_folder: Path | None = None


def plan(
    paths: Sequence[str],
    out: str | None = None,
    maps: Path | None = None,
    *,
    overwrite: bool = False,
    inputs_only: bool = False,
) -> Plan:
    """What `IN... [-o OUT]` means.

    Without OUT each result lies beside its input, named NAME.enhanced. OUT is a folder, or for a single input file a
    file, or `-`. The older form `IN... OUT` holds where the last path is not an existing file, since that would be an
    input; with `inputs_only` every path is one. Folders are walked and patterns that no shell expanded are expanded;
    hidden files and earlier results are skipped, and in folders what is not an image too. A broken link, or what is
    not a regular file, fails by itself.

    Raises:
        CommandError: an input does not exist, nothing is meant, OUT does not fit the inputs, or OUT was meant by its
            place alone and `overwrite` would replace what is in it.
    """
    if not paths:
        raise CommandError("Name a file or a folder to enhance.")
    if out is None and not inputs_only and len(paths) > 1 and not is_named(Path(paths[-1])):
        *paths, out = paths
        if overwrite and _is_folder(Path(out)):
            raise CommandError(f"To replace files in {out}, say that the results go there: -o {out} --overwrite.")
    if STREAM in paths or out == STREAM:
        return _streamed(paths, out, maps)
    walk = _Walk(Path(out) if out is not None else None)
    files = list(
        {os.path.realpath(source): (source, name) for path in paths for source, name in walk.files(path)}.values()
    )
    if not files:
        raise CommandError(f"There is nothing to enhance: {_none_of(walk.passed_over)}.")
    several = len(files) > 1 or len(paths) > 1 or not is_named(Path(paths[0]))
    jobs = _jobs(files, out, maps, several)
    journal = None if not several else Path(out) if out is not None else _first_folder(paths[0])
    return Plan(jobs, walk.passed_over, journal)


def _none_of(passed_over: int) -> str:
    return f"none of the {passed_over} files there is an image" if passed_over else "no files are there"


def _streamed(paths: Sequence[str], out: str | None, maps: Path | None) -> Plan:
    if len(paths) > 1:
        raise CommandError("Standard input and output take one image; name a single input.")
    source = Path(paths[0])
    if out in (None, STREAM):
        if paths[0] != STREAM and (_is_folder(source) or not is_named(source)):
            raise CommandError(f"{source} is not a file; only one can go to standard output.")
        return Plan([Job(source, Path(), "", None, maps, to_stdout=True)])
    if _is_folder(Path(out)) or out.endswith(("/", "\\")):
        raise CommandError("Standard input has no name; say which file the result goes to.")
    return Plan(_jobs([(source, source)], out, maps, several=False))


def _jobs(files: Sequence[tuple[Path, Path]], out: str | None, maps: Path | None, several: bool) -> list[Job]:
    if out is None:
        return [_job(source, name, None, maps, several) for source, name in files]
    folder = Path(out)
    if several and is_named(folder):
        raise CommandError(f"{folder} is a file; for several inputs the results go to a folder.")
    if not several and not _is_folder(folder) and not out.endswith(("/", "\\")):
        if folder.suffix.lower() != DICOM_SUFFIX and BY_SUFFIX.get(folder.suffix.lower()) not in WRITTEN:
            raise CommandError(f"{folder} does not end in the name of a format that is written, such as .png or .jpg.")
        return [Job(files[0][0], folder.parent, folder.stem, folder.suffix, maps)]
    return [_job(source, name, folder, maps, several) for source, name in files]


def _job(source: Path, name: Path, out: Path | None, maps: Path | None, several: bool) -> Job:
    stem = name.stem if out is not None else f"{name.stem}{MADE}"
    folder = source.parent if out is None else out / name.parent
    drawn = maps / name.parent / f"{name.stem}.png" if maps is not None and several else maps
    return Job(source, folder, stem, None, drawn)


def _first_folder(path: str) -> Path:
    given = Path(path)
    return given if _is_folder(given) else given.parent


class _Walk:
    """Finds the files that inputs mean, each with its path below the folder that it was found in."""

    def __init__(self, out: Path | None) -> None:
        self._out = out
        self.passed_over = 0

    def files(self, path: str) -> Iterator[tuple[Path, Path]]:
        given = Path(path)
        if _is_folder(given):
            yield from self._in_folder(given)
        elif is_named(given):
            yield given, Path(given.name)
        elif glob.has_magic(path):
            for found in sorted(glob.glob(path, recursive=True)):  # noqa: PTH207  (the pattern may be absolute)
                if not _is_made(Path(found)):
                    yield from self.files(found)
        else:
            raise CommandError(f"{path} does not exist.")

    def _in_folder(self, folder: Path) -> Iterator[tuple[Path, Path]]:
        answers = _real(self._out) if self._out is not None and _real(self._out) != _real(folder) else None
        for file in sorted(folder.rglob("*")):
            below = file.relative_to(folder)
            hidden = any(part.startswith(".") for part in below.parts)
            made = _is_made(file) or (answers is not None and _real(file.parent).is_relative_to(answers))
            if _is_folder(file) or hidden or made:
                continue
            if _is_image(file):
                yield file, below
            else:
                self.passed_over += 1


def _is_image(path: Path) -> bool:
    """Whether a file in a folder is meant: it is called an image, or is one by its first bytes."""
    suffix = path.suffix.lower()
    if suffix in BY_SUFFIX or suffix in _OTHER_IMAGES:
        return True
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
        if not is_dicom(head):
            sniff(head)
    except UnsupportedType:
        return False
    except OSError:
        return True  # it fails by itself, with the reason
    return True


def _real(path: Path) -> Path:
    """Where `path` is, whatever it is called; links in a ring are followed as far as they go."""
    return Path(os.path.realpath(path))


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False


def is_named(path: Path) -> bool:
    """Whether a directory entry that is not a folder is there, be it a file, a pipe or a broken link."""
    return os.path.lexists(path) and not _is_folder(path)


def _is_made(path: Path) -> bool:
    return path.stem.endswith(MADE)
