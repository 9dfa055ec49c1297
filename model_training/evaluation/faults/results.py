"""The trials summed up: one cell for each model, domain and fault, and in words where a one-line filter does better."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from model_training.evaluation.faults.kinds import CLEAN
from model_training.evaluation.faults.native import WORKING, NativeTrial
from model_training.evaluation.faults.trials import Trial


@dataclass(frozen=True, slots=True)
class Cell:
    """One model on one fault in one domain: means over its photos, unless said otherwise.

    Attributes:
        photos: how many.
        filter: the filter that was most often the best one; empty for clean photos.
        worst_db: the least gain of a photo.
        least_db: the least PSNR of an enhanced photo to the clean one.
        least_lassim, largest_delta_e: likewise.
    """

    model: str
    domain: str
    fault: str
    photos: int
    psnr_in_db: float
    psnr_db: float
    gain_db: float
    filter: str
    filter_gain_db: float
    worst_db: float
    least_db: float
    ssim: float
    delta_e: float
    largest_delta_e: float
    lassim_clean: float
    least_lassim: float
    lassim_input: float
    niqe: float | None
    redness_rank: float
    redness_shift: float

    @property
    def is_behind(self) -> bool:
        """Whether the best filter, chosen photo by photo, gains more on average."""
        return self.fault != CLEAN.name and self.gain_db < self.filter_gain_db


@dataclass(frozen=True, slots=True)
class NativeCell:
    """The mean gain of one model on one fault at one size, over the domains and photos tried."""

    model: str
    fault: str
    size: str
    photos: int
    gain_db: float


@dataclass(frozen=True, slots=True)
class FaultResults:
    """Everything that a run over the faults measured.

    Attributes:
        trials, native_trials: one entry a photo.
        cells, native: their means.
        notes: in words, what was measured on what.
    """

    trials: tuple[Trial, ...]
    native_trials: tuple[NativeTrial, ...] = ()
    notes: tuple[str, ...] = ()
    cells: tuple[Cell, ...] = field(init=False)
    native: tuple[NativeCell, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "cells", tuple(summarise(self.trials)))
        object.__setattr__(self, "native", tuple(summarise_native(self.native_trials)))

    def models(self) -> list[str]:
        """The models in the order measured, the input itself first."""
        return list(dict.fromkeys(cell.model for cell in self.cells))

    def summary(self) -> str:
        """One sentence: in how many cells each model is behind a one-line filter."""
        told = []
        for model in self.models()[1:]:
            asked = [cell for cell in self.of(model) if cell.fault != CLEAN.name]
            told.append(
                f"{model} is behind a one-line filter in {sum(c.is_behind for c in asked)} of {len(asked)} cells"
            )
        return f"{'; '.join(told) or 'The input alone was measured'}."

    def of(self, model: str) -> list[Cell]:
        """The cells of one model."""
        return [cell for cell in self.cells if cell.model == model]


def summarise(trials: Iterable[Trial]) -> list[Cell]:
    """The cells of `trials`, in the order in which each first appears."""
    groups: dict[tuple[str, str, str], list[Trial]] = {}
    for trial in trials:
        groups.setdefault((trial.model, trial.domain, trial.fault), []).append(trial)
    return [_cell(group) for group in groups.values()]


def summarise_native(trials: Iterable[NativeTrial]) -> list[NativeCell]:
    """The mean gain for each model, fault and size."""
    groups: dict[tuple[str, str, str], list[float]] = {}
    for trial in trials:
        groups.setdefault((trial.model, trial.fault, trial.size), []).append(trial.gain_db)
    return [NativeCell(*key, len(gains), float(np.mean(gains))) for key, gains in groups.items()]


def share_kept(native: Sequence[NativeCell], model: str, fault: str, size: str) -> float | None:
    """The share of the gain at working size that is left at `size`; None where there was none."""
    gains = {cell.size: cell.gain_db for cell in native if (cell.model, cell.fault) == (model, fault)}
    if WORKING not in gains or size not in gains or gains[WORKING] < 0.1:
        return None
    return gains[size] / gains[WORKING]


def behind_filters(cells: Iterable[Cell]) -> list[str]:
    """One sentence for each cell where the best one-line filter does better than the model."""
    return [
        f"{cell.fault}, {cell.domain}: {cell.gain_db:+.1f} dB, where the best one-line filter of each photo "
        f"(mostly {cell.filter}) gains {cell.filter_gain_db:+.1f} dB."
        for cell in cells
        if cell.is_behind
    ]


def _cell(trials: Sequence[Trial]) -> Cell:
    first = trials[0]
    niqes = [trial.niqe for trial in trials if trial.niqe is not None]
    return Cell(
        model=first.model,
        domain=first.domain,
        fault=first.fault,
        photos=len(trials),
        psnr_in_db=_mean(trial.psnr_in_db for trial in trials),
        psnr_db=_mean(trial.psnr_db for trial in trials),
        gain_db=_mean(trial.gain_db for trial in trials),
        filter=Counter(trial.filter for trial in trials).most_common(1)[0][0],
        filter_gain_db=_mean(trial.filter_gain_db for trial in trials),
        worst_db=min(trial.gain_db for trial in trials),
        least_db=min(trial.psnr_db for trial in trials),
        ssim=_mean(trial.ssim for trial in trials),
        delta_e=_mean(trial.delta_e for trial in trials),
        largest_delta_e=max(trial.delta_e for trial in trials),
        lassim_clean=_mean(trial.lassim_clean for trial in trials),
        least_lassim=min(trial.lassim_clean for trial in trials),
        lassim_input=_mean(trial.lassim_input for trial in trials),
        niqe=_mean(niqes) if niqes else None,
        redness_rank=_mean(trial.redness_rank for trial in trials),
        redness_shift=_mean(trial.redness_shift for trial in trials),
    )


def _mean(values: Iterable[float]) -> float:
    """The mean of the values that are numbers; nan if none is."""
    found = [value for value in values if np.isfinite(value)]
    return float(np.mean(found)) if found else float("nan")
