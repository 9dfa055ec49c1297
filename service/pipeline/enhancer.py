"""The way of a request, and its one owner: bytes in, an enhanced image with its score out.

    decode -> picture without its black surround -> shrink -> generator -> transfer -> score and guard -> encode

HTTP, the command line and the DICOM gateway all call `Enhancer.enhance`; it goes the whole way on the calling thread.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from threading import Lock
from typing import Protocol

import cv2
import numpy as np

from service.errors import InvalidParameter
from service.imaging.codecs import LOSSY, MEDIA_TYPES, Photo, decode, encode, inspect, output_format
from service.imaging.content_area import ContentArea, find_content_area
from service.imaging.headers import Header, SourceFormat
from service.imaging.heatmap import render_heatmap
from service.imaging.working_size import shrink, unpad, working_size
from service.pipeline.deadline import Deadline, PixelBudget, await_inference
from service.pipeline.generation import Generator, Run, generate
from service.pipeline.scorer import Scorer, check_scorable
from service.pipeline.stopwatch import Interval, Stage, Stopwatch
from service.pixels import Pixels
from service.quality.assessment import Assessment, assess
from service.quality.guardrail import Judgement, judge
from service.quality.input_quality import InputQuality, input_quality
from service.quality.lassim import CANONICAL_SIDE, Box, lassim_values
from service.quality.pyramid import WINDOW
from service.quality.reference import Reference, lassim_between
from service.registry.card import GuardFloors
from service.vocabulary import MAX_PIXELS, Output, OutputFormat, Policy

QUIET_S = 0.25
"""After two photos were under way at once, one is not taken to be alone for so long."""

MAP_SIDE = 2 * CANONICAL_SIDE
"""Longer side of the heat map in pixels; LaSSIM's windows are far larger than a pixel of it."""

UNTOUCHED_LASSIM, UNTOUCHED_DELTA_E = 0.9995, 0.5
"""Above and below these a photo counts as left alone; half a CIEDE2000 unit cannot be seen."""

_STRICTNESS = (Policy.ANNOTATE, Policy.CONSTRAIN, Policy.WITHHOLD)


class Generators(Protocol):
    """The models that can be had."""

    def lease(self, reference: str | None) -> AbstractContextManager[Generator]:
        """The model that `reference` (name or name/version; None: the default) means now, kept loaded while leased.

        Raises:
            UnknownModel: no such model is loaded.
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
    max_pixels: int = MAX_PIXELS


@dataclass(frozen=True, slots=True)
class EnhanceOptions:
    """What one request asks for; None leaves it to the defaults.

    Attributes:
        declared_type: media type the caller gave; the bytes decide, it only has to agree.
        format: of the result.
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


@dataclass(frozen=True, slots=True)
class EnhanceRequest:
    """What one request comes to, known before anything is decoded.

    Attributes:
        header: what the file says of itself.
        target: format of the result.
        policy: the guard's.
        quality: of JPEG and WebP.
        options: as asked.
    """

    header: Header
    target: SourceFormat
    policy: Policy
    quality: int
    options: EnhanceOptions


@dataclass(frozen=True, slots=True)
class Enhancement:
    """The result of one request.

    Attributes:
        body: the image as a file.
        format: its format.
        width, height: its size, which is the size sent, upright.
        judgement: score, verdict, and the pixels delivered.
        model: `name/version` of the model that made it.
        model_sha256: digest of that model's file.
        seconds: how long each stage took.
        intervals: when each stage was.
        photo: the input, decoded.
        sent: the input's pixels with what was measured of them.
        quality: how good the input was.
        heatmap: PNG of where structure changed, when asked for.
        floors: thresholds that it was held to.
        before, after: what the photo is like as sent and as delivered.
    """

    body: bytes
    format: SourceFormat
    width: int
    height: int
    judgement: Judgement
    model: str
    model_sha256: str
    seconds: dict[Stage, float]
    intervals: list[Interval]
    photo: Photo
    sent: Reference
    quality: InputQuality
    heatmap: bytes | None
    floors: GuardFloors
    before: Assessment
    after: Assessment

    @property
    def untouched(self) -> bool:
        """Whether nothing that can be measured was changed: the model found nothing to mend."""
        judgement = self.judgement
        kept = judgement.lassim > UNTOUCHED_LASSIM and judgement.colour.delta_e_p95 < UNTOUCHED_DELTA_E
        return kept and judgement.verdict.value == "pass"

    @property
    def media_type(self) -> str:
        """Media type of `body`."""
        return MEDIA_TYPES[self.format]

    def without_pixels(self) -> Enhancement:
        """The same result with a black pixel for each image: what is left to send to another process."""
        nothing = Reference(np.zeros((1, 1, 3), np.uint8))
        return replace(
            self,
            judgement=replace(self.judgement, image=nothing.pixels, delivered=nothing),
            photo=replace(self.photo, pixels=nothing.pixels),
            sent=nothing,
        )


class Enhancer:
    """Enhances images; safe to call from any number of threads."""

    def __init__(self, generators: Generators, defaults: EnhanceDefaults | None = None) -> None:
        self._generators = generators
        self.defaults = defaults or EnhanceDefaults()
        self._room = PixelBudget(self.defaults.max_pixels)
        self.scorer = Scorer(self._room, self.defaults.max_pixels)
        self._lock = Lock()
        self._under_way = 0
        self._last_crowd = float("-inf")

    def enhance(
        self, body: bytes, options: EnhanceOptions | None = None, deadline: Deadline | None = None
    ) -> Enhancement:
        """The enhanced image of `body` with its score: the same bytes and options give the same result.

        Raises:
            BadRequest: the image, or an option, cannot be served; which of its kinds says why.
            Overloaded, ShuttingDown: the generator takes nothing now.
            DeadlineExceeded, ClientGone: see `deadline`.
            InferenceFailed: the generator failed on this image.
        """
        deadline = deadline or Deadline()
        request = self._understand(body, options or EnhanceOptions())
        with (
            self._generators.lease(request.options.model) as generator,
            self._room.hold(request.header.pixels, deadline),
            self._counted(),
        ):
            return self._make(body, request, generator, deadline)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        """Count a photo as under way during the block."""
        with self._lock:
            self._under_way += 1
            self._note_crowd()
        try:
            yield
        finally:
            with self._lock:
                self._note_crowd()
                self._under_way -= 1

    def _note_crowd(self) -> None:
        if self._under_way > 1:
            self._last_crowd = time.monotonic()

    def _alone(self) -> bool:
        """Whether the photo under way has the machine to itself, and not only for the moment between two others."""
        return self._under_way == 1 and time.monotonic() - self._last_crowd > QUIET_S

    def check(self, options: EnhanceOptions) -> None:
        """Raise what `enhance` would for these options whatever the image.

        Raises:
            InvalidParameter: a value outside its bounds, or a policy milder than the default.
            UnknownModel: no such model.
        """
        self._policy(options)
        self._quality(options)
        with self._generators.lease(options.model):
            pass

    def _understand(self, body: bytes, options: EnhanceOptions) -> EnhanceRequest:
        """The request, held to every limit that can be checked without decoding."""
        policy, quality = self._policy(options), self._quality(options)
        header = inspect(body, options.declared_type, max_pixels=self.defaults.max_pixels)
        target = output_format(options.format, header.format, header.width, header.height)
        if options.quality is not None and target not in LOSSY:
            raise InvalidParameter(
                f"The quality is of JPEG and WebP alone; this result is {target.upper()}.", parameter="quality"
            )
        check_scorable(header.width, header.height)
        return EnhanceRequest(header, target, policy, quality, options)

    def _make(self, body: bytes, request: EnhanceRequest, generator: Generator, deadline: Deadline) -> Enhancement:
        """Where the work is done: here."""
        return self.make(body, request, generator, deadline)

    def make(self, body: bytes, request: EnhanceRequest, generator: Generator, deadline: Deadline) -> Enhancement:
        """The enhanced image of a request whose limits were checked, on the calling thread.

        Raises:
            As `enhance`.
        """
        watch, card = Stopwatch(), generator.card
        with watch.stage("decode"):
            photo = decode(body, request.options.declared_type, max_pixels=self.defaults.max_pixels)
            height, width = photo.pixels.shape[:2]
            shown = find_content_area(photo.pixels)
            picture = shown.cut(photo.pixels) if shown else photo.pixels
            size = working_size(picture.shape[1], picture.shape[0], card.working_pixels)
            working = None
            if shown:
                working = shown.fill(shrink(picture, size))
                picture = shown.filled(photo.pixels, unpad(working, size))
        deadline.check()
        with watch.stage("transfer", without=("queue", "infer")):
            output = generate(picture, working, size, card, self._runner(generator, deadline, watch))
        deadline.check()
        with watch.stage("score"):
            sent = Reference(photo.pixels)
            judgement = judge(output, Reference(picture) if shown else sent, card.floors, request.policy)
            if shown:
                judgement = _put_back(judgement, shown, sent, picture)
        deadline.check()
        with watch.stage("encode"):
            encoded = encode(judgement.image, request.target, request.quality)
            heatmap = heatmap_png(judgement.delivered, sent) if request.options.map else None
            before = assess(sent.canonical, width, height)
            unchanged = judgement.delivered is sent
            after = before if unchanged else assess(judgement.delivered.canonical, width, height)
        return Enhancement(
            body=encoded,
            format=request.target,
            width=width,
            height=height,
            judgement=judgement,
            model=card.reference,
            model_sha256=card.file.sha256,
            seconds=watch.seconds,
            intervals=watch.intervals,
            photo=photo,
            sent=sent,
            quality=input_quality(sent.canonical),
            heatmap=heatmap,
            floors=card.floors,
            before=before,
            after=after,
        )

    def _runner(self, generator: Generator, deadline: Deadline, watch: Stopwatch) -> Run:
        """How this request runs images through its generator: timed, and no longer than its deadline."""

        def run(image: Pixels, output: Output) -> Pixels:
            queued = generator.submit(image, deadline.deadline, alone=self._alone(), output=output)
            inference = await_inference(queued, deadline)
            deadline.check()
            watch.add("queue", inference.queue_s, ago_s=inference.infer_s)
            watch.add("infer", inference.infer_s)
            return inference.image

        return run

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


def _put_back(judgement: Judgement, shown: ContentArea, sent: Reference, filled: Pixels) -> Judgement:
    """The judgement of `filled`, the picture that `sent` shows without its surround, for the whole photo.

    The thresholds were held by the picture alone: black would thin out a fault, and the step at its edge looks like one
    when the picture's light changes and the black does not. LaSSIM is that of the whole photo, as anybody measures it.
    """
    change = cv2.subtract(judgement.image, filled, dtype=cv2.CV_16S)
    made = np.asarray(cv2.add(shown.cut(sent.pixels), change, dtype=cv2.CV_8U), np.uint8)
    image = Reference(shown.paste(sent.pixels, made))
    score, box, detail = lassim_between(image, sent), _moved(judgement.box, shown), judgement.detail
    if detail is not None:
        detail = replace(detail, box=_moved(detail.box, shown))
    return replace(judgement, image=image.pixels, lassim=score, box=box, detail=detail, delivered=image)


def _moved(box: Box, shown: ContentArea) -> Box:
    """`box` of the picture, in pixels of the whole photo."""
    return Box(box.left + shown.left, box.top + shown.top, box.right + shown.left, box.bottom + shown.top)


def heatmap_png(output: Reference, photo: Reference) -> bytes:
    """PNG of where structure changed from `photo` to `output`, longer side at most `MAP_SIDE`."""
    height, width = photo.pixels.shape[:2]
    shrunk = min(1.0, MAP_SIDE / max(width, height))
    size = max(1, round(width * shrunk)), max(1, round(height * shrunk))
    values = lassim_values(output.residual, photo.residual)
    return encode(render_heatmap(values, size, photo.pixels, border=WINDOW // 2), "png")
