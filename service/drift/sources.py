"""Where a window of photos comes from: a Prometheus that scrapes the service, or a CSV of scores."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit
from urllib.request import ProxyHandler, build_opener

from service.drift.measures import MEASURES, Measure
from service.errors import CommandError

TIMEOUT_S = 30.0
COLUMNS = {"worst": "lassim_worst"}
"""Columns of `lamegan enhance --csv` that are a measure under another name."""

_WINDOW = re.compile(r"[1-9][0-9]*[smhdw]")
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Counts:
    """Photos per bucket by measure, of one model.

    Attributes:
        model_digest: of the model that made the scores; empty where that is not known.
        source: in words, where they come from.
    """

    model_digest: str
    by_measure: Mapping[str, tuple[float, ...]]
    source: str


def from_csv(path: Path) -> Counts:
    """The photos of a CSV file with a column for at least one measure, as `lamegan enhance --csv` writes it.

    Lines without a number there are left out.

    Raises:
        CommandError: it cannot be read, or has no such column or no number.
    """
    found: dict[str, list[float]] = {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                for column, text in row.items():
                    name = COLUMNS.get(column or "", column)
                    if name in MEASURES and (value := _number(text)) is not None:
                        found.setdefault(name, []).append(value)
    except OSError as error:
        raise CommandError.unreadable(path, error) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise CommandError(f"{path} is no CSV file.") from error
    if not found:
        raise CommandError(f"{path} has no numbers in a column called {' or '.join((*MEASURES, *COLUMNS))}.")
    counts = {name: tuple(map(float, MEASURES[name].count(values))) for name, values in found.items()}
    return Counts("", counts, str(path))


def from_prometheus(url: str, window: str, model_digest: str | None = None, job: str = "lamegan") -> Counts:
    """The photos of the last `window` (as 1d, 4d, 6h) that the Prometheus at `url` knows of, over all replicas.

    `model_digest` None: the one model that made scores in that time.

    Raises:
        CommandError: Prometheus cannot be asked, knows of no photo, or of several models' where none is named.
    """
    if not _WINDOW.fullmatch(window):
        raise CommandError("Write the window as a number and s, m, h, d or w: 6h, 1d, 4d.")
    digest = model_digest or _only_model(url, window, job)
    if not _DIGEST.fullmatch(digest):
        raise CommandError("A model digest is 64 hexadecimal digits; GET /models lists them.")
    counts = {}
    for name, measure in MEASURES.items():
        labels = f'job="{job}", model_digest="{digest}"' if measure.per_model else f'job="{job}"'
        found = ask(url, f"sum by (le) (increase(lamegan_{name}_bucket{{{labels}}}[{window}]))")
        if shares := _per_bucket(measure, {s["metric"].get("le", ""): float(s["value"][1]) for s in found}):
            counts[name] = shares
    if not counts:
        raise CommandError(f"Prometheus knows of no photo of this model in the last {window}.")
    return Counts(digest, counts, f"the last {window} in {url}")


def reference_from_prometheus(url: str, model_digest: str, job: str = "lamegan") -> Counts:
    """The reference that the service itself compares with.

    Raises:
        CommandError: Prometheus cannot be asked.
    """
    counts = {}
    for name, measure in MEASURES.items():
        digest = model_digest if measure.per_model else ""
        labels = f'{{job="{job}", measure="{name}", model_digest="{digest}"}}'
        shares = {
            sample["metric"]["upper"]: float(sample["value"][1])
            for sample in ask(url, f"avg by (upper) (lamegan_reference_share{labels})")
        }
        photos = ask(url, f"min(lamegan_reference_photos{labels})")
        if shares and photos:
            total = float(photos[0]["value"][1])
            bounds = sorted(shares, key=float)
            if len(bounds) == len(measure.upper_bounds) + 1:
                counts[name] = tuple(shares[bound] * total for bound in bounds)
    return Counts(model_digest, counts, "the service's reference")


def ask(url: str, query: str) -> list[dict[str, Any]]:
    """The samples of an instant query.

    Raises:
        CommandError: `url` is not an address, nothing answers there, or what answers is not a Prometheus.
    """
    if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
        raise CommandError("The address of Prometheus must begin with http:// or https://.")
    address = f"{url.rstrip('/')}/api/v1/query?{urlencode({'query': query})}"
    try:
        with build_opener(ProxyHandler({})).open(address, timeout=TIMEOUT_S) as answer:
            result: list[dict[str, Any]] = json.load(answer)["data"]["result"]
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or type(error).__name__
        raise CommandError(f"{url} cannot be asked: {reason}.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise CommandError(f"What answers at {url} is not a Prometheus.") from error
    return result


def _only_model(url: str, window: str, job: str) -> str:
    query = f'sum by (model_digest) (increase(lamegan_lassim_count{{job="{job}"}}[{window}])) > 0'
    digests = sorted(sample["metric"].get("model_digest", "") for sample in ask(url, query))
    if not digests:
        raise CommandError(f"Prometheus knows of no photo in the last {window}.")
    if len(digests) > 1:
        listed = ", ".join(digest[:12] for digest in digests)
        raise CommandError(f"Several models made scores in that time ({listed}): choose one with --model-digest.")
    return str(digests[0])


def _per_bucket(measure: Measure, cumulative: Mapping[str, float]) -> tuple[float, ...]:
    """Photos per bucket of cumulative counts by `le`; empty without them, or with other buckets."""
    ordered = [cumulative[le] for le in sorted(cumulative, key=float)]
    if len(ordered) != len(measure.upper_bounds) + 1 or not ordered[-1] > 0:
        return ()
    return tuple(max(0.0, upper - lower) for lower, upper in zip([0.0, *ordered], ordered, strict=False))


def _number(text: object) -> float | None:
    try:
        value = float(str(text))
    except ValueError:
        return None
    return value if math.isfinite(value) else None
