"""Do threads follow a container's limit of processors, and what does a server do within it, beside plain FastAPI?

    python -m benchmarks.peers.limits --environments /tmp/peers [--limit 0.5 --limit 1] [--turns 3] [--no-record]

Each server is started in a control group of its own with that quota (as a container is; needs root), told as many cores
as the limit has begun ones, and loaded by 8 clients from outside the group, in turns. Beside the rate stand the threads
of its processes and how long the kernel stopped them because the quota was used up.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.measure import record
from benchmarks.peers.catalogue import OURS, OWN, PEERS, Peer
from benchmarks.peers.run import SIZES, loaded
from benchmarks.peers.running import running
from benchmarks.service import photo

PERIOD_US = 100_000
LIMITS = (0.5, 1.0, 2.0)
CLIENTS = 8
BESIDE = ("fastapi-threads", "fastapi-processes")


@contextmanager
def limited(cpus: float) -> Iterator[Path]:
    """A control group with a quota of `cpus` processors, v1 or v2.

    Raises:
        OSError: none can be made here.
    """
    version_2 = Path("/sys/fs/cgroup/cgroup.controllers").exists()
    group = Path("/sys/fs/cgroup" if version_2 else "/sys/fs/cgroup/cpu") / f"lamegan-limits-{os.getpid()}"
    group.mkdir()
    try:
        if version_2:
            (group / "cpu.max").write_text(f"{round(cpus * PERIOD_US)} {PERIOD_US}")
        else:
            (group / "cpu.cfs_period_us").write_text(str(PERIOD_US))
            (group / "cpu.cfs_quota_us").write_text(str(round(cpus * PERIOD_US)))
        yield group
    finally:
        group.rmdir()


def turn(peer: Peer, python: Path, cpus: float, seconds: float, model: str) -> dict[str, Any]:
    """One turn of one server within `cpus`."""
    sent = photo(*SIZES["480x272"])
    with limited(cpus) as group:
        join = ["sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh"]
        with running(peer, python, sent, cores=math.ceil(cpus), model=model, within=join) as server:
            loaded(peer, server, sent, seconds=min(1.0, seconds), clients=CLIENTS)
            before = _stopped_s(group)
            found = loaded(peer, server, sent, seconds=seconds, clients=CLIENTS)
            done = found["by_status"]["200"]
            facts = {"per_s": found["done_per_s"], "cpu_ms": found["cpu_ms"], "p50_ms": done["p50_ms"]}
            facts |= {"p99_ms": done["p99_ms"], "stopped_s": round(_stopped_s(group) - before, 2)}
            return facts | {"start_s": round(server.start_s, 2), "threads": server.threads()}


def _stopped_s(group: Path) -> float:
    """Seconds, summed over processors, for which the group's tasks had to wait for their next period."""
    facts = dict(line.split() for line in (group / "cpu.stat").read_text().splitlines())
    return int(facts["throttled_usec"]) / 1e6 if "throttled_usec" in facts else int(facts["throttled_time"]) / 1e9


def main() -> None:
    """Measure, print and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--environments", type=Path, help="folder that make-environments filled")
    parser.add_argument("--limit", action="append", type=float, help="processors; 0.5, 1 and 2 unless given")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--model", default="lamegan-fast")
    parser.add_argument("--no-record", action="store_true")
    given = parser.parse_args()
    pythons = [(peer, peer.python(given.environments)) for peer in PEERS if peer.name in (OURS, *BESIDE)]
    figures: dict[str, Any] = {"model": given.model, "clients": CLIENTS, "seconds": given.seconds, "turns": given.turns}
    for cpus in given.limit or LIMITS:
        turns: dict[str, list[dict[str, Any]]] = {}
        for index in range(given.turns):
            for peer, python in pythons[index % len(pythons) :] + pythons[: index % len(pythons)]:
                if python is not None:
                    turns.setdefault(peer.name, []).append(turn(peer, python, cpus, given.seconds, given.model))
                    print(cpus, index, peer.name, turns[peer.name][-1], flush=True)
        table = {name: _medians(found) for name, found in turns.items()}
        best = max((one["per_s"] for name, one in table.items() if name not in OWN), default=math.nan)
        figures[f"{cpus:g} processors"] = {**table, "ours_over_the_better": round(table[OURS]["per_s"] / best, 3)}
    print(json.dumps(figures, indent=2))
    if not given.no_record:
        print(f"recorded in {record('peers-limits', figures)}")


def _medians(turns: list[dict[str, Any]]) -> dict[str, Any]:
    return {key: statistics.median(one[key] for one in turns) for key in turns[0]}


if __name__ == "__main__":
    main()
