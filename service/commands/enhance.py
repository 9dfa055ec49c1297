"""Enhancing files from the command line: one after the other, what became of each, and the table of all."""

from __future__ import annotations

import csv
import io
import stat
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from service.commands.enhance_dicom import dicom_target, enhance_object, image_and_report
from service.commands.enhance_plan import BY_SUFFIX, MADE, STREAM, Job
from service.commands.journal import Journal
from service.commands.output_files import Targets
from service.dicom.answer import DICOM_SUFFIX, ObjectEnhancer, available, is_dicom, load_dicom_enhancer
from service.durable import write_whole
from service.errors import CommandError, LameganError, MissingImage
from service.imaging.codecs import ANSWERED_AS, LOSSY
from service.imaging.headers import SourceFormat, sniff
from service.pipeline.enhancement import Enhancement, EnhanceOptions
from service.pipeline.enhancer import Enhancer
from service.vocabulary import OutputFormat

LARGEST_FILE_BYTES = 1 << 30

CSV_COLUMNS = (
    *("input", "output", "verdict", "lassim", "worst", "left", "top", "right", "bottom", "blend"),
    *("delta_e_mean", "delta_e_p95", "redder_share", "missed", "model", "model_digest", "width", "height", "error"),
    *("paler_share", "redness_order", "detail", "skipped"),
    *("quality_before", "quality_after", "untouched"),
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one file.

    Attributes:
        source: the file.
        output: what was written; None if nothing was.
        facts: the columns of `CSV_COLUMNS`, as values.
        error: one sentence, empty when all went well.
        skipped: the result was there already; the facts are those of the run that made it, as far as they are known.
    """

    source: Path
    output: Path | None
    facts: dict[str, object]
    error: str = ""
    skipped: bool = False

    @property
    def withheld(self) -> bool:
        """Whether the guard delivered the original."""
        return self.facts.get("verdict") == "withheld"

    def words(self) -> str:
        """One line for a person."""
        facts = self.facts
        if self.skipped:
            return f"{self.source} -> {self.output}  was there already"
        line = f"{self.source} -> {self.output}  LaSSIM {facts['lassim']:.4f}  {facts['verdict']}"
        if facts.get("untouched"):
            line += ", nothing needed changing"
        if facts["verdict"] == "constrained":
            line += f" (with {facts['blend']:.0%} of the original)"
        return f"{line}, missed: {', '.join(self.missed)}" if self.missed else line

    @property
    def missed(self) -> list[str]:
        """Thresholds that the enhancement as made did not keep."""
        missed = self.facts.get("missed", [])
        return [str(name) for name in missed] if isinstance(missed, list) else []


def targets_of(jobs: Sequence[Job], table: Path | None = None) -> Targets:
    """What the run may write; `table`, the CSV file, is claimed already.

    Raises:
        CommandError: a heat map or the table would replace an input, or the table cannot be written.
    """
    targets = Targets(job.source for job in jobs if str(job.source) != STREAM)
    for job in jobs:
        if job.heatmap is not None:
            targets.check(job.heatmap)
    if table is not None:
        targets.claim_report(table)
    return targets


@dataclass(frozen=True, slots=True)
class Run:
    """How a run writes.

    Attributes:
        options: of every file.
        targets: what may be written, from `targets_of`.
        journal: what earlier runs did, and where this one notes it.
        overwrite: replace results that exist.
        skip_existing: leave alone results that exist, and take what the table needs from the journal.
    """

    options: EnhanceOptions
    targets: Targets
    journal: Journal
    overwrite: bool = False
    skip_existing: bool = False


def enhance_files(
    enhancer: Enhancer,
    jobs: Sequence[Job],
    run: Run,
    *,
    threads: int = 1,
    advance: Callable[[], None] = lambda: None,
) -> list[Outcome]:
    """Enhance every file, several at a time; one that cannot be is kept with its reason, and the rest goes on.

    `advance` is called after each, from the calling thread. Outcomes are in the order of `jobs`. When interrupted, the
    files that are under way are finished, and nothing else is begun.
    """
    outcomes = []
    with ThreadPoolExecutor(threads, thread_name_prefix="enhance") as pool:
        try:
            for outcome in pool.map(lambda job: _enhance_file(enhancer, job, run), jobs):
                outcomes.append(outcome)
                advance()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return outcomes


def _enhance_file(enhancer: Enhancer, job: Job, run: Run) -> Outcome:
    try:
        body = read_source(job.source)
        if not body:
            raise MissingImage("The image is empty.")
        if is_dicom(body) and _stays_dicom(job, run.options):
            return _enhance_object(load_dicom_enhancer(enhancer), body, job, run)
        wanted = _format_of(job, run.options, body)
        form = _answer_form(wanted, body)
        quality = run.options.quality if form in LOSSY else None
        options = replace(run.options, format=wanted, quality=quality, map=job.heatmap is not None)
        target = job.target(form)
        if not job.to_stdout and (done := _done_before(job, (target, job.heatmap), run)) is not None:
            return done
        if is_dicom(body):
            made = available(load_dicom_enhancer(enhancer)).render(body, options)
        else:
            made = enhancer.enhance(body, options)
        facts = _facts(made)
        if job.to_stdout:
            sys.stdout.buffer.write(made.body)
            sys.stdout.buffer.flush()
            _write_map(job, made)
            return Outcome(job.source, Path(STREAM), facts)
        run.journal.begin(job.source, target)
        _write(target, made.body)
        _write_map(job, made)
        run.journal.finish(job.source, target, facts)
    except LameganError as error:
        return Outcome(job.source, None, {}, error.detail)
    return Outcome(job.source, target, facts)


def _stays_dicom(job: Job, options: EnhanceOptions) -> bool:
    """Whether the result for an object is an object: unless an image format is asked for by option or ending."""
    return options.format == "same" and (job.suffix is None or job.suffix.lower() == DICOM_SUFFIX)


def _enhance_object(enhancer: ObjectEnhancer | None, body: bytes, job: Job, run: Run) -> Outcome:
    if job.to_stdout:
        raise CommandError("A DICOM object has two results, image and report; name a file or a folder for them.")
    paths = image_and_report(dicom_target(job.folder, job.stem, job.suffix), MADE)
    if (done := _done_before(job, paths, run)) is not None:
        return done
    run.journal.begin(job.source, paths[0])
    path, answer = enhance_object(available(enhancer), body, run.options, paths, _write)
    facts = _facts(answer.worst)
    run.journal.finish(job.source, paths[0], facts)
    return Outcome(job.source, path, facts)


def _answer_form(wanted: OutputFormat, body: bytes) -> SourceFormat:
    if wanted != "same":
        return wanted
    form = sniff(body)
    return ANSWERED_AS.get(form, form)


def _done_before(job: Job, paths: tuple[Path | None, ...], run: Run) -> Outcome | None:
    """The outcome of a file whose answer is there; else its targets are claimed, and None says that it is to be made.

    Raises:
        CommandError: a target cannot be claimed, or what is there was made by other options.
    """
    target = paths[0] or job.source
    earlier = run.journal.earlier(job.source, target) if run.skip_existing else None
    if run.skip_existing and target.is_file():
        if earlier is None:
            return Outcome(job.source, target, {}, skipped=True)
        if run.journal.is_current(earlier, job.source):
            return Outcome(job.source, target, dict(earlier.facts or {}), skipped=True)
        if earlier.facts is not None and not run.overwrite and not run.journal.is_older(earlier, job.source):
            raise CommandError(f"{target} was made by other options; say --overwrite to make it anew.")
    ours = earlier is not None
    for path in paths:
        if path is not None:
            run.targets.claim(path, overwrite=run.overwrite or ours)
    return None


def _write_map(job: Job, made: Enhancement) -> None:
    if job.heatmap is not None and made.heatmap is not None:
        _write(job.heatmap, made.heatmap)


def _format_of(job: Job, options: EnhanceOptions, body: bytes) -> OutputFormat:
    """The format to ask for, which an OUT file's ending may name.

    Raises:
        CommandError: ending and option disagree, or that format is only answered to its own kind.
    """
    if job.suffix is None:
        return options.format
    if job.suffix.lower() == DICOM_SUFFIX:
        raise CommandError("DICOM is written only for DICOM inputs; choose .png.")
    named = BY_SUFFIX[job.suffix.lower()]
    if options.format not in ("same", named):
        raise CommandError(f"The output is to be {options.format}, but its name ends in {job.suffix}.")
    if named in ("tiff", "bmp"):
        if sniff(body) != named:
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
        "quality_before": made.before.score,
        "quality_after": made.after.score,
        "untouched": made.untouched,
    }


def read_source(path: Path) -> bytes:
    """The bytes of an input file; `-` is standard input.

    Raises:
        CommandError: it cannot be read, is not a regular file, or is too large.
    """
    if str(path) == STREAM:
        return sys.stdin.buffer.read(LARGEST_FILE_BYTES)
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise CommandError(f"{path} is not a regular file.")
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
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, content)
    except OSError as error:
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
    if outcome.skipped:
        row["skipped"] = True
    return row
