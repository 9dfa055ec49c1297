"""A real Prometheus with the product's own rules, scraping whatever a test serves."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import yaml

from tests import live
from tests.conftest import ROOT

RULES = ROOT / "docker" / "prometheus" / "rules"


PATIENCE_S = 240.0
"""How long a scrape, a rule and the next rule may take where several tests share two cores."""


def wait_until(holds: Callable[[], bool]) -> None:
    """Wait until `holds`, or fail loudly; a query a time is enough."""
    live.wait_until(holds, PATIENCE_S, every_s=0.1)


class Prometheus:
    """Scrapes `targets` every second between enter and exit; rules are evaluated every second and alert at once.

    `targets`: host:port by job. Every `for` of an alert is taken out: a test must not wait for minutes.
    """

    def __init__(self, folder: Path, **targets: list[str]) -> None:
        self._folder = folder
        (folder / "rules").mkdir(parents=True)
        for path in RULES.glob("*.yml"):
            (folder / "rules" / path.name).write_text(yaml.safe_dump(_at_once(yaml.safe_load(path.read_text()))))
        config = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": [f"{folder}/rules/*.yml"],
            "scrape_configs": [
                {"job_name": job, "static_configs": [{"targets": found}]} for job, found in targets.items()
            ],
        }
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))

    def __enter__(self) -> Self:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        arguments = (f"--config.file={self._folder}/prometheus.yml", f"--storage.tsdb.path={self._folder}/data")
        self._log = (self._folder / "log").open("wb")
        command = ["prometheus", *arguments, f"--web.listen-address={self.address}"]
        self._process = subprocess.Popen(command, stdout=self._log, stderr=self._log)
        self.http = httpx.Client(base_url=f"http://{self.address}", timeout=30, trust_env=False)
        wait_until(self._is_ready)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.http.close()
        self._process.terminate()
        self._process.wait()
        self._log.close()

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://{self.address}"

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The result of an instant query; an error of Prometheus fails the test."""
        answer = self.http.get("/api/v1/query", params={"query": expression}).json()
        assert answer["status"] == "success", (expression, answer)
        found: list[dict[str, Any]] = answer["data"]["result"]
        return found

    def values(self, expression: str, *labels: str) -> dict[tuple[str, ...], float]:
        """The values of a query by these labels."""
        return {
            tuple(sample["metric"].get(label, "") for label in labels): float(sample["value"][1])
            for sample in self.query(expression)
        }

    def firing(self) -> set[str]:
        """The names of the alerts that fire."""
        return {name for (name,) in self.values('group by (alertname) (ALERTS{alertstate="firing"})', "alertname")}

    def _is_ready(self) -> bool:
        assert self._process.poll() is None, (self._folder / "log").read_text()
        try:
            return self.http.get("/-/ready").status_code == 200
        except httpx.HTTPError:
            return False


def _at_once(rules: dict[str, Any]) -> dict[str, Any]:
    for group in rules["groups"]:
        group["interval"] = "1s"
        for rule in group["rules"]:
            rule.pop("for", None)
            rule.pop("keep_firing_for", None)
    return rules
