"""How far apart two distributions of scores lie."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

BINS = 50
"""Histogram bins over the joint range of the two distributions compared."""


def js_divergence(first: ArrayLike, second: ArrayLike, bins: int = BINS) -> float:
    """Jensen-Shannon divergence in bits of two samples' histograms: 0 if equal, 1 if disjoint.

    The `bins` are equal and span the joint range of both samples.
    """
    one, two = np.asarray(first, float), np.asarray(second, float)
    low, high = float(min(one.min(), two.min())), float(max(one.max(), two.max()))
    if low == high:
        return 0.0
    shares = [np.histogram(sample, bins, (low, high))[0] / sample.size for sample in (one, two)]
    middle = (shares[0] + shares[1]) / 2
    return sum(_relative_entropy(share, middle) for share in shares) / 2


def _relative_entropy(share: NDArray[np.float64], reference: NDArray[np.float64]) -> float:
    """Kullback-Leibler divergence in bits; every bin that `share` fills, `reference` fills too."""
    filled = share > 0
    return float(np.sum(share[filled] * np.log2(share[filled] / reference[filled])))
