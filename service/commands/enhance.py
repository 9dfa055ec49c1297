"""Enhancing files from the command line: which are meant, where each answer goes, and what became of it."""

from __future__ import annotations

import csv
import glob
import io
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from service.commands.enhance_dicom import dicom_target, enhance_object, image_and_report
from service.commands.output_files import Targets
from service.dicom.answer import DICOM_SUFFIX, ObjectEnhancer, available, is_dicom, load_dicom_enhancer
from service.errors import CommandError, LameganError, MissingImage
from service.imaging.codecs import SUFFIXES
from service.imaging.headers import SourceFormat, sniff
from service.pipeline.enhancer import Enhancement, EnhanceOptions, Enhancer
from service.vocabulary import OutputFormat

LARGEST_FILE_BYTES = 1 << 30

MADE = ".enhanced"
"""Ends the stem of an answer that lies beside its input; such files are skipped in folders and patterns."""

CSV_COLUMNS = (
    *("input", "output", "verdict", "lassim", "worst", "left", "top", "right", "bottom", "blend"),
    *("delta_e_mean", "delta_e_p95", "redder_share", "missed", "model", "model_digest", "width", "height", "error"),
    *("paler_share", "redness_order", "detail"),
)

_BY_SUFFIX: dict[str, SourceFormat] = {
    **{suffix: form for form, suffix in SUFFIXES.items()},
    ".jpeg": "jpeg",
    ".jpe": "jpeg",
    ".tiff": "tiff",
}


@dataclass(frozen=True, slots=True)
class Job:
    """One file to enhance.

    Attributes:
        source: the file.
        folder: where the answer goes.
        stem: the answer's name without its ending.
        suffix: the answer's ending; None: the format's own.
        heatmap: where the heat map goes, if wanted.
    """

    source: Path
    folder: Path
    stem: str
    suffix: str | None
    heatmap: Path | None

    def target(self, form: SourceFormat) -> Path:
        """The file that the answer in `form` is written to."""
        kept = self.suffix or (self.source.suffix if _BY_SUFFIX.get(self.source.suffix.lower()) == form else "")
        return self.folder / f"{self.stem}{kept or SUFFIXES[form]}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one file.

    Attributes:
        source: the file.
        output: what was written; None if nothing was.
        facts: the columns of `CSV_COLUMNS`, as values.
        error: one sentence, empty when all went well.
    """

    source: Path
    output: Path | None
    facts: dict[str, object]
    error: str = ""

    @property
    def withheld(self) -> bool:
        """Whether the guard delivered the original."""
        return self.facts.get("verdict") == "withheld"

    def words(self) -> str:
        """One line for a person."""
        facts = self.facts
        line = f"{self.source} -> {self.output}  LaSSIM {facts['lassim']:.4f}  {facts['verdict']}"
        if facts["verdict"] == "constrained":
            line += f" (with {facts['blend']:.0%} of the original)"
        return f"{line}, missed: {', '.join(self.missed)}" if self.missed else line

    @property
    def missed(self) -> list[str]:
        """Floors that the enhancement as made did not keep."""
        missed = self.facts.get("missed", [])
        return [str(name) for name in missed] if isinstance(missed, list) else []


def plan(paths: Sequence[str], maps: Path | None = None) -> list[Job]:
    """What `IN... [OUT]` means: the files to enhance and where each answer goes.

    With one path the answer lies beside it, named NAME.enhanced. With more, the last is OUT: a folder, or with a
    single input file a file. Folders are walked and patterns that no shell expanded are expanded, hidden files and
    earlier answers skipped. What is no regular file, or a broken link, is meant like any other: it fails by itself.

    Raises:
        CommandError: an input does not exist, nothing is meant, or OUT is a file for several inputs.
    """
    if not paths:
        raise CommandError("Name a file or a folder to enhance.")
    inputs, out = (paths, None) if len(paths) == 1 else (paths[:-1], Path(paths[-1]))
    files = [entry for path in inputs for entry in _files_of(path, out)]
    if not files:
        raise CommandError("There is nothing to enhance: no files are there.")
    several = len(files) > 1 or len(inputs) > 1 or not _is_named(Path(inputs[0]))
    if several and out is not None and _is_named(out):
        raise CommandError(f"{out} is a file; for several inputs the last path must be a folder.")
    if out is not None and not several and not _is_folder(out) and not paths[-1].endswith(("/", "\\")):
        if out.suffix.lower() not in (*_BY_SUFFIX, DICOM_SUFFIX):
            raise CommandError(f"{out} does not end in a format's name, such as .png or .jpg.")
        return [Job(files[0][0], out.parent, out.stem, out.suffix, maps)]
    return [_job(source, name, out, maps, several) for source, name in files]


def _job(source: Path, name: Path, out: Path | None, maps: Path | None, several: bool) -> Job:
    stem = name.stem if out is not None else f"{name.stem}{MADE}"
    folder = source.parent if out is None else out / name.parent
    drawn = maps / name.parent / f"{name.stem}.png" if maps is not None and several else maps
    return Job(source, folder, stem, None, drawn)


def _files_of(path: str, out: Path | None) -> Iterator[tuple[Path, Path]]:
    """The files that one input means, each with its path below the folder that it was found in."""
    given = Path(path)
    if _is_folder(given):
        answers = _real(out) if out is not None and _real(out) != _real(given) else None
        for file in sorted(given.rglob("*")):
            below = file.relative_to(given)
            hidden = any(part.startswith(".") for part in below.parts)
            made = _is_made(file) or (answers is not None and _real(file.parent).is_relative_to(answers))
            if not _is_folder(file) and not hidden and not made:
                yield file, below
    elif _is_named(given):
        yield given, Path(given.name)
    elif glob.has_magic(path):
        for found in sorted(glob.glob(path, recursive=True)):  # noqa: PTH207  (the pattern may be absolute)
            if not _is_made(Path(found)):
                yield from _files_of(found, out)
    else:
        raise CommandError(f"{path} does not exist.")


def _real(path: Path) -> Path:
    """Where `path` is, whatever it is called; links in a ring are followed as far as they go."""
    return Path(os.path.realpath(path))


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False


def _is_named(path: Path) -> bool:
    """Whether a directory entry that is no folder is there, be it a file, a pipe or a broken link."""
    return os.path.lexists(path) and not _is_folder(path)


def _is_made(path: Path) -> bool:
    return path.stem.endswith(MADE)


def targets_of(jobs: Sequence[Job], table: Path | None = None) -> Targets:
    """What the run may write; `table`, the CSV file, is claimed already.

    Raises:
        CommandError: a heat map or the table would replace an input, or the table cannot be written.
    """
    targets = Targets(job.source for job in jobs)
    for job in jobs:
        if job.heatmap is not None:
            targets.check(job.heatmap)
    if table is not None:
        targets.claim_report(table)
    return targets


def enhance_files(
    enhancer: Enhancer,
    jobs: Sequence[Job],
    options: EnhanceOptions,
    *,
    targets: Targets,
    overwrite: bool = False,
    threads: int = 1,
    advance: Callable[[], None] = lambda: None,
) -> list[Outcome]:
    """Enhance every file, several at a time; one that cannot be is kept with its reason, and the rest goes on.

    `targets` are those of `targets_of`. `advance` is called after each, from the calling thread. Outcomes are in the
    order of `jobs`.
    """
    outcomes = []
    with ThreadPoolExecutor(threads, thread_name_prefix="enhance") as pool:
        try:
            for outcome in pool.map(lambda job: _enhance_file(enhancer, job, options, targets, overwrite), jobs):
                outcomes.append(outcome)
                advance()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return outcomes


def _enhance_file(enhancer: Enhancer, job: Job, options: EnhanceOptions, targets: Targets, overwrite: bool) -> Outcome:
    try:
        body = _read(job.source)
        if not body:
            raise MissingImage("The image is empty.")
        if is_dicom(body) and _stays_dicom(job, options):
            return _enhance_object(load_dicom_enhancer(enhancer), body, job, options, targets, overwrite)
        options = replace(options, format=_format_of(job, options), map=job.heatmap is not None)
        target = job.target(options.format if options.format != "same" else sniff(body))
        targets.claim(target, overwrite=overwrite)
        if job.heatmap is not None:
            targets.claim(job.heatmap, overwrite=overwrite)
        if is_dicom(body):
            made = available(load_dicom_enhancer(enhancer)).render(body, options)
        else:
            made = enhancer.enhance(body, options)
        _write(target, made.body)
        if job.heatmap is not None and made.heatmap is not None:
            _write(job.heatmap, made.heatmap)
    except LameganError as error:
        return Outcome(job.source, None, {}, error.detail)
    return Outcome(job.source, target, _facts(made))


def _stays_dicom(job: Job, options: EnhanceOptions) -> bool:
    """Whether the answer to an object is an object: unless an image format is asked for by option or ending."""
    return options.format == "same" and (job.suffix is None or job.suffix.lower() == DICOM_SUFFIX)


def _enhance_object(
    enhancer: ObjectEnhancer | None, body: bytes, job: Job, options: EnhanceOptions, targets: Targets, overwrite: bool
) -> Outcome:
    paths = image_and_report(dicom_target(job.folder, job.stem, job.suffix), MADE)
    path, answer = enhance_object(available(enhancer), body, options, paths, targets, _write, overwrite=overwrite)
    return Outcome(job.source, path, _facts(answer.worst))


def _format_of(job: Job, options: EnhanceOptions) -> OutputFormat:
    """The format to ask for, which an OUT file's ending may name.

    Raises:
        CommandError: ending and option disagree, or that format is only answered to its own kind.
    """
    if job.suffix is None:
        return options.format
    if job.suffix.lower() == DICOM_SUFFIX:
        raise CommandError("DICOM is written only for DICOM inputs; choose .png.")
    named = _BY_SUFFIX[job.suffix.lower()]
    if options.format not in ("same", named):
        raise CommandError(f"The output is to be {options.format}, but its name ends in {job.suffix}.")
    if named in ("tiff", "bmp"):
        if sniff(_read(job.source)) != named:
            raise CommandError(f"{named.upper()} is written only for {named.upper()} inputs; choose .png.")
        return "same"
    formats: dict[SourceFormat, OutputFormat] = {"jpeg": "jpeg", "png": "png", "webp": "webp"}
    return formats[named]


def _facts(made: Enhancement) -> dict[str, object]:
    judgement = made.judgement
    box, colour = judgement.box, judgement.colour
    return {
        "verdict": judgement.verdict.value,
        "lassim": round(judgement.lassim, 6),
        "worst": round(judgement.worst, 6),
        "left": box.left,
        "top": box.top,
        "right": box.right,
        "bottom": box.bottom,
        "blend": round(judgement.blend, 4),
        "delta_e_mean": round(colour.delta_e_mean, 4),
        "delta_e_p95": round(colour.delta_e_p95, 4),
        "redder_share": round(colour.redder_share, 6),
        "missed": list(judgement.missed),
        "model": made.model,
        "model_digest": f"sha256={made.model_sha256}",
        "width": made.width,
        "height": made.height,
        "paler_share": round(colour.paler_share, 6),
        "redness_order": round(colour.redness_order, 6),
        "detail": judgement.detail and round(judgement.detail.value, 6),
    }


def _read(path: Path) -> bytes:
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise CommandError(f"{path} is no regular file.")
        if found.st_size > LARGEST_FILE_BYTES:
            raise CommandError(f"{path} is larger than {LARGEST_FILE_BYTES >> 30} GiB.")
        return path.read_bytes()
    except FileNotFoundError as error:
        if path.is_symlink():
            raise CommandError(f"{path} is a broken link.") from error
        raise CommandError.unreadable(path, error) from error
    except OSError as error:
        raise CommandError.unreadable(path, error) from error


def _write(path: Path, content: bytes) -> None:
    """Write whole or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(content)
        partial.replace(path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise CommandError.unwritable(path, error) from error


def to_csv(outcomes: Sequence[Outcome]) -> str:
    """The outcomes as CSV with a header; a file that could not be enhanced has its reason in `error`."""
    text = io.StringIO()
    writer = csv.DictWriter(text, CSV_COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    for outcome in outcomes:
        row = outcome_facts(outcome)
        writer.writerow({key: ";".join(value) if isinstance(value, list) else value for key, value in row.items()})
    return text.getvalue()


def outcome_facts(outcome: Outcome) -> dict[str, object]:
    """One outcome as a flat, JSON-serialisable object."""
    row: dict[str, object] = {"input": str(outcome.source)}
    if outcome.output is not None:
        row["output"] = str(outcome.output)
    row |= outcome.facts
    if outcome.error:
        row["error"] = outcome.error
    return row
