"""The peers' figures as README.md quotes them, losses too: `python -m benchmarks.peers.table` writes table and figure.

A test fails when README.md and benchmarks/results/peers.json disagree.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.measure import RESULTS
from benchmarks.peers.catalogue import OURS, OURS_BY_PROCESSES, OWN, PEERS, ROOT

README = ROOT / "README.md"
FIGURE = ROOT / "docs" / "peers.svg"
BEGIN, END = "<!-- peers: written by benchmarks/peers/table.py -->", "<!-- peers: end -->"
CLIENTS = ("clients 1", "clients 8", "clients 64")


def read() -> dict[str, Any]:
    """The recorded figures with machine and commit."""
    found: dict[str, Any] = json.loads((RESULTS / "peers.json").read_text(encoding="utf-8"))
    return found


def table(recorded: dict[str, Any]) -> str:
    """The block of README.md."""
    figures, machine = recorded["figures"], recorded["machine"]
    servers: dict[str, Any] = figures["servers"]
    labels = {peer.name: peer.label for peer in PEERS}
    sizes = [size for size in ("480x272", "1280x720") if size in servers[OURS]]
    heads = [f"{size}, {key.removeprefix('clients ')}" for size in sizes for key in CLIENTS]
    heads += ["p99 at 80 %, ms", "kept at 3x load", "CPU a response, ms", "start, s", "idle, MB"]
    lines = [f"| responses a second | {' | '.join(heads)} |", f"|---|{'---|' * len(heads)}"]
    for name, one in servers.items():
        cells = [f"{one[size][key]['per_s']:.1f}" for size in sizes for key in CLIENTS]
        cells += [f"{one['open']['p99_ms']:.0f}", f"{one['overload']['kept']:.2f}"]
        cells += [f"{one[sizes[0]]['clients 8']['cpu_ms']:.1f}", f"{one['start_s']:.1f}", f"{one['idle_mb']:.0f}"]
        label = f"**{labels[name]}**" if name in OWN else labels[name]
        lines.append(f"| {label} | {' | '.join(cells)} |")
    said, by_processes = (_said(figures.get(f"{own}_over_the_best_peer", {})) for own in ("ours", "ours_by_processes"))
    absent = [label for name, label in labels.items() if name not in servers]
    loads = [load for one in servers.values() for load in one["load_average"]]
    words = (
        f"The same photo's work (model {figures['model']}) behind each server, by number of clients, "
        f"{machine['cores']} cores, {machine['processor']}, commit {recorded['commit']}; {figures['turns']} or "
        f"more turns of {figures['seconds']:g} s each, medians. Ours over the best of the others: {said}; by processes "
        f"(`--workers`): {by_processes or 'not measured'}. The load average at the end of a turn, load generator "
        f"included, was {min(loads):.0f} to {max(loads):.0f}: the further above the cores, the "
        "rougher the rates, by other work; the processor time of a response is the steadier figure. All do this "
        "project's own work on the photo, so that only the servers differ: where every core is busy nobody can be far "
        "ahead, and one photo at a time shows who gives it the idle cores."
        + (f" Not measured in this run: {', '.join(absent)}." if absent else "")
        + "".join(f" {remark}" for remark in figures.get("remarks", ()))
    )
    return "\n".join((BEGIN, "", *lines, "", words, "", END))


def _said(ratios: dict[str, float]) -> str:
    return ", ".join(f"{ratio:.2f} ({load.replace('clients ', '')})" for load, ratio in ratios.items())


def replaced(text: str, block: str) -> str:
    """`text` with what stands between the marks replaced by `block`."""
    before, _, rest = text.partition(BEGIN)
    return before + block + rest.partition(END)[2]


def draw(recorded: dict[str, Any], path: Path) -> None:
    """A figure of responses a second, by clients and size."""
    import matplotlib as mpl  # noqa: PLC0415 (a second to import, and only the figure needs it)

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "peers"
    from matplotlib import pyplot as plt  # noqa: PLC0415

    servers: dict[str, Any] = recorded["figures"]["servers"]
    labels = {peer.name: peer.label for peer in PEERS}
    sizes = [size for size in ("480x272", "1280x720") if size in servers[OURS]]
    figure, panels = plt.subplots(1, len(sizes), figsize=(9, 3.2), squeeze=False)
    for panel, size in zip(panels[0], sizes, strict=True):
        for index, (name, one) in enumerate(servers.items()):
            rates = [one[size][key]["per_s"] for key in CLIENTS]
            places = [place + (index - len(servers) / 2) * 0.11 for place in range(len(CLIENTS))]
            panel.bar(
                places,
                rates,
                0.1,
                label=labels[name],
                color={OURS: "black", OURS_BY_PROCESSES: "dimgrey"}.get(name, f"C{index}"),
            )
        panel.set_title(size)
        panel.set_xticks(range(len(CLIENTS)), [key.removeprefix("clients ") for key in CLIENTS])
        panel.set_xlabel("clients")
    panels[0][0].set_ylabel("answers a second")
    figure.legend(*panels[0][0].get_legend_handles_labels(), loc="outside right center", fontsize=7)
    figure.tight_layout(rect=(0, 0, 0.83, 1))
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def main() -> None:
    """Write the table into README.md and the figure beside the documents."""
    recorded = read()
    README.write_text(replaced(README.read_text(encoding="utf-8"), table(recorded)), encoding="utf-8")
    draw(recorded, FIGURE)
    print(table(recorded))


if __name__ == "__main__":
    main()
