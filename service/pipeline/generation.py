"""What the generator makes of a photo of any size.

A photo of about the working size goes through the whole generator. A larger one is shrunk to it and the change is
carried back. A generator with a detail stage first mends detail at the photo's own size, or at the most pixels that its
card names: noise and blur of a large photo are gone from its working image, so only there can they be mended. Its
colour stage alone then sees the working image of what was mended.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from service.engine.batcher import Submit
from service.imaging.detail_transfer import transfer
from service.imaging.working_size import shrink, unpad, working_size
from service.pipeline.picture import Picture
from service.pixels import Pixels
from service.registry.card import ModelCard
from service.vocabulary import Output, Precision

Run = Callable[[Pixels, Output], Pixels]
"""Runs one image through the generator, or one of its stages, and waits: (h, w, 3) uint8 RGB in and out."""


class Generator(Protocol):
    """A loaded model at work."""

    @property
    def card(self) -> ModelCard:
        """The card of the very model that `submit` runs."""
        ...

    @property
    def submit(self) -> Submit:
        """Queue an image for it."""
        ...

    @property
    def precision(self) -> Precision:
        """In what it computes."""
        ...


def generate(picture: Picture, card: ModelCard, run: Run) -> Pixels:
    """Enhance `picture` at its own size with the model of `card`, which `run` runs; return (h, w, 3) uint8 RGB."""
    pixels, size, working = picture.pixels, picture.size, picture.working
    is_larger = pixels.shape[:2] != (size.height, size.width)
    if card.detail_pixels is None or not is_larger:
        working = shrink(pixels, size) if working is None else working
        return transfer(pixels, unpad(working, size), unpad(run(working, "enhanced"), size))
    detail_size = working_size(pixels.shape[1], pixels.shape[0], card.detail_pixels)
    medium = shrink(pixels, detail_size)
    mended = unpad(run(medium, "detail"), detail_size)
    small = shrink(mended, size)
    made = transfer(mended, unpad(small, size), unpad(run(small, "colour"), size))
    return transfer(pixels, unpad(medium, detail_size), made)
