"""`lamegan serve` in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.live import PATIENCE_S, wait_until


class Command:
    """`lamegan serve` in a process of its own."""

    def __init__(self, models_dir: Path, log: Path, **environment: str) -> None:
        self._log = log
        settings = {"LAMEGAN_MODELS_DIR": str(models_dir), "LAMEGAN_PORT": "0", "LAMEGAN_MODEL": "tiny"}
        with log.open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "service.commands.main", "serve"],
                env={**os.environ, **settings, "LAMEGAN_DEVICE": "cpu", "LAMEGAN_WARM_SHAPES": "64x64", **environment},
                stderr=errors,
                stdout=subprocess.DEVNULL,
            )

    def events(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self._log.read_text().splitlines() if line.startswith("{")]

    def url(self) -> str:
        wait_until(lambda: self.process.poll() is not None or "listening" in self._log.read_text())
        (event,) = [event for event in self.events() if event["event"] == "listening"]
        return str(event["url"])

    def ready_url(self) -> str:
        url = self.url()
        wait_until(lambda: httpx.get(f"{url}/health/ready", trust_env=False).status_code == 200)
        return url


@contextmanager
def command(models_dir: Path, log: Path, **environment: str) -> Iterator[Command]:
    running = Command(models_dir, log, **environment)
    try:
        yield running
    finally:
        running.process.kill()
        running.process.wait(PATIENCE_S)
