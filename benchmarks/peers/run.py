"""How much of the same work does each server get through, and how long does a request wait?

    benchmarks/peers/make-environments /tmp/peers
    python -m benchmarks.peers.run --environments /tmp/peers [--peer NAME ...] [--turns 3] [--seconds 3] [--no-record]
        [--kept FILE]    turns done before are read from FILE and these put with them: a run in several parts

Each server does the very same work (`benchmarks.peers.work`), started with its own advice on the same cores, one at a
time, in turns; the order is turned by one place each time. A turn: start to first response, whose pixels must be ours;
closed loops of 1, 8 and 64 clients at each size; at 480x272 then an open loop at 80 % of what it reached, with waits
counted from when each request was due, and an overload of three times that. Medians over the turns; every wait is kept
in benchmarks/results/peers-waits.json. Beside each rate stands the processor time that a server's processes spent on an
answer, which other work on the machine distorts far less than the rate.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.load import Client, post
from benchmarks.measure import RESULTS, record
from benchmarks.peers.catalogue import OURS, OURS_BY_PROCESSES, OWN, PEERS, ROOT, Peer
from benchmarks.peers.running import Running, running
from benchmarks.service import photo
from service.engine.threads import usable_cores

SIZES = {"480x272": (480, 272), "1280x720": (1280, 720)}
CLIENTS = (1, 8, 64)
OPEN_CLIENTS = 64
OVERLOAD_CLIENTS = 192
OVERLOAD = 3.0
SHARE = 0.8
DEADLINE_S = 10.0
"""A response later than this is not counted as done under overload: nobody waits for it any more."""

Figures = dict[str, Any]


def turn(peer: Peer, python: Path, seconds: float, model: str, sizes: list[str]) -> Figures:
    """One turn of one server."""
    photos = {name: photo(*SIZES[name]) for name in sizes}
    with running(peer, python, photos[sizes[0]], cores=usable_cores(), model=model) as server:
        found: Figures = {"start_s": round(server.start_s, 2), "idle_mb": round(server.memory_mb())}
        found["first"] = server.first
        for size, body in photos.items():
            loaded(peer, server, body, seconds=min(1.0, seconds), clients=8)  # a warm-up
            found[size] = {
                f"clients {clients}": loaded(peer, server, body, seconds=seconds, clients=clients)
                for clients in CLIENTS
            }
        found["busy_mb"] = round(server.memory_mb())
        reached = max(float(one["done_per_s"]) for one in found[sizes[0]].values())
        body = photos[sizes[0]]
        found["open"] = loaded(
            peer, server, body, seconds=2 * seconds, clients=OPEN_CLIENTS, rate=max(1.0, SHARE * reached)
        )
        found["overload"] = loaded(
            peer, server, body, seconds=2 * seconds, clients=OVERLOAD_CLIENTS, rate=OVERLOAD * reached
        )
        found["load_average"] = round(os.getloadavg()[0], 2)
    return found


def loaded(
    peer: Peer, server: Running, body: bytes, *, seconds: float, clients: int, rate: float | None = None
) -> Figures:
    """What the load generator, a process of its own, counted."""
    with tempfile.NamedTemporaryFile(suffix=".request") as file:
        Path(file.name).write_bytes(peer.request(server.url, body))
        command = [sys.executable, "-m", "benchmarks.load", server.url, file.name, "--request", file.name, "--waits"]
        command += ["--seconds", str(seconds), "--clients", str(clients)]
        command += ["--rate", str(rate)] if rate else []
        before = server.cpu_s()
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
        spent = server.cpu_s() - before
    found: Figures = json.loads(done.stdout)
    answered = found["by_status"].get("200", {"count": 0})["count"]
    found["cpu_ms"] = round(1000 * spent / max(1, answered), 2)
    return found


def answers(peer: Peer, url: str, bodies: list[bytes]) -> list[bytes]:
    """Its responses to some photos."""
    found = []
    for body in bodies:
        client = Client(post(url, body)[0], peer.request(url, body))
        found.append(peer.answer(client.ask()[1]))
        client.close()
    return found


def figures_of(turns: dict[str, list[Figures]], sizes: list[str]) -> Figures:
    """Medians over the turns, server by server, and ours over the best of the others."""
    table = {name: _medians(found, sizes) for name, found in turns.items()}
    result: Figures = {"servers": table}
    others = [one for name, one in table.items() if name not in OWN]
    for own, key in ((OURS, "ours"), (OURS_BY_PROCESSES, "ours_by_processes")):
        if own in table and others:
            rates = {load: max(one["per_s"] for one in found) for load, found in _by_load(others, sizes).items()}
            costs = {load: min(one["cpu_ms"] for one in found) for load, found in _by_load(others, sizes).items()}
            mine = {load: found[0] for load, found in _by_load([table[own]], sizes).items()}
            result[f"{key}_over_the_best_peer"] = {load: round(mine[load]["per_s"] / rates[load], 3) for load in mine}
            result[f"{key.replace('ours', 'ours_processor', 1)}_over_the_best_peer"] = {
                load: round(mine[load]["cpu_ms"] / costs[load], 3) for load in mine
            }
    return result


def _by_load(servers: list[Figures], sizes: list[str]) -> dict[str, list[Figures]]:
    return {f"{size}, {key}": [one[size][key] for one in servers] for size in sizes for key in servers[0][size]}


def _medians(turns: list[Figures], sizes: list[str]) -> Figures:
    middle = statistics.median
    found: Figures = {key: middle(one[key] for one in turns) for key in ("start_s", "idle_mb", "busy_mb")}
    for size in sizes:
        found[size] = {key: _summary([one[size][key] for one in turns]) for key in turns[0][size]}
    found["open"] = _summary([one["open"] for one in turns])
    over = [one["overload"] for one in turns]
    best = [max(float(run["done_per_s"]) for run in one[sizes[0]].values()) for one in turns]
    kept = [_in_time(one) / reached for one, reached in zip(over, best, strict=True)]
    found["overload"] = {
        **_summary(over),
        "goodput_per_s": round(middle(_in_time(one) for one in over), 2),
        "kept": round(middle(kept), 3),
        "refused": sum(sum(v["count"] for s, v in one["by_status"].items() if s in ("429", "503")) for one in over),
    }
    found["load_average"] = [one["load_average"] for one in turns]
    return found


def _summary(runs: list[Figures]) -> Figures:
    done = [run["by_status"].get("200", {"p50_ms": float("nan"), "p99_ms": float("nan")}) for run in runs]
    other = {"200", "429", "503"}
    return {
        "per_s": round(statistics.median(float(run["done_per_s"]) for run in runs), 2),
        "turns_per_s": [run["done_per_s"] for run in runs],
        "cpu_ms": round(statistics.median(run["cpu_ms"] for run in runs), 1),
        "p50_ms": round(statistics.median(one["p50_ms"] for one in done), 1),
        "p99_ms": round(statistics.median(one["p99_ms"] for one in done), 1),
        "errors": sum(
            run["broken"] + sum(v["count"] for status, v in run["by_status"].items() if status not in other)
            for run in runs
        ),
    }


def _in_time(run: Figures) -> float:
    """Responses a second that came before anybody had given up."""
    waits = run["waits_ms"].get("200", [])
    return float(run["done_per_s"]) * sum(one <= 1000 * DEADLINE_S for one in waits) / max(1, len(waits))


def waits_of(turns: dict[str, list[Figures]], sizes: list[str]) -> Figures:
    """Every wait, by server, turn and load."""
    kept: Figures = {}
    for name, found in turns.items():
        kept[name] = [
            {
                **{f"{size}, {key}": run["waits_ms"] for size in sizes for key, run in one[size].items()},
                "open": one["open"]["waits_ms"],
                "overload": one["overload"]["waits_ms"],
            }
            for one in found
        ]
    return kept


def measure(
    peers: list[tuple[Peer, Path]], kept: Kept, *, turns: int, seconds: float, model: str, sizes: list[str]
) -> None:
    """Put every turn of every server with those that are kept.

    Raises:
        SystemExit: a server's response is not the others'.
    """
    for index in range(turns):
        for peer, python in peers[index % len(peers) :] + peers[: index % len(peers)]:
            one = turn(peer, python, seconds, model, sizes)
            kept.add(peer, hashlib.sha256(one.pop("first")).hexdigest(), one)
            rates = {size: [(run["done_per_s"], run["cpu_ms"]) for run in one[size].values()] for size in sizes}
            print(index, peer.name, rates, "overload", one["overload"]["done_per_s"], flush=True)


class Kept:
    """The turns done so far, in a file, if one is given, so that a long run can be done in parts."""

    def __init__(self, file: Path | None) -> None:
        """Read what `file` holds."""
        self._file = file
        found: Figures = json.loads(file.read_bytes()) if file and file.exists() else {"first": None, "turns": {}}
        self._first: str | None = found["first"]
        self.turns: dict[str, list[Figures]] = found["turns"]

    def add(self, peer: Peer, first: str, turn: Figures) -> None:
        """Keep a turn, of a server whose first response has the digest `first`.

        Raises:
            SystemExit: the others' had another.
        """
        if first != (self._first or first):
            raise SystemExit(f"{peer.label} answers other pixels than the others.")
        self._first = first
        self.turns.setdefault(peer.name, []).append(turn)
        if self._file is not None:
            self._file.write_text(json.dumps({"first": first, "turns": self.turns}))


def main() -> None:
    """Measure, print and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--environments", type=Path, help="folder that make-environments filled")
    parser.add_argument("--peer", action="append", choices=[peer.name for peer in PEERS], help="all unless given")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--model", default="lamegan-fast")
    parser.add_argument("--size", action="append", choices=SIZES, help="all unless given")
    parser.add_argument("--kept", type=Path, help="file of turns done before, to which these are added")
    parser.add_argument("--no-record", action="store_true")
    given = parser.parse_args()
    chosen = [peer for peer in PEERS if not given.peer or peer.name in given.peer]
    pythons = [(peer, peer.python(given.environments)) for peer in chosen]
    for peer, python in pythons:
        if python is None:
            print(f"{peer.label} is left out: it has no environment; see make-environments.")
    sizes = given.size or list(SIZES)
    at_hand = [(peer, python) for peer, python in pythons if python is not None]
    kept = Kept(given.kept)
    measure(at_hand, kept, turns=given.turns, seconds=given.seconds, model=given.model, sizes=sizes)
    turns = {peer.name: kept.turns[peer.name] for peer in PEERS if peer.name in kept.turns}
    figures = {
        "model": given.model,
        "seconds": given.seconds,
        "turns": min(len(found) for found in turns.values()),
        "cores": usable_cores(),
        "niceness": os.nice(0),
        **figures_of(turns, sizes),
    }
    print(json.dumps(figures, indent=2))
    if not given.no_record:
        print(f"recorded in {record('peers', figures)}")
        (RESULTS / "peers-waits.json").write_text(json.dumps(waits_of(turns, sizes), separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
