"""What a run over the faults writes into a model's card: its gains, and where a one-line filter does better."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from model_training.evaluation.faults.kinds import CLEAN
from model_training.evaluation.faults.results import Cell, FaultResults, behind_filters
from model_training.evaluation.methods import INPUT, Method, file_digest
from service.registry.card import Figure, ModelCard, read_card, write_card

SUBJECT = "single faults"
"""How the `on` of every figure begins that this module writes, and by which it knows them again."""


def card_figures(cells: Sequence[Cell]) -> list[Figure]:
    """One figure a cell: the gain in PSNR, or for clean photos the PSNR to themselves."""
    figures = []
    for cell in cells:
        clean = cell.fault == CLEAN.name
        metric = "PSNR of clean photos to themselves, dB ↑" if clean else f"PSNR gain, {cell.fault}, dB ↑"
        note = (
            f"dE2000 {cell.delta_e:.2f}, LaSSIM {cell.lassim_clean:.4f}; least PSNR {cell.least_db:.1f}."
            if clean
            else f"{cell.psnr_in_db:.1f} -> {cell.psnr_db:.1f}; best one-line filter {cell.filter_gain_db:+.1f} "
            f"(mostly {cell.filter}); worst photo {cell.worst_db:+.1f}."
        )
        value = round(cell.psnr_db if clean else cell.gain_db, 2)
        figures.append(
            Figure(metric=metric, value=value, on=f"{SUBJECT}: {cell.domain}", images=cell.photos, note=note)
        )
    return figures


def with_faults(card: ModelCard, cells: Sequence[Cell]) -> ModelCard:
    """`card` with the figures of `cells` in place of earlier ones, and with the sentences of where it is behind."""
    kept = [figure for figure in card.evaluation if not figure.on.startswith(SUBJECT)]
    changed = {"evaluation": [*kept, *card_figures(cells)], "behind_filters": behind_filters(cells)}
    return card.model_copy(update=changed)


def record_faults(folder: Path, cells: Sequence[Cell]) -> None:
    """Write the figures of `cells` into the card of the model in `folder`.

    Raises:
        ModelInvalid: the card cannot be read.
    """
    path = folder / "card.json"
    write_card(with_faults(read_card(path), cells), path)


def record_all(results: FaultResults, methods: Sequence[Method], folders: Sequence[Path]) -> list[str]:
    """Write to the card of each of `folders` what was measured of its very file; the names of the models recorded.

    Raises:
        ModelInvalid: a card cannot be read.
    """
    recorded = []
    for folder in folders:
        digest = file_digest(folder / "model.onnx")
        for method in methods:
            if method.sha256 == digest and method.name != INPUT:
                record_faults(folder, results.of(method.name))
                recorded.append(method.name)
                break
    return recorded
