"""The way of a request, and its one owner: bytes in, an enhanced image with its score out.

    decode -> shrink -> generator -> transfer -> score and guard -> encode

HTTP, the command line and the DICOM gateway all call `Enhancer`. `enhance` goes the whole way on the calling thread; a
server that must not block while the generator works calls `prepare`, `submit` and `finish` itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from threading import Lock
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from service.engine.batcher import Inference
from service.errors import ClientGone, DeadlineExceeded, ImageDimensions, InvalidParameter
from service.imaging.codecs import (
    MEDIA_TYPES,
    OutputFormat,
    Photo,
    decode,
    encode,
    inspect,
    output_format,
)
from service.imaging.geometry import WorkingSize, shrink, unpad, working_size
from service.imaging.headers import SourceFormat
from service.imaging.heatmap import render_heatmap
from service.imaging.transfer import transfer
from service.quality.guard import Judgement, Policy, judge
from service.quality.lassim import CANONICAL_SIDE, LEVEL, canonical_size, lassim_map
from service.quality.pyramid import WINDOW, check_level
from service.registry.card import GuardFloors, ModelCard

Pixels = NDArray[np.uint8]
Stage = Literal["decode", "queue", "infer", "transfer", "score", "encode"]

STAGES: tuple[Stage, ...] = ("decode", "queue", "infer", "transfer", "score", "encode")
"""The stages that are timed, in their order."""

MAP_SIDE = 2 * CANONICAL_SIDE
"""Longer side of the heat map in pixels; LaSSIM's windows are far larger than a pixel of it."""

_STRICTNESS = (Policy.ANNOTATE, Policy.CONSTRAIN, Policy.WITHHOLD)


class Generator(Protocol):
    """A loaded model at work."""

    @property
    def card(self) -> ModelCard:
        """The card of the very model that `submit` runs."""
        ...

    def submit(self, image: Pixels, deadline: float) -> Future[Inference]:
        """Queue one (h, w, 3) uint8 RGB image; `deadline` is on the clock of `time.monotonic`.

        Raises:
            Overloaded: the queue is full, or the wait would pass the deadline.
            ShuttingDown: nothing new is taken.
        """
        ...


class Generators(Protocol):
    """The models that can be had."""

    def lease(self, reference: str | None) -> AbstractContextManager[Generator]:
        """The model that `reference` (name or name/version; None: the default) means now, kept loaded while leased.

        Raises:
            UnknownModel: there is none.
        """
        ...


@dataclass(frozen=True, slots=True)
class EnhanceDefaults:
    """What holds unless a request asks otherwise, and the limits that it cannot pass.

    Attributes:
        policy: the guard's; a request may only ask for a stricter one.
        quality: of JPEG and WebP, 1 to 100.
        max_pixels: most pixels of an image, frames counted.
    """

    policy: Policy = Policy.CONSTRAIN
    quality: int = 95
    max_pixels: int = 50_000_000


@dataclass(frozen=True, slots=True)
class EnhanceOptions:
    """What one request asks for; None leaves it to the defaults.

    Attributes:
        declared_type: media type the caller gave; the bytes decide, it only has to agree.
        format: of the answer.
        quality: of JPEG and WebP, 1 to 100.
        policy: the guard's.
        model: name or name/version.
        map: add the heat map.
    """

    declared_type: str | None = None
    format: OutputFormat = "same"
    quality: int | None = None
    policy: Policy | None = None
    model: str | None = None
    map: bool = False


class Cancellation:
    """Says that nobody waits any more; whoever holds it calls `cancel`, from any thread, as often as they like."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._cancelled = False
        self._undo: Callable[[], object] | None = None

    def cancel(self) -> None:
        """Drop the work: at once while it waits for the generator, else after the stage it is in."""
        with self._lock:
            self._cancelled = True
            undo = self._undo
        if undo is not None:
            undo()

    def on_cancel(self, undo: Callable[[], object]) -> None:
        """Call `undo` when cancelled, or now if that has happened."""
        with self._lock:
            self._undo = undo
            cancelled = self._cancelled
        if cancelled:
            undo()

    def check(self) -> None:
        """Go on, unless cancelled.

        Raises:
            ClientGone: it is.
        """
        if self._cancelled:
            raise ClientGone("The client hung up.")


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a caller waits.

    Attributes:
        deadline: on the clock of `time.monotonic`.
        cancellation: the caller's way to leave before.
    """

    deadline: float = float("inf")
    cancellation: Cancellation = field(default_factory=Cancellation)

    def check(self) -> None:
        """Go on, unless the caller has left or the deadline has passed.

        Raises:
            ClientGone, DeadlineExceeded: so it is.
        """
        self.cancellation.check()
        if time.monotonic() > self.deadline:
            raise DeadlineExceeded("The image was not finished before its deadline.")


class Stopwatch:
    """Adds up the seconds of each stage."""

    def __init__(self) -> None:
        self.seconds: dict[Stage, float] = dict.fromkeys(STAGES, 0.0)

    @contextmanager
    def stage(self, name: Stage) -> Iterator[None]:
        """Time the block as part of stage `name`, failed or not."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += time.perf_counter() - started


@dataclass(frozen=True, slots=True)
class Prepared:
    """A photo ready for its generator.

    Attributes:
        photo: as decoded.
        target: format of the answer.
        policy: the guard's for this request.
        size: of the working image.
        working: (h, w, 3) uint8 RGB, what the generator is given.
        options: as asked.
        watch: the request's stopwatch.
    """

    photo: Photo
    target: SourceFormat
    policy: Policy
    size: WorkingSize
    working: Pixels
    options: EnhanceOptions
    watch: Stopwatch


@dataclass(frozen=True, slots=True)
class Enhancement:
    """The answer to one request.

    Attributes:
        body: the image as a file.
        format: its format.
        width, height: its size, which is the size sent, upright.
        judgement: score, verdict, and the pixels delivered.
        model: `name/version` of the model that made it.
        model_sha256: digest of that model's file.
        seconds: how long each stage took.
        photo: the input, decoded.
        heatmap: PNG of where structure changed, when asked for.
    """

    body: bytes
    format: SourceFormat
    width: int
    height: int
    judgement: Judgement
    model: str
    model_sha256: str
    seconds: dict[Stage, float]
    photo: Photo
    heatmap: bytes | None

    @property
    def media_type(self) -> str:
        """Media type of `body`."""
        return MEDIA_TYPES[self.format]


class Enhancer:
    """Enhances images; safe to call from any number of threads."""

    def __init__(self, generators: Generators, defaults: EnhanceDefaults | None = None) -> None:
        self._generators = generators
        self.defaults = defaults or EnhanceDefaults()

    def enhance(
        self, body: bytes, options: EnhanceOptions | None = None, patience: Patience | None = None
    ) -> Enhancement:
        """The enhanced image of `body` with its score: the same bytes and options give the same answer.

        Raises:
            BadRequest: the image, or an option, cannot be served; which of its kinds says why.
            Overloaded, ShuttingDown: the generator takes nothing now.
            DeadlineExceeded, ClientGone: see `patience`.
            InferenceFailed: the generator failed on this image.
        """
        options, patience = options or EnhanceOptions(), patience or Patience()
        with self._generators.lease(options.model) as generator:
            prepared = self.prepare(body, options, generator.card)
            patience.check()
            inference = await_inference(generator.submit(prepared.working, patience.deadline), patience)
            return self.finish(prepared, inference, generator.card, patience)

    def prepare(self, body: bytes, options: EnhanceOptions, card: ModelCard) -> Prepared:
        """Everything before the generator: decoded, checked to be scorable, shrunk to the working size.

        Raises:
            BadRequest: as `enhance`.
        """
        watch = Stopwatch()
        with watch.stage("decode"):
            policy = self._policy(options)
            self._quality(options)
            header = inspect(body, options.declared_type, max_pixels=self.defaults.max_pixels)
            target = output_format(options.format, header.format, header.width, header.height)
            check_scorable(header.width, header.height)
            working_size(header.width, header.height, card.working_pixels)
            photo = decode(body, options.declared_type, max_pixels=self.defaults.max_pixels)
            height, width = photo.pixels.shape[:2]
            size = working_size(width, height, card.working_pixels)
            working = shrink(photo.pixels, size)
        return Prepared(photo, target, policy, size, working, options, watch)

    def finish(self, prepared: Prepared, inference: Inference, card: ModelCard, patience: Patience) -> Enhancement:
        """Everything after the generator: carried to full size, scored, guarded, encoded.

        Raises:
            DeadlineExceeded, ClientGone: see `patience`.
        """
        watch, photo = prepared.watch, prepared.photo
        watch.seconds["queue"], watch.seconds["infer"] = inference.queue_s, inference.infer_s
        patience.check()
        with watch.stage("transfer"):
            working, made = (unpad(image, prepared.size) for image in (prepared.working, inference.image))
            output = transfer(photo.pixels, working, made)
        patience.check()
        with watch.stage("score"):
            floors = card.guard.floors if card.guard else GuardFloors()
            judgement = judge(output, photo.pixels, floors, prepared.policy)
        patience.check()
        with watch.stage("encode"):
            body = encode(judgement.image, prepared.target, self._quality(prepared.options))
            heatmap = heatmap_png(judgement.image, photo.pixels) if prepared.options.map else None
        height, width = photo.pixels.shape[:2]
        return Enhancement(
            body=body,
            format=prepared.target,
            width=width,
            height=height,
            judgement=judgement,
            model=card.reference,
            model_sha256=card.file.sha256,
            seconds=watch.seconds,
            photo=photo,
            heatmap=heatmap,
        )

    def _policy(self, options: EnhanceOptions) -> Policy:
        wanted, least = options.policy or self.defaults.policy, self.defaults.policy
        if _STRICTNESS.index(wanted) < _STRICTNESS.index(least):
            raise InvalidParameter(f"The policy may not be milder than {least.value}.", limit=least.value)
        return wanted

    def _quality(self, options: EnhanceOptions) -> int:
        quality = self.defaults.quality if options.quality is None else options.quality
        if not 1 <= quality <= 100:
            raise InvalidParameter("The quality must be from 1 to 100.", actual=quality)
        return quality


def await_inference(future: Future[Inference], patience: Patience) -> Inference:
    """The generator's answer; the work is dropped when the caller leaves or the deadline passes.

    Raises:
        DeadlineExceeded, ClientGone, InferenceFailed, ShuttingDown: as `Enhancer.enhance`.
    """
    patience.cancellation.on_cancel(future.cancel)
    wait_s = None if patience.deadline == float("inf") else max(0.0, patience.deadline - time.monotonic())
    try:
        return future.result(wait_s)
    except TimeoutError as error:
        future.cancel()
        raise DeadlineExceeded("The generator did not finish before the deadline.") from error
    except CancelledError as error:
        raise ClientGone("The client hung up.") from error


def check_scorable(width: int, height: int) -> None:
    """Raise unless an image of this size can be scored at the canonical scale.

    Raises:
        ImageDimensions: too small, or too narrow for its length.
    """
    small_width, small_height = canonical_size(width, height)
    try:
        check_level(small_height, small_width, LEVEL)
    except ImageDimensions as error:
        raise ImageDimensions("The image is too small or too narrow to be scored.", actual=[width, height]) from error


def heatmap_png(output: Pixels, photo: Pixels) -> bytes:
    """PNG of where structure changed from `photo` to `output`, longer side at most `MAP_SIDE`."""
    height, width = photo.shape[:2]
    shrunk = min(1.0, MAP_SIDE / max(width, height))
    size = max(1, round(width * shrunk)), max(1, round(height * shrunk))
    values = lassim_map(output, photo, scale="canonical").values
    return encode(render_heatmap(values, size, photo, border=WINDOW // 2), "png")
