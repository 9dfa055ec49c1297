"""Redness is a sign: whether a picture keeps it, by the erythema index log(R/G) of its regions."""

from __future__ import annotations

from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from service.errors import ImageDimensions
from service.quality.pyramid import Image

PLACE_PX = 8
"""Side of a region whose mean colour counts: noise of single pixels is not redness."""

DARKEST, LIGHTEST = 16.0, 250.0
"""Regions with red or green outside these grey levels are left out: in the dark the quotient is noise, in a highlight
it is the sensor's limit."""

LEAST_PLACES = 16


class Redness(NamedTuple):
    """How far the redness of a picture's regions is that of another's.

    Attributes:
        rank: Spearman's rank correlation of log(R/G) over regions, 1 where the order is kept; nan where nothing varies.
        shift: mean change of log(R/G), above 0 for redder; nan without regions to judge.
    """

    rank: float
    shift: float


def redness_kept(output: Image, truth: Image) -> Redness:
    """Order and mean of the redness of `output` against those of `truth`, both (H, W, 3) uint8 RGB of one size.

    Raises:
        ImageDimensions: the sizes differ.
    """
    if output.shape != truth.shape:
        raise ImageDimensions("Redness is compared between pictures of one size.")
    made, true = _places(output), _places(truth)
    fit = ((true >= DARKEST) & (true <= LIGHTEST) & (made >= 1)).all(axis=1)
    if fit.sum() < LEAST_PLACES:
        return Redness(float("nan"), float("nan"))
    after, before = _log_quotient(made[fit]), _log_quotient(true[fit])
    return Redness(_rank_correlation(after, before), float(np.mean(after - before)))


def _places(image: Image) -> NDArray[np.float64]:
    """(N, 2) mean red and green of the picture's regions."""
    height, width = image.shape[:2]
    size = (max(1, width // PLACE_PX), max(1, height // PLACE_PX))
    means = cv2.resize(image[..., :2].astype(np.float32), size, interpolation=cv2.INTER_AREA)
    return np.asarray(means, np.float64).reshape(-1, 2)


def _log_quotient(places: NDArray[np.float64]) -> NDArray[Any]:
    return np.log(places[:, 0] / places[:, 1])


def _rank_correlation(first: NDArray[Any], second: NDArray[Any]) -> float:
    one, two = (rankdata(values) - (values.size + 1) / 2 for values in (first, second))
    spread = float(np.sqrt((one @ one) * (two @ two)))
    return float(one @ two) / spread if spread > 0 else float("nan")
