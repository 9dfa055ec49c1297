"""What a model must hold on photos degraded by the held-out recipe, and on photos that it should leave alone.

The seeds are ones that training never draws. Every criterion states its bound.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from model_training.acceptance.criterion import Criterion, at_least, at_most
from model_training.acceptance.screens import SHAPES, as_served, screen, with_text
from model_training.data.degradation import HELD_OUT, Recipe, degrade
from model_training.data.phantom import phantom
from model_training.data.photo_faults import exposure, haze, uneven_light
from model_training.data.photos import find_photos
from model_training.data.synthetic import everyday
from model_training.evaluation.images import evenly_spread, read_image
from model_training.evaluation.niqe import PristineModel, niqe
from model_training.evaluation.psnr import psnr
from service.pixels import Pixels
from service.quality.change_detector import worst_region
from service.quality.colour import colour_shift, redder_than
from service.quality.lassim import lassim, lassim_map, to_canonical

Enhance = Callable[[Pixels], Pixels]

WORKING_AREA_PX = 130_560
FIRST_SEED = 7_000_000
DRAWS = (FIRST_SEED, 3_000_000, 5_000_000)
"""Each held-out photo is degraded once from each: one draw alone moves a mean by as much as some bounds are wide."""

PATHOLOGY = 4
BORDER_PX = 16
PERIODS_PX = (2, 4, 8, 16)
"""Periods at which a network with stages at 1/4, 1/8 and 1/16 of the resolution could leave a grid."""


SMOOTH = Recipe(((haze, 1.0), (uneven_light, 0.5), (exposure, 0.5)), (4.0, 3.0), shuffled=False)
"""Faults that carry no grid, grain or edge of their own: what has one in the change is the network's."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One held-out photo: clean, degraded and enhanced, (H, W, 3) uint8, and its label map (H, W) if there is one."""

    clean: Pixels
    bad: Pixels
    made: Pixels
    label: Pixels | None


def delta_e(a: Pixels, b: Pixels) -> float:
    """Mean CIEDE2000."""
    return colour_shift(a, b).delta_e_mean


def at_working_size(image: Pixels, interpolation: int = cv2.INTER_AREA) -> Pixels:
    """`image` shrunk to about the area that the generator works at."""
    height, width = image.shape[:2]
    scale = min(1.0, float(np.sqrt(WORKING_AREA_PX / (height * width))))
    size = (round(width * scale), round(height * scale))
    return np.asarray(cv2.resize(image, size, interpolation=interpolation), np.uint8)


def trials(
    photos: Path, labels: Path | None, sequences: Iterable[str], enhance: Enhance, limit: int | None = None
) -> list[Trial]:
    """The photos of `sequences` (folders under `photos`), degraded once from each of `DRAWS`, and enhanced.

    At most `limit` of them, evenly spread.

    Raises:
        DataError: a sequence holds no photo, or one that cannot be read.
    """
    paths = evenly_spread(photos_of(photos, sequences), limit)
    shown = [(at_working_size(read_image(path)), _label(path, photos, labels)) for path in paths]
    found = []
    for seed in DRAWS:
        for index, (clean, label) in enumerate(shown):
            bad = degrade(clean, seed + index, recipe=HELD_OUT)
            found.append(Trial(clean, bad, enhance(bad), label))
    return found


def photos_of(photos: Path, sequences: Iterable[str]) -> list[Path]:
    """The photos of each of `sequences` (folders under `photos`), sorted by path within it.

    Raises:
        DataError: one of them holds none.
    """
    return [path for name in sequences for path in find_photos(photos / name)]


def _label(path: Path, photos: Path, labels: Path | None) -> Pixels | None:
    if labels is None:
        return None
    drawn = cv2.imread(str((labels / path.relative_to(photos)).with_suffix(".png")), cv2.IMREAD_GRAYSCALE)
    if drawn is None:
        return None
    return at_working_size(np.asarray(drawn, np.uint8), cv2.INTER_NEAREST)


def restoration_criteria(pairs: Sequence[Trial]) -> list[Criterion]:
    """Better: closer to the clean photo in PSNR and colour, and no redder."""
    before = np.mean([psnr(t.bad, t.clean) for t in pairs])
    after = np.mean([psnr(t.made, t.clean) for t in pairs])
    colour_before = np.mean([delta_e(t.bad, t.clean) for t in pairs])
    colour_after = np.mean([delta_e(t.made, t.clean) for t in pairs])
    redder = np.mean([redder_than(t.made, t.clean) for t in pairs])
    return [
        at_least(f"PSNR to clean rises, dB ({before:.2f} -> {after:.2f})", float(after - before), 6.0),
        at_least(f"dE2000 to clean falls, share ({colour_before:.2f} -> {colour_after:.2f})",
              float(1 - colour_after / colour_before), 0.5),
        at_most("area turned clearly redder than the clean one, share", float(redder), 0.005),
    ]  # fmt: skip


def niqe_criterion(pairs: Sequence[Trial], pristine: PristineModel) -> Criterion:
    """Nicer: the share of the NIQE gap between degraded and clean that is closed."""
    bad, made, clean = (
        float(np.mean([niqe(image, pristine) for image in images]))
        for images in ([t.bad for t in pairs], [t.made for t in pairs], [t.clean for t in pairs])
    )
    name = f"NIQE gap closed ({pristine.source}), share ({bad:.2f} -> {made:.2f}, clean {clean:.2f})"
    return at_least(name, (bad - made) / max(bad - clean, 1e-6), 0.6)


def faithfulness_criteria(pairs: Sequence[Trial]) -> list[Criterion]:
    """As faithful as the truth, pathology included, and no place that the guard would take for a fault.

    A blot in a corner once kept every mean: LaSSIM does not read the outer windows.
    """
    truth = np.mean([lassim(t.clean, t.bad) for t in pairs])
    kept = np.mean([lassim(t.made, t.bad) for t in pairs])
    to_clean = np.mean([lassim(t.made, t.clean) for t in pairs])
    worst = [worst_region(to_canonical(t.made), to_canonical(t.bad)).value for t in pairs]
    found = [
        at_least("worst place against the input, of 19 outputs in 20", float(np.quantile(worst, 0.05)), 0.5),
        at_least(f"LaSSIM to input over the truth's ({kept:.4f}, {truth:.4f})", float(kept - truth), -0.005),
        at_least("LaSSIM to clean", float(to_clean), 0.95),
    ]
    inside, outside = _local_lassim(pairs)
    if inside.size:
        gap = float(inside.mean() - outside.mean())
        found.append(at_least(f"LaSSIM to clean inside pathology ({inside.mean():.4f}) over outside", gap, -0.01))
    return found


def _local_lassim(pairs: Sequence[Trial]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Local LaSSIM(output, clean) of all windows centred inside the pathology labels, and of those outside."""
    inside, outside = [], []
    for trial in pairs:
        if trial.label is None or not (trial.label == PATHOLOGY).any():
            continue
        values = lassim_map(trial.made, trial.clean).values
        rows = ((np.arange(values.shape[0]) + 3) * 8).clip(0, trial.label.shape[0] - 1)
        columns = ((np.arange(values.shape[1]) + 3) * 8).clip(0, trial.label.shape[1] - 1)
        ill = trial.label[np.ix_(rows, columns)] == PATHOLOGY
        inside.append(values[ill])
        outside.append(values[~ill])
    if not inside:
        return np.zeros(0), np.zeros(0)
    return np.concatenate(inside), np.concatenate(outside)


def harmlessness_criteria(name: str, images: Sequence[Pixels], made: Sequence[Pixels]) -> list[Criterion]:
    """First, do no harm: `made` may hardly differ from `images`."""
    both = list(zip(made, images, strict=True))
    return [
        at_least(f"{name}: PSNR to themselves, dB", float(np.mean([psnr(a, b) for a, b in both])), 30),
        at_least(f"{name}: LaSSIM to themselves", float(np.mean([lassim(a, b) for a, b in both])), 0.985),
        at_most(f"{name}: dE2000 to themselves", float(np.mean([delta_e(a, b) for a, b in both])), 2),
    ]


def grid_excess(changes: Sequence[NDArray[Any]], period_px: int) -> float:
    """How far the mean spectrum of `changes` (H, W) at a period stands above its neighbourhood (1: not at all).

    Rows and columns are looked at apart; the larger ratio counts. Lengths are cut to a multiple of 16, so that each
    period falls on a bin.
    """
    ratios = []
    for axis in (0, 1):
        power: dict[int, NDArray[Any]] = {}
        for change in changes:
            length = change.shape[axis] // 16 * 16
            lines = np.moveaxis(change, axis, -1)[:, :length]
            window = np.hanning(length)
            spectrum = (np.abs(np.fft.rfft((lines - lines.mean(-1, keepdims=True)) * window)) ** 2).mean(0)
            power[length] = power.get(length, 0) + spectrum
        for length, spectrum in power.items():
            at = length // period_px
            near = [at + d for d in (-7, -6, -5, -4, -3, 3, 4, 5, 6, 7) if 1 < at + d < spectrum.size]
            ratios.append(float(spectrum[at] / max(float(np.median(spectrum[near])), 1e-9)))
    return max(ratios)


def cleanness_criteria(pairs: Sequence[Trial], calm: Sequence[tuple[Pixels, Pixels]]) -> list[Criterion]:
    """No grid, no frame, no seams. `calm`: (image, enhanced) pairs whose faults are smooth."""
    changes = [a.astype(np.float64).mean(2) - b.astype(np.float64).mean(2) for b, a in calm]
    worst = max(grid_excess(changes, period) for period in PERIODS_PX)
    outer = [_outer_and_inner(t.made, t.clean)[0] for t in pairs]
    frames = [np.subtract(*_outer_and_inner(made, given)) for given, made in calm]
    return [
        at_most("spectrum of the change at the network's periods over its surroundings", worst, 1.2),
        at_most("outer 16 px lighter or darker than the clean one's, grey levels", abs(float(np.mean(outer))), 2),
        at_most("change of the outer 16 px less that inside (smooth faults), grey", abs(float(np.mean(frames))), 2),
    ]  # fmt: skip


def _outer_and_inner(made: Pixels, reference: Pixels) -> tuple[float, float]:
    """Mean grey difference of the outer 16 px, and of what lies inside them."""
    gap = made.astype(np.float64).mean(2) - reference.astype(np.float64).mean(2)
    middle = gap[BORDER_PX:-BORDER_PX, BORDER_PX:-BORDER_PX]
    outer = float(gap.sum() - middle.sum()) / (gap.size - middle.size)
    return outer, float(middle.mean())


def smoothness_criterion(enhance: Enhance) -> Criterion:
    """Flat and gradient images stay smooth: the largest step between neighbours that the input does not have."""
    worst = 0.0
    for grey in (16, 64, 128, 200, 250):
        for tint in ((1, 1, 1), (1, 0.6, 0.6), (0.6, 0.8, 1)):
            flat = np.full((272, 480, 3), grey, np.float64) * np.array(tint)
            ramp = flat * np.linspace(0.3, 1, 480)[None, :, None]
            for image in (flat, ramp):
                given = np.rint(image).clip(0, 255).astype(np.uint8)
                made = enhance(given).astype(np.float64)
                step = max(float(np.abs(np.diff(made, axis=a)).max()) for a in (0, 1))
                own = max(float(np.abs(np.diff(given.astype(np.float64), axis=a)).max()) for a in (0, 1))
                worst = max(worst, step - own)
    return at_most("flat and gradient images: largest new step, grey levels", worst, 2)


def other_photos() -> dict[str, list[Pixels]]:
    """Photos of other kinds, all clean: phantoms, everyday pictures, grey, night-dark and blown-out ones."""
    phantoms = [phantom(480, 272, FIRST_SEED + index) for index in range(12)]
    pictures = [everyday(400, 320, FIRST_SEED + index) for index in range(8)]
    grey = [np.repeat(p.mean(2, keepdims=True), 3, 2).round().astype(np.uint8) for p in phantoms[:6]]
    dark = [(p * 0.12).round().astype(np.uint8) for p in phantoms[:6]]
    blown = [np.clip(p.astype(np.float64) * 1.8, 0, 255).round().astype(np.uint8) for p in phantoms[:6]]
    return {"phantoms": phantoms, "everyday pictures": pictures, "grey": grey, "night-dark": dark, "blown out": blown}


def kindness_criteria(kinds: dict[str, list[Pixels]], enhance: Enhance) -> list[Criterion]:
    """Graceful elsewhere: degraded photos of other kinds never get worse, clean ones keep their colours."""
    found = []
    for kind, images in kinds.items():
        wild = max(colour_shift(enhance(image), image).delta_e_mean for image in images)
        found.append(at_most(f"{kind}, clean: largest mean dE2000 to itself", wild, 10))
        gains = []
        for index, image in enumerate(images):
            bad = degrade(image, FIRST_SEED + 500 + index, recipe=HELD_OUT)
            gains.append(psnr(enhance(bad), image) - psnr(bad, image))
        found.append(at_least(f"{kind}, degraded: least PSNR gain, dB (mean {np.mean(gains):.1f})", min(gains), 0))
    return found


def screen_criteria(clean: Sequence[Pixels], enhance: Enhance) -> list[Criterion]:
    """Inside a black surround: that stays black, what is shown is mended, or left alone where clean.

    And burnt-in text does not keep a photo from being mended.
    """
    lightest, rises, kept, named = 0.0, [], [], []
    for index, image in enumerate(clean):
        tower = screen(SHAPES[index % len(SHAPES)])
        bad = tower.record(degrade(image, FIRST_SEED + 1500 + index, recipe=HELD_OUT))
        truth, made = tower.record(image), enhance(bad)
        lightest = max(lightest, tower.brightened(made, bad))
        rises.append(tower.psnr(made, truth) - tower.psnr(bad, truth))
        kept.append(tower.psnr(enhance(truth), truth))
        bad, truth = (with_text(photo) for photo in (degrade(image, FIRST_SEED + index, recipe=HELD_OUT), image))
        named.append(psnr(enhance(bad), truth) - psnr(bad, truth))
    return [
        at_most("black surround: lightened by at most, mean grey levels", lightest, 2),
        at_least("black surround: PSNR of what is shown rises, dB", float(np.mean(rises)), 6),
        at_least("black surround, clean: PSNR of what is shown to itself, dB", float(np.mean(kept)), 30),
        at_least("burnt-in text: PSNR rises, dB", float(np.mean(named)), 6),
    ]


def recipe_criteria(
    pairs: Sequence[Trial],
    throat: Sequence[Pixels],
    enhance: Enhance,
    pristine: Sequence[PristineModel],
    kinds: dict[str, list[Pixels]],
) -> list[Criterion]:
    """Every criterion, in the order of the requirement."""
    clean = [t.clean for t in pairs[: len(pairs) // len(DRAWS)]]
    clean_made = [enhance(image) for image in clean]
    bad = [degrade(image, FIRST_SEED + 900 + i, recipe=SMOOTH) for i, image in enumerate(clean[::3])]
    calm = [(image, enhance(image)) for image in bad]
    found = [
        *restoration_criteria(pairs),
        *(niqe_criterion(pairs, model) for model in pristine),
        *faithfulness_criteria(pairs),
    ]
    found += harmlessness_criteria("clean frames", clean, clean_made)
    for index, photo in enumerate(throat):
        once = enhance(photo)
        found += harmlessness_criteria(f"throat photo {index + 1}", [photo], [once])
        found += harmlessness_criteria(f"throat photo {index + 1}, twice", [once], [enhance(once)])
    made = [t.made for t in pairs]
    found += harmlessness_criteria("enhanced again", made, [enhance(image) for image in made])
    found += [
        *cleanness_criteria(pairs, calm),
        smoothness_criterion(enhance),
        *screen_criteria(clean[::2], as_served(enhance)),
    ]
    return found + kindness_criteria(kinds, enhance)
