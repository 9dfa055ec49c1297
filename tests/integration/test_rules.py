"""The rules of Prometheus: accepted by promtool, tested by it, and each alert with its page in the runbook."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import ROOT

RULES = ROOT / "docker" / "prometheus" / "rules"
TESTS = sorted((RULES / "tests").glob("*.test.yml"))
ALERTS: list[dict[str, Any]] = [
    rule
    for path in sorted(RULES.glob("*.yml"))
    for group in yaml.safe_load(path.read_text())["groups"]
    for rule in group["rules"]
    if "alert" in rule
]
SECTIONS = dict(
    re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", (ROOT / "docs/runbook.md").read_text(), re.MULTILINE | re.DOTALL)
)


@pytest.mark.parametrize("path", sorted(RULES.glob("*.yml")), ids=lambda path: path.name)
def test_promtool_accepts_the_rules(path: Path) -> None:
    done = subprocess.run(["promtool", "check", "rules", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.name)
def test_promtool_finds_the_rules_do_what_their_tests_say(path: Path) -> None:
    done = subprocess.run(
        ["promtool", "test", "rules", path.name], cwd=path.parent, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_every_alert_says_what_it_is_what_to_do_and_where_that_is_written(alert: dict[str, Any]) -> None:
    name = alert["alert"]
    assert alert["labels"]["severity"] in ("page", "ticket")
    assert {"summary", "action", "runbook"} <= set(alert["annotations"])
    assert alert["annotations"]["runbook"] == f"docs/runbook.md#{name.lower()}"
    assert "**It means**" in SECTIONS[name]
    assert "**It can wait**" in SECTIONS[name]


def test_the_runbook_tells_of_no_alert_that_is_not_there() -> None:
    assert set(SECTIONS) == {alert["alert"] for alert in ALERTS}


def test_every_alert_fires_in_a_test() -> None:
    tested = "".join(path.read_text() for path in TESTS)
    silent = {alert["alert"] for alert in ALERTS if f'alertname="{alert["alert"]}"' not in tested}
    assert not silent
