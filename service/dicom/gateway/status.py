"""What the gateway has done and still has to do: for people, for scripts, and as a page. Nothing personal is in it."""

from __future__ import annotations

import time
from dataclasses import asdict
from html import escape
from typing import Any

from service.dicom.gateway.rows import SpooledObject
from service.dicom.gateway.spool import Spool

SHOWN = 100
"""Objects listed at most."""

STYLE = b"""body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem}
table{border-collapse:collapse;margin:1rem 0;width:100%}
td,th{border-bottom:1px solid #bbb;padding:.3rem .6rem;text-align:left}
td{overflow-wrap:anywhere}"""


def status(spool: Spool) -> dict[str, Any]:
    """The state of the spool as a JSON-serialisable object."""
    now = time.time()
    return {
        "objects": {
            state: {"count": count, "oldest_s": round(max(0.0, now - since), 1) if count else None}
            for state, (count, since) in spool.counts().items()
        },
        "deliveries": [
            {"destination": destination, "state": state, "count": count, "retried": tried}
            for (destination, state), (count, tried) in sorted(spool.backlog().items())
        ],
        "faults": [
            {
                "place": one.place,
                "reason": one.reason,
                "count": one.count,
                "lasting": one.lasting,
                "first_s": round(max(0.0, now - one.first_at), 1),
                "last_s": round(max(0.0, now - one.last_at), 1),
            }
            for one in spool.faults()
        ],
        "spool": {"bytes_held": spool.bytes_held(), "bytes_free": spool.free_bytes()},
        "retried": [
            _facts(one, now) for one in spool.objects(("received", "enhanced"), SHOWN) if one.attempts or one.reason
        ],
        "dead": [_facts(one, now) for one in spool.objects(("dead",), SHOWN)],
        "kept": [_facts(one, now) for one in spool.objects(("kept",), SHOWN)],
    }


def _facts(one: SpooledObject, now: float) -> dict[str, Any]:
    facts = asdict(one)
    facts["age_s"] = round(max(0.0, now - facts.pop("received_at")), 1)
    return facts


def as_table(told: dict[str, Any]) -> str:
    """The status as text."""
    lines = [f"{'objects':12} {'count':>8}  oldest"]
    for state, facts in told["objects"].items():
        age = "" if facts["oldest_s"] is None else f"{facts['oldest_s']:.0f} s"
        lines.append(f"{state:12} {facts['count']:>8}  {age}")
    lines += ["", f"{'destination':20} {'state':10} {'count':>8} {'retried':>8}"]
    lines += [
        f"{one['destination']:20} {one['state']:10} {one['count']:>8} {one['retried']:>8}" for one in told["deliveries"]
    ]
    lines += ["", f"{'fault at':20} {'reason':24} {'count':>8}  last"]
    lines += [
        f"{one['place']:20} {one['reason']:24} {one['count']:>8}  "
        + ("goes on" if one["lasting"] else f"{one['last_s']:.0f} s ago")
        for one in told["faults"]
    ]
    for name in ("retried", "dead", "kept"):
        lines += [f"{name}: object {one['id']}  {one['reason']}  {one['source_uid']}" for one in told[name]]
    return "\n".join(lines)


def as_page(told: dict[str, Any]) -> bytes:
    """The status as an HTML page that loads nothing but its style."""
    objects = _rows(
        ("state", "count", "oldest, s"), [(s, f["count"], f["oldest_s"]) for s, f in told["objects"].items()]
    )
    columns = ("destination", "state", "count", "retried")
    deliveries = _rows(columns, [tuple(one[name] for name in columns) for one in told["deliveries"]])
    fault_columns = ("place", "reason", "count", "goes on", "last, s ago")
    fault_rows = [(f["place"], f["reason"], f["count"], f["lasting"], f["last_s"]) for f in told["faults"]]
    faults = f"<h2>Faults of the last day</h2>{_rows(fault_columns, fault_rows)}"
    listed = ("id", "reason", "attempts", "age_s", "source_uid")
    lists = "".join(
        f"<h2>{title}</h2>{_rows(listed, [tuple(one[name] for name in listed) for one in told[name]])}"
        for name, title in (("retried", "Being retried"), ("dead", "Dead letters"), ("kept", "Kept"))
    )
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>LaMEGAN gateway</title>'
        '<meta name="viewport" content="width=device-width"><link rel="stylesheet" href="gateway.css">'
        f"<h1>Gateway</h1><p>Research software.</p><h2>Objects</h2>{objects}"
        f"<h2>Deliveries</h2>{deliveries}{faults}{lists}"
    ).encode()


def _rows(columns: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape('' if value is None else str(value))}</td>" for value in row) + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
