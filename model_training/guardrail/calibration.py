"""Thresholds for the guardrail, by split conformal prediction on held-out photos.

Half of the photos set each threshold at the conformal quantile of harmless changes: blur, light, contrast, noise, file,
and what the generator itself does to clean and to degraded photos. The other half measures what came of it: the
false-alarm rate, and how often planted faults are caught, by kind and size. Each threshold gets a share of alpha, so
that the union bound holds for all of them together, with a reserve because photos of one video are alike.

The guarantee covers the changes drawn here, on photos like these, and nothing else.
Source: Vovk, Gammerman, Shafer, "Algorithmic Learning in a Random World" (2005); Lei et al., JASA 113 (2018).
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import TypeAlias

import numpy as np

from model_training.data.degradation import HELD_OUT, degrade
from model_training.evaluation.classical import Enhance
from model_training.guardrail.detail_faults import DETAIL_FAULTS
from model_training.guardrail.faults import FAULTS, Faults
from model_training.guardrail.harmless import HARMLESS
from model_training.runs.progress import Start, silent
from service.drift.measures import MEASURES
from service.errors import DataError, InvalidParameter
from service.quality.detail import to_detail_scale, worst_detail
from service.quality.guardrail import Measures, measure, missed_floors
from service.quality.input_quality import input_quality
from service.quality.lassim import to_canonical
from service.quality.pyramid import Image
from service.registry.card import Detection, Guard, GuardFloors, ReferenceHistogram

ALPHA = 0.05
"""Stated bound on the false-alarm rate."""

SHARES = {
    "worst": 0.25,
    **dict.fromkeys(("lassim", "delta_e_mean", "delta_e_p95"), 0.05),
    **dict.fromkeys(("redder_share", "redness_order", "detail"), 0.05),
    "paler_share": 0.1,
}
"""How alpha is divided among the thresholds: most to the worst region, which has the small faults to catch.

Twice as much to paler places as to redder ones: few harmless changes make a place paler, but those that do by much, so
that at equal shares a paler place of the size at which a redder one is caught was let pass twice as often.

More than a third of alpha is kept back. The changes of one photo, and neighbours in a video, are alike, so that 38
photos with 15 changes each are worth far fewer than 570 independent ones: with all of alpha spent, a fresh half of the
photos gave 6.3 % false alarms where 5 % were promised.
"""

OWN_RUNS = 2
"""Degraded versions of each photo that the generator restores."""

LEAST_PHOTOS = 20
"""Fewer in either half cannot give a rate that means anything."""

Pair: TypeAlias = tuple[Image, Image]
"""(output, input), (H, W, 3) uint8 RGB of one size."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """Thresholds and what they do on photos that had no say in them.

    Attributes:
        floors: for the card.
        alpha: the stated bound.
        calibration_photos: photos that set the thresholds.
        test_photos: photos that measured the rates.
        false_alarms: share of harmless changes below a threshold, by kind.
        detection: planted faults caught, by kind and size, in clean photos.
        restored_detection: the same, planted in what the generator makes of degraded photos.
        detail_detection: the same of `DETAIL_FAULTS`, planted in clean photos in native resolution.
        restored_detail_detection: the same, planted in what the generator makes of degraded photos of that size.
    """

    floors: GuardFloors
    alpha: float
    calibration_photos: int
    test_photos: int
    false_alarms: dict[str, float]
    detection: tuple[Detection, ...]
    restored_detection: tuple[Detection, ...]
    detail_detection: tuple[Detection, ...] = ()
    restored_detail_detection: tuple[Detection, ...] = ()

    @property
    def false_alarm_rate(self) -> float:
        """Mean over kinds, each of which has equally many trials but the generator's own (see `OWN_RUNS`)."""
        weights = [OWN_RUNS if kind == RESTORED else 1 for kind in self.false_alarms]
        return float(np.average(list(self.false_alarms.values()), weights=weights))

    def as_guard(self) -> Guard:
        """What the model card says of it."""
        restored = tuple(
            item.model_copy(update={"fault": f"{item.fault}, in a restored photo"})
            for item in (*self.restored_detection, *self.restored_detail_detection)
        )
        return Guard(
            floors=self.floors,
            alpha=self.alpha,
            false_alarms=round(self.false_alarm_rate, 4),
            calibration_images=self.calibration_photos,
            detection=[*self.detection, *self.detail_detection, *restored],
            covers=(
                f"Harmless: {', '.join(self.false_alarms)}; each drawn as model_training.guardrail.harmless and "
                "degrade draw them. Faults: those listed under detection, one a photo, sizes at a longer side of "
                f"480 px, those of fine detail in native pixels. {self.calibration_photos} photos set the thresholds, "
                f"{self.test_photos} others measured the rates. Other changes, other faults and other kinds of photo "
                "are not covered."
            ),
        )


CLEANED = "the generator's output on a clean photo"
RESTORED = "the generator's output on a degraded photo"


def calibrate(
    photos: Sequence[Image], enhance: Enhance, *, alpha: float = ALPHA, seed: int = 0, start: Start = silent
) -> Calibration:
    """Thresholds for `enhance` from held-out clean `photos`, (H, W, 3) uint8 RGB of any sizes.

    Every other photo sets the thresholds, the rest measure them: neighbours in a video are alike, so a random split
    would not be harder.

    Raises:
        InvalidParameter: alpha outside (0, 1).
        DataError: too few photos for the quantile at this alpha.
    """
    require_enough(len(photos), alpha)
    advance = start(len(photos))
    setting: list[Measures] = []
    for place, photo in enumerate(photos[::2]):
        setting += [measures for _, measures in harmless_measures(photo, enhance, (seed, 0, place), seed + place)]
        advance()
    floors = conformal_floors(setting, alpha)
    return _tested(photos[1::2], enhance, floors, alpha, seed, advance, len(photos[::2]))


def require_enough(photos: int, alpha: float) -> None:
    """Refuses what cannot be calibrated, before any work.

    Raises:
        InvalidParameter: alpha outside (0, 1).
        DataError: too few photos for the quantile at this alpha.
    """
    if not 0 < alpha < 1:
        raise InvalidParameter(f"Alpha must lie between 0 and 1, not {alpha}.")
    if photos < (least := least_photos(alpha)):
        raise DataError(
            f"Calibration at an alpha of {alpha:g} needs at least {least} held-out photos, not {photos}; "
            "copies of one count once."
        )


def least_photos(alpha: float) -> int:
    """Photos that give the threshold with the smallest share of `alpha` a rank; half of them, rounded up, set it."""
    changes = math.ceil(1 / (Fraction(alpha) * Fraction(min(SHARES.values())))) - 1
    setting = -(-changes // (len(HARMLESS) + 1 + OWN_RUNS))
    return max(2 * LEAST_PHOTOS, 2 * setting - 1)


def harmless_measures(
    photo: Image, enhance: Enhance, draws: tuple[int, ...], seed: int
) -> Iterator[tuple[str, Measures]]:
    """(kind, measures) of each harmless change of one clean photo, fine detail measured in native resolution.

    `draws` seeds the changes, `seed` the degradations.
    """
    small, native = to_canonical(photo), to_detail_scale(photo)
    pairs = harmless_pairs(small, enhance, np.random.default_rng(draws), seed)
    if small.shape == native.shape:
        for kind, pair in pairs:
            yield kind, measure(*pair, detail=True)
        return
    natives = harmless_pairs(native, enhance, np.random.default_rng(draws), seed)
    for (kind, pair), (_, native_pair) in zip(pairs, natives, strict=True):
        yield kind, replace(measure(*pair), detail=worst_detail(*native_pair))


def harmless_pairs(
    photo: Image, enhance: Enhance, generator: np.random.Generator, seed: int
) -> Iterator[tuple[str, Pair]]:
    """(kind, pair) of each harmless change of one clean photo; both are of the photo's size."""
    for name, change in HARMLESS.items():
        yield name, (change(photo, generator), photo)
    yield CLEANED, (enhance(photo), photo)
    for run in range(OWN_RUNS):
        bad = degrade(photo, _degradation_seed(seed, run), recipe=HELD_OUT)
        yield RESTORED, (enhance(bad), bad)


def conformal_floors(harmless: Sequence[Measures], alpha: float) -> GuardFloors:
    """The tightest thresholds that the union bound allows at `alpha`, rounded to the lenient side.

    Raises:
        DataError: too few changes for a threshold's share of alpha.
    """
    return GuardFloors(
        lassim=_floor([item.lassim for item in harmless], alpha * SHARES["lassim"]),
        worst=_floor([item.worst.value for item in harmless], alpha * SHARES["worst"]),
        delta_e_mean=-_floor([-item.colour.delta_e_mean for item in harmless], alpha * SHARES["delta_e_mean"]),
        delta_e_p95=-_floor([-item.colour.delta_e_p95 for item in harmless], alpha * SHARES["delta_e_p95"]),
        redder_share=-_floor([-item.colour.redder_share for item in harmless], alpha * SHARES["redder_share"]),
        paler_share=-_floor([-item.colour.paler_share for item in harmless], alpha * SHARES["paler_share"]),
        redness_order=_floor([item.colour.redness_order for item in harmless], alpha * SHARES["redness_order"]),
        detail=_floor([_detail(item) for item in harmless], alpha * SHARES["detail"]),
    )


def _detail(measures: Measures) -> float:
    """Value of the worst fine detail, 1 where it was not measured."""
    return 1.0 if measures.detail is None else measures.detail.value


def _floor(values: Sequence[float], alpha: float) -> float:
    """The k-th smallest value, k = floor(alpha (n + 1)): a new one lies below it with probability at most alpha."""
    rank = math.floor(alpha * (len(values) + 1))
    if rank < 1:
        raise DataError(
            f"{len(values)} harmless changes are too few for a false-alarm rate of {alpha:.4f}: "
            f"at least {math.ceil(1 / alpha) - 1} are needed."
        )
    return math.floor(sorted(values)[rank - 1] * 1e4) / 1e4


def _tested(
    photos: Sequence[Image],
    enhance: Enhance,
    floors: GuardFloors,
    alpha: float,
    seed: int,
    advance: Callable[[], None],
    calibration_photos: int,
) -> Calibration:
    """What `floors` do on `photos`, which had no say in them."""
    alarms: dict[str, list[bool]] = {}
    coarse, fine = _Caught(floors.model_copy(update={"detail": None})), _Caught(floors)
    for place, photo in enumerate(photos):
        draws = (seed, 1, place)
        for kind, measures in harmless_measures(photo, enhance, draws, seed + 10_000 + place):
            alarms.setdefault(kind, []).append(bool(missed_floors(measures, floors)))
        bad_seed = _degradation_seed(seed + 20_000 + place, 0)
        coarse.plant(FAULTS, to_canonical(photo), enhance, bad_seed, np.random.default_rng((*draws, 1)))
        fine.plant(DETAIL_FAULTS, to_detail_scale(photo), enhance, bad_seed, np.random.default_rng((*draws, 2)))
        advance()
    return Calibration(
        floors=floors,
        alpha=alpha,
        calibration_photos=calibration_photos,
        test_photos=len(photos),
        false_alarms={kind: float(np.mean(found)) for kind, found in alarms.items()},
        detection=_rates(coarse.clean),
        restored_detection=_rates(coarse.restored),
        detail_detection=_rates(fine.clean),
        restored_detail_detection=_rates(fine.restored),
    )


@dataclass(slots=True)
class _Caught:
    """Which planted faults missed one of `floors`, by kind and size: in clean photos, in restored ones."""

    floors: GuardFloors
    clean: dict[tuple[str, str], list[bool]] = field(default_factory=dict)
    restored: dict[tuple[str, str], list[bool]] = field(default_factory=dict)

    def plant(
        self, kinds: Faults, photo: Image, enhance: Enhance, bad_seed: int, generator: np.random.Generator
    ) -> None:
        """Plant each of `kinds` in `photo`, and in what `enhance` makes of a degraded version."""
        for key, pair in faulty_pairs(kinds, photo, photo, generator):
            self.clean.setdefault(key, []).append(_below(pair, self.floors))
        bad = degrade(photo, bad_seed, recipe=HELD_OUT)
        for key, pair in faulty_pairs(kinds, enhance(bad), bad, generator):
            if not key[0].startswith("erased"):
                self.restored.setdefault(key, []).append(_below(pair, self.floors))


def faulty_pairs(
    kinds: Faults, output: Image, input: Image, generator: np.random.Generator
) -> Iterator[tuple[tuple[str, str], Pair]]:
    """((kind, size), pair) of each fault planted in `output`, or in `input` where it is to be erased."""
    for kind, size, plant in kinds:
        if kind.startswith("erased"):
            yield (kind, size), (output, plant(input, generator))
        else:
            yield (kind, size), (plant(output, generator), input)


def _below(pair: Pair, floors: GuardFloors) -> bool:
    """Whether a threshold is missed; fine detail is the quickest to measure."""
    detail = None
    if floors.detail is not None:
        detail = worst_detail(*pair)
        if detail.value < floors.detail:
            return True
    return bool(missed_floors(replace(measure(*pair), detail=detail), floors))


def _rates(caught: dict[tuple[str, str], list[bool]]) -> tuple[Detection, ...]:
    return tuple(
        Detection(fault=fault, size=size, rate=round(float(np.mean(found)), 4), trials=len(found))
        for (fault, size), found in caught.items()
    )


def _degradation_seed(photo: int, run: int) -> int:
    """Seeds from 5,000,000 on, which neither training nor the evaluation draws."""
    return 5_000_000 + photo * OWN_RUNS + run


def reference_histograms(photos: Sequence[Image], enhance: Enhance, *, seed: int = 0) -> dict[str, ReferenceHistogram]:
    """Scores of the model's outputs on degraded versions of `photos`, and what these inputs look like, by measure.

    The buckets are those of the metrics. The photos' size in pixels is left out: it says nothing of a site's cameras.
    """
    found: dict[str, list[float]] = {name: [] for name in MEASURES if name != "input_megapixels"}
    for place, photo in enumerate(to_canonical(photo) for photo in photos):
        for run in range(OWN_RUNS):
            bad = degrade(photo, _degradation_seed(seed + 30_000 + place, run), recipe=HELD_OUT)
            judged, seen = measure(enhance(bad), bad), input_quality(bad)
            found["lassim"].append(judged.lassim)
            found["lassim_worst"].append(judged.worst.value)
            found["input_sharpness"].append(seen.sharpness)
            found["input_exposure"].append(seen.exposure)
            found["input_contrast"].append(seen.contrast)
    on = f"{len(photos)} held-out photos, {OWN_RUNS} degraded versions each (held-out recipe)"
    return {
        name: ReferenceHistogram(upper_bounds=MEASURES[name].upper_bounds, counts=MEASURES[name].count(values), on=on)
        for name, values in found.items()
    }
