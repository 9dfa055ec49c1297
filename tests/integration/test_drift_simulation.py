"""The simulation that states false alarms and delay computes what the rules of Prometheus compute."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import yaml

from benchmarks.drift import Site, distributions, photos_per_step, signals, window_statistics
from service.drift.measures import MEASURES
from tests.conftest import ROOT

RULES = ROOT / "docker" / "prometheus" / "rules" / "drift.yml"
STEP_MIN = 10
LABELS = 'job="lamegan",model_digest="aaaa"'


def _bound(value: float) -> str:
    return {float("inf"): "+Inf", float("-inf"): "-Inf"}.get(value, str(value))


def test_the_simulations_numbers_and_signals_are_those_of_the_rules(tmp_path: Path) -> None:
    site, rng, measure = Site(6000, step_min=STEP_MIN), np.random.default_rng(3), MEASURES["lassim"]
    share = distributions()["lassim"]
    reference = rng.multinomial(1400, share).astype(float)
    groups = photos_per_step(site, 1, rng)
    low = np.roll(share, -1)  # every score one bucket lower
    counts = np.concatenate([rng.multinomial(groups[:72], share), rng.multinomial(groups[72:], low)]).astype(float)
    total = np.concatenate([np.zeros((1, counts.shape[1])), np.cumsum(counts, axis=0)])

    series = []
    for place, ((lower, upper), middle) in enumerate(zip(measure.edges, measure.middles, strict=True)):
        lower_label, upper_label = _bound(lower), _bound(upper)
        edges = f'measure="lassim",lower="{lower_label}",upper="{upper_label}"'
        cumulative = total[:, : place + 1].sum(axis=1)
        values = " ".join(f"{value:g}" for value in np.repeat(cumulative, 2)[1:])  # a sample each five minutes
        static = f"x{len(total) * 2}"
        series += [
            {"series": f'lamegan_lassim_bucket{{{LABELS},le="{upper_label}"}}', "values": values},
            {"series": f'lamegan_bucket_middle{{job="lamegan",{edges}}}', "values": f"{float(middle)!r}{static}"},
            {
                "series": f"lamegan_reference_share{{{LABELS},{edges}}}",
                "values": f"{float(reference[place] / reference.sum())!r}{static}",
            },
        ]
    series.append(
        {"series": f'lamegan_reference_photos{{{LABELS},measure="lassim"}}', "values": f"1400x{len(total) * 2}"}
    )

    dropped = signals({"lassim": counts}, {"lassim": reference}, STEP_MIN).dropped
    assert not dropped[60]
    assert dropped[-1]
    tests = []
    for window, steps in (("1h", 6), ("1d", 144)):
        wanted = window_statistics(counts, reference, measure, steps)
        for step in (60, 80, 120):
            for name, value in (
                ("photos:increase", wanted.photos),
                ("js:bits", wanted.js),
                ("js_noise:bits", wanted.noise),
                ("shift:difference", wanted.difference),
                ("shift:zscore", wanted.zscore),
            ):
                expr = f'abs(lamegan:measure_{name}{{window="{window}"}} - {float(value[step])!r}) < bool 1e-6'
                sample = {"labels": f'{{{LABELS},measure="lassim",window="{window}"}}', "value": 1}
                tests.append({"expr": expr, "eval_time": f"{(step + 1) * STEP_MIN}m", "exp_samples": [sample]})
    for step in (60, len(counts) - 1):
        expr = 'count(ALERTS{alertname="LameganFidelityDropped"}) or vector(0)'
        sample = {"labels": "{}", "value": int(dropped[step])}
        tests.append({"expr": expr, "eval_time": f"{(step + 1) * STEP_MIN}m", "exp_samples": [sample]})
    path = tmp_path / "simulation.test.yml"
    test = {"interval": "5m", "input_series": series, "promql_expr_test": tests}
    path.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "5m", "tests": [test]}))
    done = subprocess.run(["promtool", "test", "rules", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
