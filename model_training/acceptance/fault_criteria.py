"""What a model must hold on single faults of known strength, beside what a one-line filter does."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from model_training.acceptance.criterion import Criterion, at_least, at_most
from model_training.evaluation.classical import Enhance
from model_training.evaluation.faults.domains import Domain
from model_training.evaluation.faults.kinds import CLEAN, FAULTS
from model_training.evaluation.faults.native import WORKING
from model_training.evaluation.faults.results import Cell, NativeCell
from model_training.evaluation.niqe import PristineModel, niqe
from model_training.evaluation.psnr import psnr
from service.quality.colour import colour_shift
from service.quality.lassim import lassim
from service.quality.pyramid import Image

LEAST_GAIN_DB, WORST_LOSS_DB = 1.0, -0.3
"""Where no filter helps a model must still gain so much; no single photo may lose more."""

LEAST_PSNR_DB, LARGEST_DELTA_E, LEAST_LASSIM = 38.0, 1.0, 0.99
"""How near a clean photo stays to itself, and an enhanced one when it is enhanced again; of the worst photo."""

NATIVE_SHARE = 0.8
NIQE_FALL = 2.0

REDNESS_DOMAINS = ("throat", "larynx")
LEAST_RANK, LARGEST_SHIFT = 0.98, 0.02
"""Redness is a sign: rank correlation and mean shift of log(R/G) against the clean photo."""

REQUIRED = tuple(fault for fault in FAULTS if fault.required)


def gain_criteria(cells: Iterable[Cell]) -> list[Criterion]:
    """For each required fault and domain: as much as the best filter and 1 dB, and no photo made worse."""
    required = {fault.name for fault in REQUIRED if fault is not CLEAN}
    found = []
    for cell in cells:
        if cell.fault not in required:
            continue
        about = f"{cell.fault}, {cell.domain}"
        gained = f"{about}: mean gain, dB ({cell.psnr_in_db:.1f} -> {cell.psnr_db:.1f}; {cell.filter})"
        found.append(at_least(gained, cell.gain_db, max(LEAST_GAIN_DB, cell.filter_gain_db)))
        found.append(at_least(f"{about}: gain of the worst photo, dB", cell.worst_db, WORST_LOSS_DB))
    return found


def clean_criteria(cells: Iterable[Cell]) -> list[Criterion]:
    """Clean photos of each domain stay as they are."""
    found = []
    for cell in cells:
        if cell.fault == CLEAN.name:
            found += _near(f"clean, {cell.domain}", cell.least_db, cell.largest_delta_e, cell.least_lassim)
    return found


def twice_criteria(domains: Iterable[Domain], enhance: Enhance) -> list[Criterion]:
    """A photo enhanced twice is the photo enhanced once, in each domain."""
    found = []
    for domain in domains:
        once = [enhance(photo.at_working_size()) for photo in domain.photos]
        both = [(enhance(image), image) for image in once]
        farthest = max(colour_shift(a, b).delta_e_mean for a, b in both)
        least = min(psnr(a, b) for a, b in both), min(lassim(a, b) for a, b in both)
        found += _near(f"enhanced twice, {domain.name}", least[0], farthest, least[1])
    return found


def redness_criteria(cells: Iterable[Cell]) -> list[Criterion]:
    """Redness keeps its order and its mean in throats and larynges that are clean, blurred, noisy or compressed."""
    signal = {fault.name for fault in REQUIRED if fault.kind != "scene"}
    asked = [cell for cell in cells if cell.fault in signal]
    found = []
    for domain in REDNESS_DOMAINS:
        mine = [cell for cell in asked if cell.domain == domain]
        if not mine:
            continue
        lowest = min(mine, key=lambda cell: cell.redness_rank)
        farthest = max(mine, key=lambda cell: abs(cell.redness_shift))
        name = f"redness, {domain}: "
        found += [
            at_least(f"{name}least rank correlation of log R/G ({lowest.fault})", lowest.redness_rank, LEAST_RANK),
            at_most(
                f"{name}largest mean shift of log R/G ({farthest.fault})", abs(farthest.redness_shift), LARGEST_SHIFT
            ),
        ]
    return found


def native_criteria(cells: Sequence[NativeCell]) -> list[Criterion]:
    """At native scale most of the gain at working size is left, for each fault and size.

    Without a gain at working size there is no share: then 80 % of the least gain is asked.
    """
    found = []
    at_working = {(cell.model, cell.fault): cell.gain_db for cell in cells if cell.size == WORKING}
    for cell in cells:
        if cell.size == WORKING:
            continue
        working = at_working[cell.model, cell.fault]
        name = f"{cell.fault} at {cell.size}: mean gain, dB (at working size {working:+.1f})"
        found.append(at_least(name, cell.gain_db, NATIVE_SHARE * max(working, LEAST_GAIN_DB)))
    return found


def niqe_criterion(photo: Image, enhance: Enhance, pristine: PristineModel) -> Criterion:
    """The NIQE of a blurred throat photo falls."""
    before, after = niqe(photo, pristine), niqe(enhance(photo), pristine)
    return at_least(
        f"the authors' blurred photo: NIQE falls by ({before:.2f} -> {after:.2f})", before - after, NIQE_FALL
    )


def _near(name: str, psnr_db: float, delta_e: float, likeness: float) -> list[Criterion]:
    return [
        at_least(f"{name}: least PSNR to itself, dB", psnr_db, LEAST_PSNR_DB),
        at_most(f"{name}: largest mean dE2000 to itself", delta_e, LARGEST_DELTA_E),
        at_least(f"{name}: least LaSSIM to itself", likeness if np.isfinite(likeness) else -1.0, LEAST_LASSIM),
    ]
