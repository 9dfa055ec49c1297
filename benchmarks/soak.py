"""A soak: the shipped model at 80 % load, 1 % broken files, a reload a minute; are memory, handles and threads flat?

    python -m benchmarks.soak [--minutes 20]

The load is paced at 80 % of what four clients got at full speed in the warm-up of a minute. Growth is the median of
the last quarter over that of the first after the warm-up.
"""

from __future__ import annotations

import argparse
import itertools
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import httpx
import psutil

from benchmarks.measure import record

ROOT = Path(__file__).resolve().parent.parent
CLIENTS = 4
WARM_UP_S, LOOK_EVERY_S, RELOAD_EVERY_S = 60, 5, 60
PHOTO = (ROOT / "docs" / "samples" / "sample.jpg").read_bytes()
BROKEN = PHOTO[: len(PHOTO) // 3]


class Load:
    """Clients that post photos, paced once `per_s` is set; every hundredth is broken."""

    def __init__(self, url: str) -> None:
        self.statuses: dict[int, int] = {}
        self.per_s: float | None = None
        self._url, self._stop, self._lock = url, threading.Event(), threading.Lock()
        self._numbers = itertools.count()
        self._threads = [threading.Thread(target=self._send) for _ in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End every client."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _send(self) -> None:
        with httpx.Client(base_url=self._url, timeout=60, trust_env=False) as client:
            while not self._stop.is_set():
                began, body = time.monotonic(), BROKEN if next(self._numbers) % 100 == 99 else PHOTO
                status = client.post("/enhance", content=body).status_code
                with self._lock:
                    self.statuses[status] = self.statuses.get(status, 0) + 1
                if self.per_s:
                    self._stop.wait(max(0.0, CLIENTS / self.per_s - (time.monotonic() - began)))


def soak(url: str, process: psutil.Process, minutes: float) -> dict[str, object]:
    """The figures of one soak of the service in `process`."""
    load = Load(url)
    time.sleep(WARM_UP_S)
    load.per_s = 0.8 * load.statuses.get(200, 0) / WARM_UP_S
    looks: dict[str, list[float]] = {"rss_mb": [], "handles": [], "threads": []}
    end, reload_at, reloads = time.monotonic() + minutes * 60, time.monotonic(), 0
    while time.monotonic() < end:
        if time.monotonic() >= reload_at:
            os.kill(process.pid, signal.SIGHUP)
            reload_at, reloads = time.monotonic() + RELOAD_EVERY_S, reloads + 1
        time.sleep(LOOK_EVERY_S)
        looks["rss_mb"].append(process.memory_info().rss / 2**20)
        looks["handles"].append(process.num_fds())
        looks["threads"].append(process.num_threads())
    load.stop()
    quarter = max(1, len(looks["rss_mb"]) // 4)
    growth = {}
    for name, found in looks.items():
        first, last = statistics.median(found[:quarter]), statistics.median(found[-quarter:])
        growth[name] = {"first_quarter": first, "last_quarter": last, "growth": last / first - 1}
    return {"minutes": minutes, "photos_per_s": load.per_s, "statuses": load.statuses, "reloads": reloads, **growth}


def main() -> None:
    """Start a service, soak it, stop it with SIGTERM, and record the figures."""
    parser = argparse.ArgumentParser(description="Soak a service.")
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--port", type=int, default=8123)
    chosen = parser.parse_args()
    url = f"http://127.0.0.1:{chosen.port}"
    command = [str(Path(sys.executable).with_name("lamegan")), "serve", "--port", str(chosen.port)]
    with tempfile.TemporaryFile() as log, subprocess.Popen(command, cwd=ROOT, stderr=log) as service:
        while httpx.get(f"{url}/health/ready", trust_env=False).status_code != 200 if _answers(url) else True:
            time.sleep(0.2)
        figures = soak(url, psutil.Process(service.pid), chosen.minutes)
        service.send_signal(signal.SIGTERM)
        figures["exit_code"] = service.wait(60)
    print(figures)
    record("soak", figures)


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health/live", trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


if __name__ == "__main__":
    main()
