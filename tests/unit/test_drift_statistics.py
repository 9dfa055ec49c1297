"""The distances of two histograms, against their definitions and scipy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from scipy.stats import kstwo

from service.drift.measures import MEASURES
from service.drift.statistics import compare, jensen_shannon, js_noise, kolmogorov_p, population_stability, shares

COUNTS = st.lists(st.integers(0, 1000), min_size=30, max_size=30).filter(any)
MIDDLES = MEASURES["lassim"].middles


@given(COUNTS, COUNTS)
def test_the_divergence_is_scipys_symmetric_and_between_0_and_1(one: list[int], other: list[int]) -> None:
    p, q = shares(one), shares(other)
    found = jensen_shannon(p, q)
    assert found == pytest.approx(jensenshannon(p, q, base=2) ** 2, abs=1e-9)
    assert found == pytest.approx(jensen_shannon(q, p), abs=1e-12)
    assert -1e-12 <= found <= 1 + 1e-12


@given(COUNTS)
def test_a_histogram_is_no_distance_from_itself_however_many_photos_it_has(counts: list[int]) -> None:
    found = compare(np.multiply(counts, 7), counts, MIDDLES)
    assert (found.js_bits, found.psi, found.ks) == pytest.approx((0, 0, 0), abs=1e-12)
    assert found.zscore == pytest.approx(0, abs=1e-9)
    assert found.ks_p == 1


def test_histograms_without_a_common_bucket_are_one_bit_apart() -> None:
    assert jensen_shannon(shares([5, 0, 0]), shares([0, 2, 3])) == pytest.approx(1)


def test_the_noise_is_what_samples_of_one_distribution_give() -> None:
    rng = np.random.default_rng(0)
    truth = rng.dirichlet(np.full(8, 5.0))
    found = [
        jensen_shannon(shares(rng.multinomial(500, truth)), shares(rng.multinomial(1500, truth))) for _ in range(2000)
    ]
    assert np.mean(found) == pytest.approx(js_noise(truth, truth, 500, 1500), rel=0.1)


@pytest.mark.parametrize(("n", "distance"), [(50, 0.1), (100, 0.13), (400, 0.06), (1000, 0.05)])
def test_the_probability_is_kolmogorovs(n: int, distance: float) -> None:
    exact = kstwo.sf(distance, n)  # of one sample against a known distribution: the other side is endless
    assert kolmogorov_p(distance, n, 1e12) == pytest.approx(exact, rel=0.05)


def test_a_share_of_nothing_keeps_the_stability_index_finite() -> None:
    found = population_stability(shares([0, 10]), shares([5, 5]))
    assert found == pytest.approx((1e-4 - 0.5) * np.log(1e-4 / 0.5) + 0.5 * np.log(2))


def test_an_empty_side_is_refused() -> None:
    with pytest.raises(ValueError, match="without photos"):
        compare([0] * 30, [1] * 30, MIDDLES)


@pytest.mark.parametrize("measure", MEASURES.values(), ids=lambda measure: measure.name)
def test_every_middle_lies_in_its_bucket(measure: object) -> None:
    from service.drift.measures import Measure

    assert isinstance(measure, Measure)
    assert all(lower < middle <= upper for middle, (lower, upper) in zip(measure.middles, measure.edges, strict=True))
    assert sum(measure.count([measure.upper_bounds[0], 1e9])) == 2
    assert measure.count([measure.upper_bounds[0]])[0] == 1
