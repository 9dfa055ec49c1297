"""Scoring one image against another: the one way for HTTP, the command line and `Enhancer`.

The sizes are compared by the files' headers, and both images are decoded under the pixel budget that enhancement
shares, so that a crowd of large pairs takes no more memory than a crowd of large photos.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from service.errors import BadRequest, CommandError, ImageDimensions
from service.imaging.codecs import decode, inspect
from service.imaging.headers import Header
from service.pipeline.deadline import Deadline, PixelBudget
from service.pipeline.stopwatch import Stopwatch
from service.pixels import Pixels
from service.quality.guardrail import Measures, measure_between
from service.quality.lassim import LEVEL, canonical_size
from service.quality.pyramid import check_level, check_pair
from service.quality.reference import Reference


@dataclass(frozen=True, slots=True)
class ImageFile:
    """An image as sent.

    Attributes:
        body: its bytes.
        declared_type: media type the sender gave; the bytes decide, it only has to agree.
        name: what an operator calls it, told in errors; empty for what a client sent.
    """

    body: bytes
    declared_type: str | None = None
    name: str = ""


@dataclass(frozen=True, slots=True)
class Scored:
    """An image measured against another, and both decoded."""

    measures: Measures
    output: Reference
    input: Reference


class Scorer:
    """Decodes and measures pairs of images within a pixel budget; safe to call from any number of threads."""

    def __init__(self, budget: PixelBudget, max_pixels: int) -> None:
        """`max_pixels` is the most that each image may have, frames counted."""
        self._budget = budget
        self._max_pixels = max_pixels

    @contextmanager
    def score(self, output: ImageFile, input: ImageFile, deadline: Deadline | None = None) -> Iterator[Scored]:
        """`output` measured against `input` at the canonical scale; the budget is held during the block.

        Raises:
            BadRequest: as `decoded`, or the images are too small to score.
            DeadlineExceeded, ClientGone: the deadline passed, or nobody waits any more.
        """
        deadline = deadline or Deadline()
        with self.decoded(output, input, deadline) as (made, given):
            check_scorable(made.shape[1], made.shape[0])
            check_pair(made, given)
            with Stopwatch().stage("score"):
                first, second = Reference(made), Reference(given)
                measures = measure_between(first, second)
            deadline.check()
            yield Scored(measures, first, second)

    @contextmanager
    def decoded(
        self, output: ImageFile, input: ImageFile, deadline: Deadline | None = None
    ) -> Iterator[tuple[Pixels, Pixels]]:
        """Both images upright, (H, W, 3) uint8 sRGB of one size; the budget is held during the block.

        Raises:
            BadRequest: an image is not served or has too many pixels, or the sizes differ.
            CommandError: the same of a file that has a name.
            DeadlineExceeded, ClientGone: the deadline passed, or nobody waits any more.
        """
        deadline = deadline or Deadline()
        headers = []
        for file in (output, input):
            with _named(file):
                headers.append(inspect(file.body, file.declared_type, max_pixels=self._max_pixels))
        _check_sizes(*headers)
        with self._budget.hold(sum(header.pixels for header in headers), deadline):
            pixels = []
            for file in (output, input):
                with _named(file), Stopwatch().stage("decode"):
                    pixels.append(decode(file.body, file.declared_type, max_pixels=self._max_pixels).pixels)
                deadline.check()
            yield pixels[0], pixels[1]


@contextmanager
def _named(file: ImageFile) -> Iterator[None]:
    """Tell the file's name, where it has one, in an error raised in the block."""
    try:
        yield
    except BadRequest as error:
        if not file.name:
            raise
        raise CommandError(f"{file.name}: {error.detail}") from error


def _check_sizes(output: Header, input: Header) -> None:
    """Refuse what cannot match however it is turned upright; `check_pair` tells the rest once it is decoded."""
    sizes = [sorted((header.width, header.height)) for header in (output, input)]
    if sizes[0] != sizes[1]:
        raise ImageDimensions(
            f"The two images differ in size: the output has {output.width}x{output.height} px, "
            f"the input {input.width}x{input.height} px."
        )


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
