"""What the warm start is told: the configuration's `warmstart` section."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from model_training.data.mixture import Mixture
from model_training.losses.restoration import RestorationWeights, Weight

Count = Annotated[int, Field(ge=1)]
StageName = Literal["whole", "detail", "colour"]


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
