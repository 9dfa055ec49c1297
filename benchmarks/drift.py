"""False alarms and delay of the drift alerts, from 30 simulated days: docker/prometheus/rules/drift.yml in NumPy.

    python -m benchmarks.drift [--seeds 100]

Photos are drawn for each step of ten or thirty minutes; the windows, the least count, the thresholds and
`for` are those of the rules (a test holds the two together with promtool). A site has its own hours; a clinic is
closed at night. Scores and photos follow the card of the shipped model.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.measure import record
from service.drift.measures import MEASURES, Measure
from service.registry.card import read_card

Array = NDArray[np.float64]

CARD = Path(__file__).resolve().parent.parent / "models" / "lamegan-fast" / "1.4.0" / "card.json"
DAY_MIN = 24 * 60
WINDOWS_MIN = {"10m": 10, "1h": 60, "1d": DAY_MIN, "4d": 4 * DAY_MIN}
LEAST_PHOTOS = 100
FIDELITY = ("lassim", "lassim_worst")
WARM_UP_DAYS, DAYS, SHIFT_DAY = 4, 30, 10


@dataclass(frozen=True, slots=True)
class Site:
    """How photos come in.

    Attributes:
        photos_a_day: on average.
        open_from_h, open_to_h: nothing comes in outside.
        reference_photos: in the reference, itself a sample.
        together: photos that count alike, as those of one patient may.
        step_min: minutes that are drawn at once; windows shorter than a step are left out.
    """

    photos_a_day: float
    open_from_h: float = 0
    open_to_h: float = 24
    reference_photos: int = 1400
    together: int = 1
    step_min: int = 30

    @property
    def day(self) -> int:
        """Steps a day."""
        return DAY_MIN // self.step_min


@dataclass(frozen=True, slots=True)
class Signals:
    """What the rules say at each step (S,), before any `for`."""

    dropped: NDArray[np.bool_]
    changed: NDArray[np.bool_]
    input_changed: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class WindowStatistics:
    """The recorded rules of one measure and window, (S,) each; NaN where there are too few photos."""

    photos: Array
    difference: Array
    deviations: Array
    zscore: Array
    js: Array
    noise: Array


def window_statistics(counts: Array, reference: Array, measure: Measure, steps: int) -> WindowStatistics:
    """`counts` (S, K) photos per step and bucket, `reference` (K,) photos per bucket, over windows of `steps` steps."""
    total = np.cumsum(counts, axis=0)
    window = total.copy()
    window[steps:] -= total[:-steps]
    n, m = window.sum(axis=1), reference.sum()
    n = np.where(n >= LEAST_PHOTOS, n, np.nan)
    p, q, middle = window / n[:, None], reference / m, np.asarray(measure.middles)
    mean = q @ middle
    deviation = np.sqrt(max(q @ middle**2 - mean**2, 1e-9))
    difference = p @ middle - mean
    mixture = (p + q) / 2
    occupied = (mixture > 0).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        own = np.where(p > 0, p * np.log2(p / mixture), 0).sum(axis=1)
        others = np.where(q > 0, q * np.log2(q / mixture), 0).sum(axis=1)
    rate = 1 / n + 1 / m
    return WindowStatistics(
        photos=n,
        difference=difference,
        deviations=difference / deviation,
        zscore=difference / deviation / np.sqrt(rate),
        js=np.where(np.isnan(n), np.nan, (own + others) / 2),
        noise=(occupied - 1) * rate / (8 * np.log(2)),
    )


def signals(counts: Mapping[str, Array], references: Mapping[str, Array], step_min: int) -> Signals:
    """The alerts' expressions at each step of `step_min` minutes for the measures in `counts`."""
    steps = len(next(iter(counts.values())))
    dropped, changed, suspected, moved = (np.zeros(steps, bool) for _ in range(4))
    for name, found in counts.items():
        for window in (minutes // step_min for minutes in WINDOWS_MIN.values() if minutes >= step_min):
            one = window_statistics(found, references[name], MEASURES[name], window)
            with np.errstate(invalid="ignore"):
                excess, ratio = one.js - one.noise, one.js / one.noise
                far, score = np.abs(one.deviations), np.abs(one.zscore)
                if name in FIDELITY:
                    dropped |= (one.difference <= -0.015) & (one.zscore <= -2.7)
                    changed |= (excess >= 0.08) & (ratio >= 3)
                else:
                    suspected |= ((far >= 0.3) & (score >= 3.5)) | ((excess >= 0.05) & (ratio >= 2.5))
                    moved |= ((far >= 0.5) & (score >= 4.5)) | ((excess >= 0.08) & (ratio >= 3))
    return Signals(dropped & ~suspected, changed & ~suspected, moved)


def firing(signal: NDArray[np.bool_], step_min: int, for_min: int, keep_min: int = 60) -> NDArray[np.bool_]:
    """Where an alert fires whose expression is `signal`: after `for_min`, and `keep_min` longer than it holds.

    Both are rounded up to whole steps.
    """
    fires = signal.copy()
    for back in range(1, -(-for_min // step_min) + 1):
        fires[back:] &= signal[:-back]
        fires[:back] = False
    kept = fires.copy()
    for ahead in range(1, -(-keep_min // step_min) + 1):
        kept[ahead:] |= fires[:-ahead]
    return kept


def beginnings(fires: NDArray[np.bool_]) -> NDArray[np.intp]:
    """The steps at which an alert begins to fire."""
    return np.flatnonzero(fires & ~np.concatenate([[False], fires[:-1]]))


def distributions() -> dict[str, Array]:
    """The true share of each bucket by measure: the shipped card's, and a plausible one of sizes, which it has not."""
    counts = dict(read_card(CARD).reference_counts())
    sizes = np.random.default_rng(1).choice([2.0, 8.0, 12.0], 200_000, p=[0.2, 0.3, 0.5])
    counts["input_megapixels"] = MEASURES["input_megapixels"].count(sizes)
    return {name: np.asarray(found, float) / sum(found) for name, found in counts.items()}


def shifted(share: Array, measure: Measure, by: float) -> Array:
    """`share` with every photo's value moved by `by`, the values of a bucket being spread evenly over it."""
    lower = np.array([measure.upper_bounds[0] - 0.1, *measure.upper_bounds])
    upper = np.array([*measure.upper_bounds, measure.upper_bounds[-1] + 0.01])
    bounds = np.concatenate([lower[:1], upper])
    cumulative = np.concatenate([[0], np.cumsum(share)])
    moved = np.interp(upper - by, bounds, cumulative, left=0, right=1)
    moved[-1] = 1
    share = np.clip(np.diff(np.concatenate([[0], moved])), 0, 1)
    return share / share.sum()


def photos_per_step(site: Site, days: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Groups of photos in each step of `days`; more at noon than at the edges of the day."""
    hour = (np.arange(site.day) + 0.5) * site.step_min / 60
    inside = (hour - site.open_from_h) / (site.open_to_h - site.open_from_h)
    weight = np.where((inside > 0) & (inside < 1), 0.2 + np.sin(np.pi * np.clip(inside, 0, 1)), 0)
    rate = weight / weight.sum() * site.photos_a_day / site.together
    return rng.poisson(np.tile(rate, days))


def month(site: Site, seed: int, lassim_shift: float = 0.0) -> tuple[Signals, Array]:
    """One site's month: what the rules say, and the photos of each step; scores move by `lassim_shift` on day 10."""
    rng = np.random.default_rng(seed)
    true = distributions()
    groups = photos_per_step(site, WARM_UP_DAYS + DAYS, rng)
    change = (WARM_UP_DAYS + SHIFT_DAY) * site.day
    counts, references = {}, {}
    for name, share in true.items():
        size = max(1, site.reference_photos // site.together)
        references[name] = rng.multinomial(size, share).astype(float) * site.together
        found = rng.multinomial(groups, share)
        if name == "lassim" and lassim_shift:
            found[change:] = rng.multinomial(groups[change:], shifted(share, MEASURES[name], lassim_shift))
        counts[name] = found.astype(float) * site.together
    return signals(counts, references, site.step_min), groups * float(site.together)


SITES = {
    "clinic, own reference": Site(50, 8, 18, reference_photos=1400),
    "clinic, the card's reference": Site(50, 8, 18, reference_photos=204),
    "clinic, own reference, photos alike in pairs": Site(50, 8, 18, reference_photos=1400, together=2),
    "large site, own reference": Site(50 * 86_400, reference_photos=1_000_000, step_min=10),
}


def simulate(site: Site, seeds: int) -> dict[str, float]:
    """False alarms a month without a change, and the delay after a drop of mean LaSSIM by 0.03."""
    begin, change, step = WARM_UP_DAYS * site.day, (WARM_UP_DAYS + SHIFT_DAY) * site.day, site.step_min
    pages, tickets, delays, minutes = [], [], [], []
    for seed in range(seeds):
        calm, _ = month(site, seed)
        pages.append(len(beginnings(firing(calm.dropped, step, 5)[begin:])))
        tickets.append(
            len(beginnings(firing(calm.changed, step, 15)[begin:]))
            + len(beginnings(firing(calm.input_changed, step, 5)[begin:]))
        )
        after, photos = month(site, seed + 10_000, -0.03)
        found = np.flatnonzero(firing(after.dropped, step, 5)[change:])
        steps = found[0] + 1 if found.size else np.inf
        delays.append(photos[change : change + int(steps)].sum() if found.size else np.inf)
        minutes.append(steps * step)
    return {
        "false_pages_a_month_mean": float(np.mean(pages)),
        "false_pages_a_month_most": float(np.max(pages)),
        "months_without_a_false_page": float(np.mean(np.equal(pages, 0))),
        "false_tickets_a_month_mean": float(np.mean(tickets)),
        "found_share": float(np.mean(np.isfinite(delays))),
        "photos_to_page_median": float(np.median(delays)),
        "photos_to_page_p90": float(np.quantile(delays, 0.9, method="higher")),
        "minutes_to_page_median": float(np.median(minutes)),
    }


def main() -> None:
    """Print and record the figures of each site."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, default=100)
    seeds = parser.parse_args().seeds
    figures = {}
    for name, site in SITES.items():
        figures[name] = simulate(site, seeds)
        print(name, {key: round(value, 3) for key, value in figures[name].items()}, flush=True)
    record("drift", {"seeds": seeds, "days": DAYS, "sites": figures})


if __name__ == "__main__":
    main()
