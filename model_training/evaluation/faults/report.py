"""The results as faults.md, faults.csv, faults.json and the heat map faults.png."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

from model_training.evaluation.faults.domains import DOMAINS
from model_training.evaluation.faults.kinds import CLEAN, FAULTS
from model_training.evaluation.faults.native import WORKING
from model_training.evaluation.faults.results import Cell, FaultResults, behind_filters, share_kept
from model_training.evaluation.faults.trials import Trial
from model_training.evaluation.figures import new_figure, save
from model_training.evaluation.methods import INPUT

FILES = ("faults.md", "faults.csv", "faults.json", "faults.png")

COLOUR_LIMIT_DB = 6.0
"""Differences beyond this have the heat map's strongest colour."""

READING = """PSNR to the clean photo in dB, damaged → enhanced; in brackets what the best of the one-line filters
reaches, chosen photo by photo with the truth in hand. **Bold**: the filter does better. A dash: not asked."""

NATIVE_READING = """Mean gain in dB through the whole service, faults at the scale of the photo's own pixels; in
brackets the share of the gain at working size. Photos are cut or mirrored out to the size, never enlarged."""

MEASURES = (
    *("domain", "fault", "SSIM ↑", "ΔE2000 ↓", "NIQE ↓", "LaSSIM to clean ↑", "LaSSIM to input"),
    *("redness: rank ↑", "redness: shift"),
)


def write_fault_report(results: FaultResults, folder: Path) -> None:
    """Write the four files into `folder`, made if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "faults.md").write_text(as_markdown(results), encoding="utf-8")
    (folder / "faults.json").write_text(as_json(results), encoding="utf-8")
    with (folder / "faults.csv").open("w", newline="", encoding="utf-8") as file:
        names = [field.name for field in fields(Trial)]
        writer = csv.writer(file)
        writer.writerow((*names, "gain_db", "filter_gain_db"))
        for trial in results.trials:
            cells = [getattr(trial, name) for name in (*names, "gain_db", "filter_gain_db")]
            writer.writerow([f"{cell:.6f}" if isinstance(cell, float) else cell for cell in cells])
    plot_heat_map(results, folder / "faults.png")


def as_json(results: FaultResults) -> str:
    """Notes, cells, native cells and where each model is behind; what is not a number is null."""
    models = [model for model in results.models() if model != INPUT]
    native = [
        asdict(cell) | {"share": _native_share(results, cell.model, cell.fault, cell.size)} for cell in results.native
    ]
    told = {
        "notes": results.notes,
        "cells": [asdict(cell) | {"is_behind": cell.is_behind} for cell in results.cells],
        "native": native,
        "behind_filters": {model: behind_filters(results.of(model)) for model in models},
    }
    return json.dumps(_without_nan(told), indent=1) + "\n"


def as_markdown(results: FaultResults) -> str:
    """For each model: the table beside the filters, the worst photos, the native scale, and every measure."""
    lines = ["# Single faults", "", *results.notes, "", READING, ""]
    for model in results.models():
        if model == INPUT:
            continue
        cells = results.of(model)
        lines += [f"## {model}", "", *fault_table(cells), "", *_behind(cells), ""]
        lines += ["### The worst photo of each, gain in dB", "", *_worst_table(cells), ""]
        if any(cell.model == model for cell in results.native):
            lines += ["### Native scale", "", NATIVE_READING, "", *native_table(results, model), ""]
        lines += ["### Every measure", "", *_measure_table(results, cells), ""]
    return "\n".join([*lines, "![Gain less that of the best filter](faults.png)", ""])


def fault_table(cells: Sequence[Cell]) -> list[str]:
    """One model's faults by domains, as README and the model card quote it."""

    def said(cell: Cell) -> str:
        if cell.fault == CLEAN.name:
            return f"{cell.psnr_db:.1f} to itself"
        after = f"**{cell.psnr_db:.1f}**" if cell.is_behind else f"{cell.psnr_db:.1f}"
        return f"{cell.psnr_in_db:.1f} → {after} ({cell.psnr_in_db + cell.filter_gain_db:.1f})"

    return _grid(cells, said)


def native_table(results: FaultResults, model: str) -> list[str]:
    """One model's gains through the service by fault and size."""
    mine = [cell for cell in results.native if cell.model == model]
    sizes = list(dict.fromkeys(cell.size for cell in mine))
    lines = [f"| fault | {' | '.join(sizes)} |", f"|---|{'---|' * len(sizes)}"]
    for fault in dict.fromkeys(cell.fault for cell in mine):
        gains = {cell.size: cell.gain_db for cell in mine if cell.fault == fault}
        shares = {size: _native_share(results, model, fault, size) for size in sizes if size != WORKING}
        told = [
            f"{gains[size]:+.1f}" + (f" ({share:.0%})" if (share := shares.get(size)) is not None else "")
            for size in sizes
        ]
        lines.append(f"| {fault} | {' | '.join(told)} |")
    return lines


def plot_heat_map(results: FaultResults, path: Path) -> None:
    """Write one panel a model: faults down, domains across, the mean gain less that of the best filter."""
    models = [model for model in results.models() if model != INPUT] or [INPUT]
    faults, domains = _axes(results.cells)
    faults = [fault for fault in faults if fault != CLEAN.name] or faults
    figure = new_figure(2.2 + (1.0 + 0.8 * len(domains)) * len(models), 1.4 + 0.34 * len(faults))
    panels = figure.subplots(1, len(models), squeeze=False)[0]
    for axes, model in zip(panels, models, strict=True):
        found = {(cell.fault, cell.domain): cell.gain_db - cell.filter_gain_db for cell in results.of(model)}
        ahead = np.array([[found.get((fault, domain), np.nan) for domain in domains] for fault in faults])
        axes.set_facecolor("0.9")
        image = axes.imshow(ahead, cmap="RdBu", vmin=-COLOUR_LIMIT_DB, vmax=COLOUR_LIMIT_DB, aspect="auto")
        for (row, column), value in np.ndenumerate(ahead):
            if np.isfinite(value):
                colour = "white" if abs(value) > 0.7 * COLOUR_LIMIT_DB else "black"
                axes.text(column, row, f"{value:+.1f}", ha="center", va="center", fontsize=8, color=colour)
        axes.set_xticks(range(len(domains)), domains, rotation=30, ha="right", fontsize=8)
        axes.set_yticks(range(len(faults)), faults, fontsize=8)
        axes.tick_params(labelleft=axes.get_subplotspec().is_first_col())
        axes.set_title(model, fontsize=10)
    figure.colorbar(image, ax=list(panels), label="gain less the best filter's, dB")
    save(figure, path)


def _axes(cells: Sequence[Cell]) -> tuple[list[str], list[str]]:
    """The faults and domains that occur, in the tables' order."""
    faults = [fault.name for fault in FAULTS if any(cell.fault == fault.name for cell in cells)]
    return faults, [domain for domain in DOMAINS if any(cell.domain == domain for cell in cells)]


def _grid(cells: Sequence[Cell], said: Any) -> list[str]:
    """Faults by domains, each cell in the words of `said`."""
    faults, domains = _axes(cells)
    found = {(cell.fault, cell.domain): said(cell) for cell in cells}
    photos = {cell.domain: cell.photos for cell in cells}
    lines = [
        f"| fault | {' | '.join(f'{name} ({photos[name]})' for name in domains)} |",
        f"|---|{'---|' * len(domains)}",
    ]
    return lines + [
        f"| {fault} | {' | '.join(found.get((fault, name), '–') for name in domains)} |" for fault in faults
    ]


def _worst_table(cells: Sequence[Cell]) -> list[str]:
    return _grid([cell for cell in cells if cell.fault != CLEAN.name], lambda cell: f"{cell.worst_db:+.1f}")


def _behind(cells: Sequence[Cell]) -> list[str]:
    sentences = behind_filters(cells)
    if not sentences:
        return ["Nowhere behind a one-line filter."]
    asked = sum(cell.fault != CLEAN.name for cell in cells)
    return [f"Behind a one-line filter in {len(sentences)} of {asked} cells:", "", *(f"- {text}" for text in sentences)]


def _measure_table(results: FaultResults, cells: Sequence[Cell]) -> list[str]:
    """Every cell's measures, damaged → enhanced where both are known."""
    inputs = {(cell.domain, cell.fault): cell for cell in results.of(INPUT)}
    lines = [f"| {' | '.join(MEASURES)} |", f"|{'---|' * len(MEASURES)}"]
    for cell in cells:
        before = inputs.get((cell.domain, cell.fault), cell)
        told = [
            cell.domain,
            cell.fault,
            f"{before.ssim:.3f} → {cell.ssim:.3f}",
            f"{before.delta_e:.1f} → {cell.delta_e:.1f}",
            f"{_said(before.niqe, 1)} → {_said(cell.niqe, 1)}",
            f"{before.lassim_clean:.3f} → {cell.lassim_clean:.3f}",
            f"{cell.lassim_input:.3f}",
            f"{_said(before.redness_rank, 3)} → {_said(cell.redness_rank, 3)}",
            f"{_said(before.redness_shift, 3)} → {_said(cell.redness_shift, 3)}",
        ]
        lines.append(f"| {' | '.join(told)} |")
    return lines


def _native_share(results: FaultResults, model: str, fault: str, size: str) -> float | None:
    return None if size == WORKING else share_kept(results.native, model, fault, size)


def _said(value: float | None, digits: int) -> str:
    return "–" if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(below) for key, below in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(below) for below in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
