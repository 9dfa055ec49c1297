"""The way of a request, and its one owner: bytes in, an enhanced image with its score out.

    decode -> picture without its black surround -> shrink -> generator -> transfer -> score and guard -> encode

HTTP, the command line and the DICOM gateway all call `Enhancer.enhance`; it goes the whole way on the calling thread.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from threading import Lock
from typing import Protocol

from service.errors import InvalidParameter
from service.imaging.codecs import LOSSY, decode, encode, inspect, output_format
from service.imaging.heatmap import render_heatmap
from service.pipeline.deadline import Deadline, PixelBudget, await_inference
from service.pipeline.enhancement import EnhanceDefaults, Enhancement, EnhanceOptions, EnhanceRequest
from service.pipeline.generation import Generator, Run, generate
from service.pipeline.picture import find_picture
from service.pipeline.scorer import Scorer, check_scorable
from service.pipeline.stopwatch import Stopwatch
from service.pixels import Pixels
from service.quality.assessment import assess
from service.quality.input_quality import input_quality
from service.quality.lassim import CANONICAL_SIDE, lassim_values
from service.quality.pyramid import WINDOW
from service.quality.reference import Reference
from service.vocabulary import Output, Policy

QUIET_S = 0.25
"""After two photos were under way at once, one is not taken to be alone for so long."""

MAP_SIDE = 2 * CANONICAL_SIDE
"""Longer side of the heat map in pixels; LaSSIM's windows are far larger than a pixel of it."""

_STRICTNESS = (Policy.ANNOTATE, Policy.CONSTRAIN, Policy.WITHHOLD)


class Generators(Protocol):
    """The models that can be had."""

    def lease(self, reference: str | None) -> AbstractContextManager[Generator]:
        """The model that `reference` (name or name/version; None: the default) means now, kept loaded while leased.

        Raises:
            UnknownModel: no such model is loaded.
        """
        ...


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
            picture = find_picture(photo.pixels, card.working_pixels)
        deadline.check()
        with watch.stage("transfer", without=("queue", "infer")):
            output = generate(picture, card, self._runner(generator, deadline, watch))
        deadline.check()
        with watch.stage("score"):
            sent = Reference(photo.pixels)
            judgement = picture.judged(output, sent, card.floors, request.policy)
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
            model_sha256=card.digest_in(generator.precision),
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


def heatmap_png(output: Reference, photo: Reference) -> bytes:
    """PNG of where structure changed from `photo` to `output`, longer side at most `MAP_SIDE`."""
    height, width = photo.pixels.shape[:2]
    shrunk = min(1.0, MAP_SIDE / max(width, height))
    size = max(1, round(width * shrunk)), max(1, round(height * shrunk))
    values = lassim_values(output.residual, photo.residual)
    return encode(render_heatmap(values, size, photo.pixels, border=WINDOW // 2), "png")
