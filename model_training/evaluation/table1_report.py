"""Table I as Markdown, CSV and a figure."""

import csv
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from model_training.evaluation.divergence import BINS
from model_training.evaluation.figures import new_figure, save
from model_training.evaluation.table1_rows import INTENSITIES, Row

COLOURS = {"SSIM": ("#9ecae1", "#08519c"), "LaSSIM": ("#fdae6b", "#a63603")}
"""(blur, deformation and blur) of each metric."""


def write_table(rows: list[Row], folder: Path, title: str) -> None:
    """Writes table.md and table.csv into `folder`, which is made if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "table.md").write_text(as_markdown(rows, title), encoding="utf-8")
    with (folder / "table.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(CSV_COLUMNS)
        writer.writerows(_csv_row(row) for row in rows)


CSV_COLUMNS = (
    *(
        "metric",
        "deformation",
        "blur",
        "blur_mean",
        "blur_std",
        "warped_mean",
        "warped_std",
        "js_bits",
        "js_distance_nats",
    ),
    *(
        "published_blur_mean",
        "published_blur_std",
        "published_warped_mean",
        "published_warped_std",
        "published_js",
    ),
    *("blur_off_by_published_std", "warped_off_by_published_std"),
)


def _csv_row(row: Row) -> list[str]:
    measured = (row.blurred.mean(), row.blurred.std(), row.warped.mean(), row.warped.std())
    published = (*row.published.blur, *row.published.warped, row.published.distance_nats)
    numbers = (*measured, row.divergence, row.distance_nats, *published, *row.deviations())
    return [row.metric, row.deformation, row.blur, *(f"{number:.6f}" for number in numbers)]


def as_markdown(rows: list[Row], title: str) -> str:
    """Table I as Markdown: measured beside (published), and where the two part."""
    lines = [f"# {title}", "", *_NOTES, ""]
    lines += ["| intensity | metric | blur | def+blur | JS (bits) | JS distance (nats) | off by (published std) |"]
    lines += ["|---|---|---|---|---|---|---|"]
    lines += [_markdown_row(row) for row in rows]
    lines += ["", summary(rows), ""]
    return "\n".join(lines)


def summary(rows: list[Row]) -> str:
    """Two sentences: how far the means lie from the paper's, and whether LaSSIM separates better than SSIM."""
    worst = max(max(row.deviations()) for row in rows)
    return f"Farthest mean from the paper's: {worst:.2f} published standard deviations. {_ordering(rows)}"


_NOTES = (
    "Measured mean ± standard deviation, in brackets the paper's (arXiv 2304.01864, table I).",
    f"JS: Jensen-Shannon divergence in bits between the two distributions, from histograms of {BINS} equal bins",
    "over their joint range. The paper's own JS column reads as the distance in nats (the square root of the",
    "divergence, at most 0.833; see decision 0016 in docs/decisions): compare it with the distance column.",
)


def _markdown_row(row: Row) -> str:
    measured = [_mean_and_spread(scores.mean(), scores.std()) for scores in (row.blurred, row.warped)]
    published = [_mean_and_spread(*pair) for pair in (row.published.blur, row.published.warped)]
    off_blur, off_warped = row.deviations()
    cells = (
        f"{row.deformation} def, {row.blur} blur",
        row.metric,
        *(f"{mine} ({theirs})" for mine, theirs in zip(measured, published, strict=True)),
        f"{row.divergence:.3f}",
        f"{row.distance_nats:.3f} ({row.published.distance_nats:.3f})",
        f"{off_blur:.2f}, {off_warped:.2f}",
    )
    return f"| {' | '.join(cells)} |"


def _mean_and_spread(mean: float, spread: float) -> str:
    return f"{mean:.3f} ± {spread:.3f}"


def _ordering(rows: list[Row]) -> str:
    """One sentence: in how many of the nine pairs LaSSIM tells the two apart better than SSIM."""
    if all(np.ptp(row.blurred) == 0 for row in rows):
        return "With one image a blur has one score and no distribution: JS says nothing here."
    by_key = {(row.metric, row.deformation, row.blur): row.divergence for row in rows}
    pairs = list(product(INTENSITIES, INTENSITIES))
    wins = sum(by_key["LaSSIM", *pair] > by_key["SSIM", *pair] for pair in pairs)
    return f"JS of LaSSIM is above JS of SSIM in {wins} of {len(pairs)} pairs."


def plot_table1(rows: Sequence[Row], path: Path) -> None:
    """Writes the four score distributions of each of the nine pairs, as the paper's figure 5 shows them."""
    by_key = {(row.metric, row.deformation, row.blur): row for row in rows}
    figure = new_figure(13.0, 9.0)
    panels = figure.subplots(3, 3, sharex=True)
    low = min(float(min(row.blurred.min(), row.warped.min())) for row in rows)
    for line, blur in enumerate(INTENSITIES):
        for column, deformation in enumerate(INTENSITIES):
            pair = [by_key[metric, deformation, blur] for metric in COLOURS]
            _plot_pair(panels[line, column], pair, low)
            panels[line, column].set_title(f"{deformation} deformation, {blur} blur", fontsize=10)
    panels[0, 0].legend(fontsize=7, loc="upper left")
    for axes in panels[-1]:
        axes.set_xlabel("score against the original")
    figure.suptitle("Scores of blurred, and of warped and blurred images")
    save(figure, path)


def _plot_pair(axes: Axes, pair: Sequence[Row], low: float) -> None:
    edges = np.linspace(low, 1.0, BINS + 1)
    for row in pair:
        light, dark = COLOURS[row.metric]
        for scores, colour, label in (
            (row.blurred, light, "blur"),
            (row.warped, dark, "deformation and blur"),
        ):
            weights = np.full(scores.size, 1 / scores.size)
            axes.hist(
                scores,
                edges.tolist(),
                weights=weights,
                color=colour,
                alpha=0.75,
                label=f"{row.metric} {label}",
            )
    axes.text(
        0.02,
        0.55,
        "\n".join(f"JS {row.metric} {row.divergence:.2f}" for row in pair),
        transform=axes.transAxes,
        fontsize=8,
    )
    axes.set_yticks([])
