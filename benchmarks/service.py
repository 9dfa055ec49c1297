"""What does HTTP cost over the bare pipeline, what does size cost, and what becomes of the service under load?

`python -m benchmarks.service [--part latency|saturation|sizes|batches|overload|crowd ...] [--model REFERENCE]`

The bare pipeline is `Enhancer.enhance` on the same bytes in this process, with the same engine options. Ratios are
taken turn by turn, since a busy machine slows both alike. The load generator is a process of its own on the same cores
and is paid for by the service; its cost is why saturation is compared to the bare loop with `--clients` low.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path

import cv2
import httpx
import numpy as np

from benchmarks.load import Client, post
from benchmarks.measure import ratio, record, take_turns, timing
from service.composition import engine_loader, engine_options, model_store
from service.engine.engine import Engine, EngineOptions
from service.engine.threads import usable_cores
from service.pipeline import EnhanceDefaults, Enhancer
from service.serving.model_pool import ModelPool
from service.settings import Settings, read_settings, warm_sizes

SAMPLES = Path(__file__).resolve().parent.parent / "docs" / "samples"
SIZES = {
    "480x272": (480, 272),
    "960x544": (960, 544),
    "1280x720": (1280, 720),
    "1920x1080": (1920, 1080),
    "12 MP": (4000, 3000),
}
"""Smallest first: the memory that each needs is the most so far."""

CROWD = 64


def photo(width: int, height: int) -> bytes:
    """A JPEG of a drawn throat at this size."""
    found = sorted(SAMPLES.glob("*.jpg"))
    image = cv2.imread(str(found[0])) if found else np.random.default_rng(0).integers(0, 255, (34, 60, 3), np.uint8)
    resized = cv2.resize(np.asarray(image), (width, height), interpolation=cv2.INTER_CUBIC)
    return bytes(cv2.imencode(".jpg", resized, [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes())


class Running:
    """`lamegan serve` in a process of its own."""

    def __init__(self, url: str, process: subprocess.Popen[bytes]) -> None:
        self.url = url
        self._status = Path(f"/proc/{process.pid}/status")

    def cpu_s(self) -> float:
        """Processor seconds used so far: what a busy neighbour cannot inflate."""
        fields = self._status.with_name("stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory_mb(self, field: str = "VmRSS") -> float:
        """Resident memory now, or its peak (VmHWM)."""
        match = re.search(rf"^{field}:\s+(\d+) kB$", self._status.read_text(), re.MULTILINE)
        return int(match[1]) / 1000 if match else float("nan")


@contextmanager
def serving(settings: Settings) -> Iterator[Running]:
    """The service with these settings, ready."""
    names = {"model": settings.model, "models_dir": settings.models_dir, "port": 0, "log_level": "info"}
    environment = {**os.environ, **{f"LAMEGAN_{name.upper()}": str(value) for name, value in names.items()}}
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "service.commands.main", "serve"], env=environment, stderr=log, stdout=log
        )
        try:
            url = _wait_for(lambda: _listening_at(log, process))
            _wait_for(lambda: _ready(url))
            yield Running(url, process)
        finally:
            process.terminate()
            process.wait(60)


def _wait_for(found: Callable[[], str | None]) -> str:
    for _ in range(1200):
        if (answer := found()) is not None:
            return answer
        time.sleep(0.1)
    raise SystemExit("The service did not start.")


def _listening_at(log: object, process: subprocess.Popen[bytes]) -> str | None:
    text = Path(f"/proc/self/fd/{log.fileno()}").read_text()  # type: ignore[attr-defined]
    if process.poll() is not None:
        raise SystemExit(text)
    match = re.search(r'"url": "([^"]+)"', text)
    return match[1] if match else None


def _ready(url: str) -> str | None:
    try:
        return url if httpx.get(f"{url}/health/ready", timeout=5, trust_env=False).status_code == 200 else None
    except httpx.TransportError:
        return None


@contextmanager
def bare(settings: Settings) -> Iterator[Enhancer]:
    """The pipeline without HTTP, as the service puts it together."""
    store, precision_of = model_store(settings), engine_options(settings).precision_of
    model_pool = ModelPool(store, settings.model, engine_loader(settings), warm_sizes(settings), precision_of)
    model_pool.reload()
    try:
        yield Enhancer(model_pool, EnhanceDefaults())
    finally:
        model_pool.close()


def latency(settings: Settings, turns: int) -> dict[str, object]:
    """One request at a time: HTTP over bare, 480x272."""
    body = photo(*SIZES["480x272"])
    with serving(settings) as service, bare(settings) as enhancer:
        client = Client(*post(service.url, body))
        seconds = take_turns(
            {"bare": lambda: enhancer.enhance(body), "http": client.ask}, turns=turns, calls=10, warm_up=5
        )
        cpu_ms = {"bare": _cpu_ms(time.process_time, lambda: enhancer.enhance(body))}
        client.close()  # idle since, and perhaps closed by the service
        cpu_ms["http"] = _cpu_ms(service.cpu_s, client.ask)
        client.close()
    over = ratio(seconds["http"], seconds["bare"])
    return {
        "bare": asdict(timing(seconds["bare"])),
        "http": asdict(timing(seconds["http"])),
        "over": asdict(over),
        "cpu_ms_a_request": cpu_ms,
        "cpu_over": round(cpu_ms["http"] / cpu_ms["bare"], 3),
    }


def _cpu_ms(clock: Callable[[], float], call: Callable[[], object], calls: int = 40) -> float:
    """Processor milliseconds of one call."""
    start = clock()
    for _ in range(calls):
        call()
    return round(1000 * (clock() - start) / calls, 2)


def saturation(settings: Settings, turns: int, seconds: float = 4.0) -> dict[str, object]:
    """As much as it can do: requests a second over HTTP against the bare loop on as many threads as there are cores."""
    body = photo(*SIZES["480x272"])
    shares, rates = [], []
    with serving(settings) as service, bare(settings) as enhancer, tempfile.NamedTemporaryFile(suffix=".jpg") as file:
        Path(file.name).write_bytes(body)
        for _ in range(max(3, turns // 5)):
            bare_cpu, http_cpu = time.process_time(), service.cpu_s()
            alone = _bare_rate(enhancer, body, seconds)
            bare_cpu = (time.process_time() - bare_cpu) / (alone * seconds)
            found = _generate(service.url, file.name, seconds, clients=usable_cores() + 2)
            http = float(str(found["done_per_s"]))
            http_cpu = (service.cpu_s() - http_cpu) / (http * seconds)
            rates.append(
                {"bare_per_s": round(alone, 2), "http_per_s": http, "cpu_share": round(bare_cpu / http_cpu, 3)}
            )
            shares.append(http / alone)
    shares.sort()
    return {"turns": rates, "http_share_median": round(shares[len(shares) // 2], 3)}


def _bare_rate(enhancer: Enhancer, body: bytes, seconds: float) -> float:
    counts = [0] * usable_cores()
    end = time.monotonic() + seconds

    def run(index: int) -> None:
        while time.monotonic() < end:
            enhancer.enhance(body)
            counts[index] += 1

    threads = [threading.Thread(target=run, args=(index,)) for index in range(len(counts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / seconds


def _generate(url: str, file: str, seconds: float, clients: int, rate: float | None = None) -> dict[str, object]:
    command = [sys.executable, "-m", "benchmarks.load", url, file, "--seconds", str(seconds), "--clients", str(clients)]
    done = subprocess.run(
        [*command, *(["--rate", str(rate)] if rate else [])], capture_output=True, text=True, check=True
    )
    found: dict[str, object] = json.loads(done.stdout)
    return found


def sizes(settings: Settings, turns: int) -> dict[str, object]:
    """Larger photos over HTTP, one at a time, against 480x272; and what memory they take."""
    figures: dict[str, object] = {"model": settings.model}
    with serving(settings) as service:
        figures["idle_mb"] = round(service.memory_mb())
        clients = {name: Client(*post(service.url, photo(*size))) for name, size in SIZES.items()}
        cpu_ms, peak_mb = {}, {}
        for name, client in clients.items():
            client.ask()
            cpu_ms[name] = _cpu_ms(service.cpu_s, client.ask, calls=10)
            peak_mb[name] = round(service.memory_mb("VmHWM"))
        seconds = take_turns({name: client.ask for name, client in clients.items()}, turns=turns, calls=2, warm_up=2)
        for name in clients:
            figures[name] = asdict(timing(seconds[name]))
            figures[f"{name} over 480x272"] = asdict(ratio(seconds[name], seconds["480x272"]))
        figures["cpu_ms_a_request"], figures["peak_mb_so_far"] = cpu_ms, peak_mb
        figures["cpu_over_480x272"] = {name: round(spent / cpu_ms["480x272"], 2) for name, spent in cpu_ms.items()}
        for client in clients.values():
            client.close()
        figures["peak_mb"] = round(service.memory_mb("VmHWM"))
        figures["after_mb"] = round(service.memory_mb())
    return figures


def batches(settings: Settings, turns: int) -> dict[str, object]:
    """Does a batch help on this machine? Seconds an image of one run of 1, 2 and 4 images, by inference threads."""
    store = model_store(settings)
    weights = store.weights(store.card(store.resolve(settings.model)))
    figures: dict[str, object] = {}
    for threads in sorted({1, usable_cores()}):
        engine = Engine(weights, EngineOptions(device="cpu", threads=threads))
        images = {n: np.random.default_rng(0).integers(0, 256, (n, 272, 480, 3), dtype=np.uint8) for n in (1, 2, 4)}
        runs = {str(n): partial(engine.run, batch) for n, batch in images.items()}
        seconds = take_turns(runs, turns=turns, calls=3)
        alone = {n: [s / int(n) for s in taken] for n, taken in seconds.items()}
        figures[f"{threads} threads"] = {
            "ms_an_image": {n: round(1000 * timing(taken).median_s, 2) for n, taken in alone.items()},
            "4 over 1": asdict(ratio(alone["4"], alone["1"])),
        }
        engine.close()
    return figures


def overload(settings: Settings, _turns: int, seconds: float = 60.0) -> dict[str, object]:
    """Ten times the load it can do, for a minute: refusals and their waits, the work still done, memory."""
    body = photo(*SIZES["480x272"])
    with serving(settings) as service, tempfile.NamedTemporaryFile(suffix=".jpg") as file:
        Path(file.name).write_bytes(body)
        before = _generate(service.url, file.name, 10, clients=usable_cores() + 2)
        idle = service.memory_mb()
        rate = 10 * float(str(before["done_per_s"]))
        under = _generate(service.url, file.name, seconds, clients=settings.queue_capacity + 40, rate=rate)
        middle = service.memory_mb()
        after = _generate(service.url, file.name, 10, clients=usable_cores() + 2)
        saturated = (float(str(before["done_per_s"])) + float(str(after["done_per_s"]))) / 2
        return {
            "saturated_before": before,
            "overload": under,
            "saturated_after": after,
            "rate_asked_per_s": round(rate, 1),
            "throughput_kept": round(float(str(under["done_per_s"])) / saturated, 3),
            "memory_mb": {
                "before": round(idle),
                "at_the_end": round(middle),
                "peak": round(service.memory_mb("VmHWM")),
            },
        }


def crowd(settings: Settings, _turns: int, seconds: float = 30.0) -> dict[str, object]:
    """Photos of 12 megapixels from 64 clients at once: the most memory, and memory when they are gone."""
    with serving(settings) as service, tempfile.NamedTemporaryFile(suffix=".jpg") as file:
        Path(file.name).write_bytes(photo(*SIZES["12 MP"]))
        idle = service.memory_mb()
        found = _generate(service.url, file.name, seconds, clients=CROWD)
        return {
            "clients": CROWD,
            "load": found,
            "idle_mb": round(idle),
            "peak_mb": round(service.memory_mb("VmHWM")),
            "after_mb": round(service.memory_mb()),
        }


PARTS = {
    "latency": latency,
    "saturation": saturation,
    "sizes": sizes,
    "batches": batches,
    "overload": overload,
    "crowd": crowd,
}


def main() -> None:
    """Run the parts asked for, print and record their figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--part", action="append", choices=PARTS, help="all of them unless given")
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--model", default="lamegan-fast")
    parser.add_argument("--models-dir", type=Path, default=Path("models"))
    arguments = parser.parse_args()
    settings = read_settings(model=arguments.model, models_dir=arguments.models_dir)
    for name in arguments.part or PARTS:
        figures = PARTS[name](settings, arguments.turns)
        print(name, json.dumps(figures, indent=2))
        print(f"recorded in {record(f'service-{name}', figures)}")


if __name__ == "__main__":
    main()
