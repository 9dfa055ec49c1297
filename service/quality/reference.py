"""An image at the canonical scale, with all that scoring needs of it measured once, when it is first needed.

A photo is compared to several images (the output, each blend that is tried, what is delivered); its own side of every
comparison stays the same. Belongs to one request; not for several threads at once.
"""

from __future__ import annotations

from service.lazy import lazy
from service.pixels import Pixels
from service.quality.change_detector import Structure, WorstRegion, structure, worst_region_between
from service.quality.colour import ColourShift, LocalColour, colour_shift_between, local_colour
from service.quality.detail import DetailBands, detail_bands, to_detail_scale, worst_detail_between
from service.quality.lassim import LEVEL, Box, lassim_of_residuals, to_canonical
from service.quality.pyramid import Float64, check_image, residual


class Reference:
    """One image, measured once; compared to another of its size by the functions of this module."""

    def __init__(self, pixels: Pixels) -> None:
        """Take `pixels`, (H, W, 3) uint8 RGB at full size; nothing is measured yet.

        Raises:
            InvalidParameter: no such image.
        """
        check_image(pixels)
        self.pixels = pixels

    @lazy
    def canonical(self) -> Pixels:
        """(h, w, 3) uint8 RGB with a longer side of at most 480 px; the very `pixels` where that is their size."""
        return to_canonical(self.pixels)

    @lazy
    def residual(self) -> Float64:
        """What LaSSIM compares: the Laplacian residual of level 3."""
        return residual(self.canonical, LEVEL)

    @lazy
    def structure(self) -> Structure:
        """What the change detector compares."""
        return structure(self.canonical)

    @lazy
    def colour(self) -> LocalColour:
        """What the colour shift compares: the colour of small squares."""
        return local_colour(self.canonical)

    @lazy
    def detail_scale(self) -> Pixels:
        """(h, w, 3) uint8 RGB of at most a megapixel; the very `pixels` where they have no more."""
        return to_detail_scale(self.pixels)

    @lazy
    def detail(self) -> DetailBands:
        """What is compared of fine detail."""
        return detail_bands(self.detail_scale)

    def full_size(self, box: Box) -> Box:
        """`box`, in pixels of `canonical`, in pixels of the image."""
        height, width = self.pixels.shape[:2]
        small_height, small_width = self.canonical.shape[:2]
        across, down = width / small_width, height / small_height
        return Box(
            left=int(box.left * across),
            top=int(box.top * down),
            right=min(width, round(box.right * across)),
            bottom=min(height, round(box.bottom * down)),
        )


def lassim_between(output: Reference, input: Reference) -> float:
    """LaSSIM of two images of one size, level 3, canonical scale."""
    return lassim_of_residuals(output.residual, input.residual)


def worst_between(output: Reference, input: Reference) -> tuple[float, Box]:
    """Value of the worst region of two images of one size, and where it is in pixels of the full-size input."""
    worst = worst_region_between(output.structure, input.structure)
    return worst.value, input.full_size(worst.box)


def colour_between(output: Reference, input: Reference) -> ColourShift:
    """Colour shift of two images of one size."""
    return colour_shift_between(output.colour, input.colour)


def detail_between(output: Reference, input: Reference) -> WorstRegion:
    """Worst fine detail of two images of one size, its box in pixels of the full-size input."""
    height, width = input.pixels.shape[:2]
    return worst_detail_between(output.detail, input.detail, (height, width))
