"""What the warm start is told: the configuration's `warmstart` section, its mixture of pairs and its loss's weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=1)]
CountFromZero = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
StageName = Literal["whole", "detail", "colour"]


@dataclass(frozen=True, slots=True)
class RestorationWeights:
    """Weight of each term; all are averages over the batch.

    Attributes:
        pixel: Charbonnier in RGB, range [-1, 1].
        bands: L1 of the luminance's Laplacian bands, levels 0 to 3, range [0, 1].
        lassim: 1 - LaSSIM at level 3, the border read as often as the rest: the metric reads a corner once where
            it reads others 49 times.
        lab: CIE76 colour difference at half the resolution, in units of 100.
        decibels: log10 of each image's mean squared error, so that mild faults count as heavy ones do.
        redness: what a* exceeds the clean one's by, beyond REDNESS_MARGIN, in units of 100.
        harm: log10 of how much further from the clean photo than the degraded one the output is, in mean squared error;
            0 where it is nearer. Only where the degraded photo is given.
        grain: log of the strength of fine detail (what varies from pixel to pixel, and levels 0 and 1; in tiles) over
            the clean one's, either way: the other terms are least where grain is smoothed away, and a photo without
            grain looks like wax.
    """

    pixel: Weight = 1.0
    bands: Weight = 2.0
    lassim: Weight = 0.3
    lab: Weight = 1.0
    decibels: Weight = 0.1
    redness: Weight = 1.5
    harm: Weight = 0.0
    grain: Weight = 0.0


@dataclass(frozen=True, slots=True)
class Mixture:
    """What a batch is made of; the shares are probabilities of one image.

    Attributes:
        phantoms: share of digital phantoms.
        everyday: share of everyday pictures; the rest are real photos, and so is the share of a kind that is absent.
        clean_photos: share of clean-to-clean pairs among real photos; `clean_phantoms`, `clean_everyday` alike.
        heavy: share of degraded photos that are made by the heavy recipe; the rest by the training recipe.
        everyday_as_is: whether everyday pictures are left as they are even when taken badly: what a generator cannot
            judge it shall not touch, and a dark wood is not an underexposed throat.
        jitter: share of real photos whose colours are changed first of all.
        extremes: share of all pictures made night-dark, blown out or grey, which then count as clean.
        extremes_as_is: whether these, too, are left as they are when taken badly: white under haze and grey without
            haze look alike, and a guess would often make them worse.
        screens: share of all pairs shown as an endoscope's screen shows them, inside a black surround, with text
            burnt in, or both; these stay as they are, and what a generator makes of the picture shall not depend on it.
        clean_after: steps over which the shares of clean pairs rise from 0: while a generator still is near the
            identity, clean pairs hold it there.
        large_after: step from which views are large and batches a quarter as long: grain, blur and detail then look as
            they will in service; None: never.
        count_phantoms: how many phantoms are drawn; `count_everyday` alike; `count_plain`
            flat colours and gradients join the everyday pictures.
    """

    phantoms: Share = 0.18
    everyday: Share = 0.1
    clean_photos: Share = 0.12
    clean_phantoms: Share = 0.35
    clean_everyday: Share = 0.5
    heavy: Share = 0.0
    everyday_as_is: bool = False
    jitter: Share = 0.15
    extremes: Share = 0.08
    extremes_as_is: bool = False
    screens: Share = 0.0
    clean_after: CountFromZero = 800
    large_after: CountFromZero | None = None
    count_phantoms: CountFromZero = 220
    count_everyday: CountFromZero = 160
    count_plain: CountFromZero = 24


class WarmStart(BaseModel):
    """The settings of one run: the configuration's `warmstart` section."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    stage: StageName = "whole"
    """What learns: the whole generator on `mixture`, or one stage of a restorer, on pairs of its own."""
    steps: Count = 6000
    batch: Count = 8
    rate: Annotated[float, Field(gt=0)] = 1e-3
    begun_rate: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the rate for the weights that `--begin` brought along."""
    warm_up: Annotated[int, Field(ge=0)] = 200
    """Steps over which the rate rises; then it falls to 0 as a cosine."""
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.998
    gradient_norm: Annotated[float, Field(gt=0)] = 1.0
    idempotence: Weight = 0.5
    """Weight of |G(y) - y| for G's own outputs y, asked every `idempotence_every` steps."""
    idempotence_every: Count = 4
    degrader_every: Annotated[int, Field(ge=0)] = 4
    """F learns at every so many steps; 0: there is no F. A stage is taught without F."""
    photo_size: tuple[Count, Count] = (504, 504)
    """(height, width) at which photos are kept; batches are views of them at many scales."""
    weights: RestorationWeights = RestorationWeights()
    mixture: Mixture = Mixture()
