"""How the benchmarks time things and what they record beside the figures.

Contract: a warm-up first; the candidates take turns, so that a busy machine slows them alike; medians and the
interquartile range of the per-turn ratios are reported, the losing figures too; machine and commit are recorded.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

PACKAGES = ("numpy", "opencv-python-headless", "onnxruntime-gpu", "torch", "scikit-image")
RESULTS = Path(__file__).resolve().parent / "results"


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds of one call over all turns."""

    median_s: float
    iqr_s: float


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times slower one candidate is than another, turn by turn."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        """As in 3.1x (2.9 to 3.3)."""
        return f"{self.median:.2f}x ({self.low:.2f} to {self.high:.2f})"


def take_turns(
    candidates: Mapping[str, Callable[[], object]], *, turns: int = 30, calls: int = 10, warm_up: int = 3
) -> dict[str, list[float]]:
    """Seconds a call of each candidate in each turn; `calls` are averaged within a turn."""
    for candidate in candidates.values():
        for _ in range(warm_up):
            candidate()
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(turns):
        for name, candidate in candidates.items():
            start = time.perf_counter()
            for _ in range(calls):
                candidate()
            seconds[name].append((time.perf_counter() - start) / calls)
    return seconds


def timing(seconds: list[float]) -> Timing:
    """Median and interquartile range."""
    low, middle, high = statistics.quantiles(seconds, n=4)
    return Timing(middle, high - low)


def ratio(slower: list[float], faster: list[float]) -> Ratio:
    """Median and quartiles of `slower / faster`, turn by turn."""
    low, middle, high = statistics.quantiles([a / b for a, b in zip(slower, faster, strict=True)], n=4)
    return Ratio(middle, low, high)


def machine() -> dict[str, object]:
    """What ran: processor, cores, Python, and the versions of what does the work."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **{name: _version(name) for name in PACKAGES},
    }


def commit() -> str:
    """The commit measured, marked when the tree differs from it."""
    found = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=12"], capture_output=True, text=True, check=False
    )
    return found.stdout.strip() or "unknown"


def record(name: str, figures: Mapping[str, object]) -> Path:
    """Write figures, machine and commit to benchmarks/results/<name>.json; returns the file."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    facts = {"commit": commit(), "machine": machine(), "figures": figures}
    path.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    return path


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def _version(package: str) -> str:
    try:
        return version(package)
    except ImportError:
        return "absent"
