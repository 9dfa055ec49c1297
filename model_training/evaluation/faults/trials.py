"""The trials: every photo under every fault that is asked of it, through every model, measured against the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from model_training.evaluation.classical import Enhance, identity
from model_training.evaluation.faults.domains import Domain, Photo
from model_training.evaluation.faults.filters import Best, best_filter
from model_training.evaluation.faults.kinds import Fault, damaged
from model_training.evaluation.methods import INPUT, Method
from model_training.evaluation.niqe import PristineModel, niqe
from model_training.evaluation.psnr import psnr
from model_training.evaluation.redness import redness_kept
from model_training.runs.progress import Start, silent
from service.quality.colour import colour_shift
from service.quality.lassim import lassim, ssim
from service.quality.pyramid import Image


@dataclass(frozen=True, slots=True)
class Trial:
    """One photo under one fault through one model; the model called `input` returns the photo as it got it.

    Attributes:
        model, domain, fault, photo: names.
        psnr_in_db, psnr_db: of the damaged and of the enhanced photo to the clean one, at most 60.
        filter: the one-line filter that came closest to the clean photo; empty for a clean photo.
        filter_psnr_db: how close.
        ssim, delta_e, lassim_clean: of the enhanced photo to the clean one; `delta_e` is mean CIEDE2000.
        lassim_input: of the enhanced photo to the damaged one.
        niqe: of the enhanced photo; None without a pristine model.
        redness_rank, redness_shift: see `redness_kept`, against the clean photo.
    """

    model: str
    domain: str
    fault: str
    photo: str
    psnr_in_db: float
    psnr_db: float
    filter: str
    filter_psnr_db: float
    ssim: float
    delta_e: float
    lassim_clean: float
    lassim_input: float
    niqe: float | None
    redness_rank: float
    redness_shift: float

    @property
    def gain_db(self) -> float:
        """How much closer to the clean photo the model came, in dB."""
        return self.psnr_db - self.psnr_in_db

    @property
    def filter_gain_db(self) -> float:
        """How much closer the best filter came, in dB."""
        return self.filter_psnr_db - self.psnr_in_db


def run_trials(
    methods: Sequence[Method],
    domains: Sequence[Domain],
    faults: Sequence[Fault],
    *,
    seed: int = 1,
    pristine: PristineModel | None = None,
    start: Start = silent,
) -> list[Trial]:
    """Every trial at working size, in the order of domains, photos, faults and methods, the input itself first."""
    asked = [(d, photo, fault) for d in domains for photo in d.photos for fault in faults if d.asks(fault)]
    advance, found = start(len(asked)), list[Trial]()
    for domain, photo, fault in asked:
        clean = photo.at_working_size()
        bad = damaged(clean, fault, seed, key=photo.name)
        best = Best("", psnr(bad, clean)) if fault.kind == "clean" else best_filter(bad, clean, fault)
        about = _About(domain, photo, fault, clean, bad, best)
        everyone = [(INPUT, identity), *((method.name, method.enhance) for method in methods if method.name != INPUT)]
        found += [_trial(name, enhance, about, pristine) for name, enhance in everyone]
        advance()
    return found


@dataclass(frozen=True, slots=True)
class _About:
    """What the trials of one damaged photo share."""

    domain: Domain
    photo: Photo
    fault: Fault
    clean: Image
    bad: Image
    best: Best


def _trial(name: str, enhance: Enhance, about: _About, pristine: PristineModel | None) -> Trial:
    made = enhance(about.bad)
    redness = redness_kept(made, about.clean)
    return Trial(
        model=name,
        domain=about.domain.name,
        fault=about.fault.name,
        photo=about.photo.name,
        psnr_in_db=psnr(about.bad, about.clean),
        psnr_db=psnr(made, about.clean),
        filter=about.best.name,
        filter_psnr_db=about.best.psnr_db,
        ssim=ssim(made, about.clean),
        delta_e=colour_shift(made, about.clean).delta_e_mean,
        lassim_clean=lassim(made, about.clean),
        lassim_input=lassim(made, about.bad),
        niqe=niqe(made, pristine) if pristine is not None else None,
        redness_rank=redness.rank,
        redness_shift=redness.shift,
    )
