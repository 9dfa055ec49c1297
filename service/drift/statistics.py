"""How far two histograms of the same buckets are apart.

The same numbers as docker/prometheus/rules/drift.yml; a test holds the two together to 1e-6.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

LEAST_SHARE = 1e-4
"""Of a bucket in the population stability index, which is infinite where one side has none."""

LEAST_VARIANCE = 1e-9
"""So that a shift away from a reference in one single bucket has a finite score."""

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Comparison:
    """A window of photos against a reference.

    Attributes:
        photos, reference_photos: how many each side has.
        js_bits: Jensen-Shannon divergence, base 2, in [0, 1].
        js_noise_bits: what sampling alone gives on average, `js_noise`.
        psi: population stability index, nats.
        ks: largest distance of the two cumulative distributions at a bucket's bound, in [0, 1].
        ks_p: probability of such a distance or more between samples of one distribution; conservative on buckets.
        mean, reference_mean: by the buckets' middles, in the measure's unit.
        deviations: the shift of the mean in standard deviations of the reference.
        zscore: the same in standard errors.
    """

    photos: float
    reference_photos: float
    js_bits: float
    js_noise_bits: float
    psi: float
    ks: float
    ks_p: float
    mean: float
    reference_mean: float
    deviations: float
    zscore: float


def compare(counts: ArrayLike, reference: ArrayLike, middles: Sequence[float]) -> Comparison:
    """Compare the photos per bucket of a window and of a reference, both of the buckets with these `middles`.

    Raises:
        ValueError: a side is empty, or they have other buckets.
    """
    n, m = float(np.sum(counts)), float(np.sum(reference))
    p, q, middle = shares(counts), shares(reference), np.asarray(middles, float)
    if not p.shape == q.shape == middle.shape:
        raise ValueError("the two histograms have other buckets")
    mean, reference_mean = float(p @ middle), float(q @ middle)
    deviation = math.sqrt(max(float(q @ middle**2) - reference_mean**2, LEAST_VARIANCE))
    deviations = (mean - reference_mean) / deviation
    distance = float(np.max(np.abs(np.cumsum(p) - np.cumsum(q))))
    return Comparison(
        photos=n,
        reference_photos=m,
        js_bits=jensen_shannon(p, q),
        js_noise_bits=js_noise(p, q, n, m),
        psi=population_stability(p, q),
        ks=distance,
        ks_p=kolmogorov_p(distance, n, m),
        mean=mean,
        reference_mean=reference_mean,
        deviations=deviations,
        zscore=deviations / math.sqrt(1 / n + 1 / m),
    )


def shares(counts: ArrayLike) -> Array:
    """The share of each bucket.

    Raises:
        ValueError: there is nothing to share.
    """
    array = np.asarray(counts, float)
    total = array.sum()
    if not total > 0:
        raise ValueError("a histogram without photos has no shares")
    shared: Array = array / total
    return shared


def jensen_shannon(p: Array, q: Array) -> float:
    """Jensen-Shannon divergence, base 2: 0 where both are alike, 1 where they share no bucket.

    Source: J. Lin, Divergence measures based on the Shannon entropy, IEEE Trans. Inf. Theory 37 (1991).
    """
    mixture = (p + q) / 2

    def kullback_leibler(one: Array) -> float:
        some = one > 0
        return float(np.sum(one[some] * np.log2(one[some] / mixture[some])))

    return (kullback_leibler(p) + kullback_leibler(q)) / 2


def js_noise(p: Array, q: Array, n: float, m: float) -> float:
    """The mean Jensen-Shannon divergence of samples of `n` and `m` photos of one distribution, bits.

    By the chi-squared limit over the buckets that either side occupies; too high where many hold few photos.
    """
    occupied = int(np.count_nonzero((p + q) > 0))
    return (occupied - 1) * (1 / n + 1 / m) / (8 * math.log(2))


def population_stability(p: Array, q: Array) -> float:
    """Population stability index, nats; a share below `LEAST_SHARE` counts as that.

    Source: N. Siddiqi, Credit Risk Scorecards (2006), which calls 0.1 a small and 0.25 a large shift.
    """
    p, q = np.maximum(p, LEAST_SHARE), np.maximum(q, LEAST_SHARE)
    return float(np.sum((p - q) * np.log(p / q)))


def kolmogorov_p(distance: float, n: float, m: float) -> float:
    """Probability that samples of `n` and `m` values of one distribution are `distance` or more apart (two-sided).

    Source: M. A. Stephens, J. R. Stat. Soc. B 32 (1970): Kolmogorov's limit with a correction for small samples.
    """
    root = math.sqrt(n * m / (n + m))
    scaled = (root + 0.12 + 0.11 / root) * distance
    if scaled < 0.2:  # the series converges slowly there, to 1
        return 1.0
    terms = (2 * (-1) ** (k - 1) * math.exp(-2 * (k * scaled) ** 2) for k in range(1, 101))
    return min(1.0, max(0.0, float(sum(terms))))
