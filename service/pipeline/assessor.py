"""Whether a photo is fit for use: the whole way from bytes to an assessment, without any model."""

from __future__ import annotations

from service.errors import ImageDimensions
from service.imaging.codecs import decode, inspect
from service.pipeline.deadline import Deadline, PixelBudget
from service.pipeline.stopwatch import Stopwatch
from service.quality.assessment import Assessment, assess
from service.quality.lassim import to_canonical

LEAST_SIDE = 32
"""Photos with a shorter side have too few pixels to measure anything."""


class Assessor:
    """Assesses photos; safe to call from any number of threads."""

    def __init__(self, max_pixels: int) -> None:
        """`max_pixels`: most pixels of an image, frames counted, and of all images at the same time."""
        self._max_pixels = max_pixels
        self._room = PixelBudget(max_pixels)

    def assess(
        self, body: bytes, declared_type: str | None = None, deadline: Deadline | None = None
    ) -> tuple[Assessment, int, int]:
        """What the photo in `body` is like, and its width and height, upright.

        Raises:
            BadRequest: the image cannot be read, or is too large or too small; which of its kinds says why.
            DeadlineExceeded, ClientGone: see `deadline`.
        """
        deadline = deadline or Deadline()
        header = inspect(body, declared_type, max_pixels=self._max_pixels)
        if min(header.width, header.height) < LEAST_SIDE:
            raise ImageDimensions(
                f"The image is too small to be assessed: a side is below {LEAST_SIDE} pixels.",
                limit=LEAST_SIDE,
                actual=[header.width, header.height],
            )
        with self._room.hold(header.pixels, deadline):
            with Stopwatch().stage("decode"):
                pixels = decode(body, declared_type, max_pixels=self._max_pixels).pixels
            deadline.check()
            height, width = pixels.shape[:2]
            with Stopwatch().stage("score"):
                return assess(to_canonical(pixels), width, height), width, height
