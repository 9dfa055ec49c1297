"""`lamegan drift`: how far the photos of a window are from a reference, for people and for cron."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from service.drift.measures import MEASURES, Measure
from service.drift.reference import LEAST_PHOTOS, SiteReference
from service.drift.sources import Counts
from service.drift.statistics import Comparison, compare, shares
from service.errors import CommandError
from service.registry.card import ModelCard, read_card

BAR_WIDTH = 40


@dataclass(frozen=True, slots=True)
class Finding:
    """One measure's comparison, and whether it counts as drift by the thresholds of the rules of Prometheus."""

    measure: Measure
    comparison: Comparison
    drifted: bool


def reference_counts(path: Path) -> Counts:
    """The reference in a reference.json, or on a card.json.

    Raises:
        ModelInvalid: the file is neither, or cannot be read.
    """
    try:
        site = SiteReference.model_validate_json(path.read_bytes())
    except OSError as error:
        raise CommandError.unreadable(path, error) from error
    except ValueError:
        return card_counts(read_card(path))
    return Counts(
        site.model_digest, {k: tuple(map(float, v)) for k, v in site.counts.items()}, f"reference {site.label}"
    )


def card_counts(card: ModelCard) -> Counts:
    """The reference on a model's card."""
    counts = {name: tuple(map(float, found)) for name, found in card.reference_counts().items()}
    return Counts(card.file.sha256, counts, f"the card of {card.reference}")


def findings(window: Counts, reference: Counts) -> list[Finding]:
    """Every measure that both sides have, in the order of `MEASURES`.

    Raises:
        CommandError: they have none in common, or the window has too few photos.
    """
    both = [name for name in MEASURES if name in window.by_measure and name in reference.by_measure]
    if not both:
        raise CommandError(f"{window.source} and {reference.source} have no measure in common.")
    most = max(sum(window.by_measure[name]) for name in both)
    if most < LEAST_PHOTOS:
        raise CommandError(f"{most:.0f} photos say nothing of drift; {LEAST_PHOTOS} are needed.")
    found = []
    for name in both:
        if sum(window.by_measure[name]) >= LEAST_PHOTOS:
            one = compare(window.by_measure[name], reference.by_measure[name], MEASURES[name].middles)
            found.append(Finding(MEASURES[name], one, _drifted(MEASURES[name], one)))
    return found


def as_text(found: Sequence[Finding], window: Counts, reference: Counts) -> str:
    """A table, the buckets of each measure as bars, and what it comes to."""
    head = f"{'measure':18}{'photos':>8}{'mean':>9}{'ref.':>9}{'shift/sd':>10}{'JS bits':>9}{'PSI':>8}{'KS':>7}{'p':>9}"
    lines = [f"{window.source} against {reference.source}", "", head]
    for one in found:
        c = one.comparison
        lines.append(
            f"{one.measure.name:18}{c.photos:8.0f}{c.mean:9.4f}{c.reference_mean:9.4f}{c.deviations:+10.2f}"
            f"{c.js_bits:9.4f}{c.psi:8.3f}{c.ks:7.3f}{c.ks_p:9.2g}{'  drift' if one.drifted else ''}"
        )
    for one in found:
        name = one.measure.name
        lines += ["", f"{one.measure.title} (# window, | reference)"]
        lines += _bars(one.measure, window.by_measure[name], reference.by_measure[name])
    names = [one.measure.name for one in found if one.drifted]
    return "\n".join([*lines, "", f"Drift in {', '.join(names)}." if names else "No drift."])


def as_json(found: Sequence[Finding], window: Counts, reference: Counts) -> str:
    """The same as one JSON object."""
    return json.dumps(
        {
            "window": window.source,
            "reference": reference.source,
            "model_digest": window.model_digest or reference.model_digest,
            "drift": any(one.drifted for one in found),
            "measures": {one.measure.name: {**asdict(one.comparison), "drift": one.drifted} for one in found},
        }
    )


def draw(found: Sequence[Finding], window: Counts, reference: Counts, path: Path) -> None:
    """Write the distributions side by side as a PNG.

    Raises:
        CommandError: matplotlib is not installed, or the file cannot be written.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415  (optional)
        from matplotlib.figure import Figure  # noqa: PLC0415
    except ImportError as error:
        raise CommandError("--plot needs matplotlib: pip install 'lamegan[plot]'.") from error
    figure = Figure(figsize=(8, 2.6 * len(found)), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, one in zip(figure.subplots(len(found), squeeze=False)[:, 0], found, strict=True):
        name, places = one.measure.name, range(len(one.measure.middles))
        axes.bar([p - 0.2 for p in places], shares(reference.by_measure[name]), 0.4, label="reference", color="#999999")
        axes.bar([p + 0.2 for p in places], shares(window.by_measure[name]), 0.4, label="window", color="#1f77b4")
        axes.set_xticks(list(places), [f"{upper:g}" for _, upper in one.measure.edges], rotation=60, fontsize=7)
        axes.set_title(f"{one.measure.title}: JS {one.comparison.js_bits:.3f} bits, KS p {one.comparison.ks_p:.2g}")
        axes.legend()
    try:
        figure.savefig(path, format="png", dpi=120)
    except OSError as error:
        raise CommandError.unwritable(path, error) from error


def _drifted(measure: Measure, one: Comparison) -> bool:
    shaped = one.js_bits - one.js_noise_bits >= 0.08 and one.js_bits >= 3 * one.js_noise_bits
    if measure.per_model:
        return shaped or (one.mean - one.reference_mean <= -0.015 and one.zscore <= -2.7)
    return shaped or (abs(one.deviations) >= 0.5 and abs(one.zscore) >= 4.5)


def _bars(measure: Measure, window: Sequence[float], reference: Sequence[float]) -> list[str]:
    p, q = shares(window), shares(reference)
    top = max(p.max(), q.max())
    lines = []
    for (_, upper), own, other in zip(measure.edges, p, q, strict=True):
        if own or other:
            bar = ("#" * round(own / top * BAR_WIDTH)).ljust(BAR_WIDTH + 1)
            mark = round(other / top * BAR_WIDTH)
            lines.append(f"{upper:>8g} {bar[:mark]}|{bar[mark + 1 :]} {own:6.1%} {other:6.1%}")
    return lines
