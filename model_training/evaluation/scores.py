"""What is measured of one enhanced image, and the table of all of them."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from model_training.evaluation.brisque import PublishedRegressor, brisque
from model_training.evaluation.niqe import PristineModel, niqe
from model_training.evaluation.psnr import psnr
from service.quality.colour import colour_shift, redder_than
from service.quality.guardrail import measure
from service.quality.lassim import lassim, ssim
from service.quality.pyramid import Image


@dataclass(frozen=True, slots=True)
class Judges:
    """The no-reference measures at hand.

    Attributes:
        own_pristine: NIQE's model fitted on our clean images, if there were enough.
        published_pristine: NIQE's published model, if the user has it.
        regressor: BRISQUE's published one.
    """

    own_pristine: PristineModel | None
    published_pristine: PristineModel | None
    regressor: PublishedRegressor | None


@dataclass(frozen=True, slots=True)
class Scores:
    """One output of one method; None for what cannot be measured on it.

    Attributes:
        lassim: against the input.
        worst: value of the worst region against the input.
        niqe: with the published model, else None.
        niqe_own: with the model fitted on our clean images.
        brisque: by the published regressor, where it is at hand.
        psnr_db: against the clean image.
        ssim: against the clean image.
        delta_e: mean CIEDE2000 to the clean image.
        lassim_clean: against the clean image.
        redder_share: share of the area clearly redder than the clean image.
    """

    lassim: float
    worst: float
    niqe: float | None
    niqe_own: float | None
    brisque: float | None
    psnr_db: float | None
    ssim: float | None
    delta_e: float | None
    lassim_clean: float | None
    redder_share: float | None


def score(output: Image, input: Image, clean: Image | None, judges: Judges) -> Scores:
    """Every measure of `output`, all images (H, W, 3) uint8 RGB of one size.

    Raises:
        ImageDimensions: the images are too small for a measure, or differ in size.
    """
    measured = measure(output, input)
    colour = None if clean is None else colour_shift(output, clean)
    return Scores(
        lassim=measured.lassim,
        worst=measured.worst.value,
        niqe=None if judges.published_pristine is None else niqe(output, judges.published_pristine),
        niqe_own=None if judges.own_pristine is None else niqe(output, judges.own_pristine),
        brisque=None if judges.regressor is None else brisque(output, judges.regressor),
        psnr_db=None if clean is None else psnr(output, clean),
        ssim=None if clean is None else ssim(output, clean),
        delta_e=None if colour is None else colour.delta_e_mean,
        lassim_clean=None if clean is None else lassim(output, clean),
        redder_share=None if clean is None else redder_than(output, clean),
    )


MEASURES = tuple(field.name for field in fields(Scores))
"""Names of all measures, in the order of the tables."""


def values(scores: Sequence[Scores], measure_name: str) -> list[float]:
    """The values of one measure over images, without those that could not be measured."""
    found = [getattr(item, measure_name) for item in scores]
    return [float(value) for value in found if value is not None and np.isfinite(value)]
