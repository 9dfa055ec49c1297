"""The comparison as report.md, scores.csv and figures."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from model_training.evaluation.figures import new_figure, save
from model_training.evaluation.scores import MEASURES, Scores, values

if TYPE_CHECKING:
    from model_training.evaluation.report import Evaluation

TITLES = {
    "lassim": "LaSSIM ↑",
    "worst": "worst place ↑",
    "niqe": "NIQE ↓",
    "niqe_own": "NIQE (own) ↓",
    "brisque": "BRISQUE ↓",
    "psnr_db": "PSNR dB ↑",
    "ssim": "SSIM ↑",
    "delta_e": "ΔE2000 ↓",
    "lassim_clean": "LaSSIM to clean ↑",
    "redder_share": "redder area ↓",
}
"""Column heads with the direction that is better."""

TABLES = (
    ("Faithful to the input (as the paper's table II)", ("lassim", "worst")),
    ("Quality without a reference (as the paper's table III)", ("niqe", "niqe_own", "brisque")),
    ("Close to the truth", ("psnr_db", "ssim", "delta_e", "lassim_clean", "redder_share")),
)

PUBLISHED = """The paper's own figures, on its private throat photos (arXiv 2304.01864), for orientation only:

| method | LaSSIM | NIQE |
|---|---|---|
| low-quality input | 1 | 7.19 |
| CycleGAN | .869 | 4.27 |
| StillGAN | .895 | 4.98 |
| MIINet | .925 | 4.50 |
| LaMEGAN | .936 | 4.45 |
"""

DIGITS = {"psnr_db": 2, "niqe": 2, "niqe_own": 2, "brisque": 1, "delta_e": 2}


def write_report(result: Evaluation, folder: Path) -> None:
    """Writes report.md, scores.csv, distributions.png and strips.png into `folder`, made if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.md").write_text(as_markdown(result), encoding="utf-8")
    with (folder / "scores.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("method", "image", *MEASURES))
        for name, scores in result.scores.items():
            writer.writerows((name, place, *_csv_cells(item)) for place, item in enumerate(scores))
    plot_distributions(result, folder / "distributions.png")
    if result.strips:
        plot_strips(result, folder / "strips.png")


def _csv_cells(scores: Scores) -> list[str]:
    found = [getattr(scores, name) for name in MEASURES]
    return ["" if value is None else f"{value:.6f}" for value in found]


def as_markdown(result: Evaluation) -> str:
    """The tables, what they were measured on, and what could not be measured."""
    lines = ["# Comparison of methods", "", *result.notes, ""]
    for title, measures in TABLES:
        shown = [name for name in measures if any(values(scores, name) for scores in result.scores.values())]
        if shown:
            lines += [f"## {title}", "", *_table(result, shown), ""]
    lines += ["## Published", "", PUBLISHED]
    if result.absent:
        lines += ["## Not measured", "", *(f"- {name}: {why}." for name, why in result.absent.items()), ""]
    lines += ["![Distributions of the scores](distributions.png)", ""]
    if result.strips:
        lines += ["![Before and after](strips.png)", ""]
    return "\n".join(lines)


def _table(result: Evaluation, measures: list[str]) -> list[str]:
    head = ["method", *(TITLES[name] for name in measures)]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for method, scores in result.scores.items():
        cells = [_cell(values(scores, name), DIGITS.get(name, 3)) for name in measures]
        lines.append(f"| {' | '.join([method, *cells])} |")
    return lines


def _cell(found: list[float], digits: int) -> str:
    """Mean ± standard deviation, or a dash."""
    if not found:
        return "–"
    return f"{np.mean(found):.{digits}f} ± {np.std(found):.{digits}f}"


def plot_distributions(result: Evaluation, path: Path) -> None:
    """Writes one panel a measure with each method's spread of scores."""
    shown = [name for name in MEASURES if any(values(scores, name) for scores in result.scores.values())]
    columns = 5
    lines = -(-len(shown) // columns)
    figure = new_figure(3.2 * columns, 1.2 + lines * (1.2 + 0.28 * len(result.scores)))
    panels = figure.subplots(lines, columns, squeeze=False).ravel()
    methods = list(result.scores)
    for axes, name in zip(panels, shown, strict=False):
        found = [values(result.scores[method], name) or [float("nan")] for method in methods]
        axes.boxplot(found, orientation="horizontal", widths=0.6, showfliers=False, tick_labels=methods)
        axes.invert_yaxis()
        axes.set_title(TITLES[name], fontsize=10)
        axes.tick_params(labelsize=8, labelleft=axes.get_subplotspec().is_first_col())
    for axes in panels[len(shown) :]:
        axes.set_axis_off()
    save(figure, path)


def plot_strips(result: Evaluation, path: Path) -> None:
    """Writes the kept pictures, one line each, every method beside its input."""
    methods = list(result.strips[0])
    height, width = result.strips[0][methods[0]].shape[:2]
    figure = new_figure(2.4 * len(methods), (2.4 * height / width + 0.25) * len(result.strips))
    panels = figure.subplots(len(result.strips), len(methods), squeeze=False)
    for line, strip in enumerate(result.strips):
        for axes, name in zip(panels[line], methods, strict=True):
            axes.imshow(strip[name])
            axes.set_axis_off()
            if line == 0:
                axes.set_title(name, fontsize=9)
    save(figure, path)
