"""Series are bounded by what the service is, not by what clients send."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import httpx

from tests import models
from tests.live import LiveService, encoded, scene

PNG = encoded(scene(96, 72))
ODD_REQUESTS = 10_000
AT_ONCE = 16


def odd(kind: int, rng: random.Random) -> httpx.Request:
    """One of twelve kinds of odd request, its words drawn at random."""
    word = "x" + "".join(rng.choices("abcdefghijklmnopqrstuvwxyz0123456789-_.%", k=rng.randint(1, 24)))
    url = "http://service"
    made = (
        lambda: httpx.Request("GET", f"{url}/{word}"),
        lambda: httpx.Request("POST", f"{url}/enhance/{word}", content=b"x"),
        lambda: httpx.Request("GET", f"{url}/page/{word}.js"),
        lambda: httpx.Request("GET", f"{url}/health/{word}"),
        lambda: httpx.Request("".join(rng.choices("ABCDEFGH", k=6)), f"{url}/enhance"),
        lambda: httpx.Request("".join(rng.choices("ABCDEFGH", k=6)), f"{url}/{word}"),
        lambda: httpx.Request("POST", f"{url}/enhance", params={"model": word}, content=PNG),
        lambda: httpx.Request("POST", f"{url}/enhance", params={word: word}, content=PNG),
        lambda: httpx.Request(
            "POST", f"{url}/enhance", content=word.encode(), headers={"content-type": f"image/{word}"}
        ),
        lambda: httpx.Request("POST", f"{url}/enhance", content=b"", headers={"x-request-id": word}),
        lambda: httpx.Request("GET", f"{url}/metrics", headers={"authorization": f"Bearer {word}", "host": word}),
        lambda: httpx.Request("DELETE", f"{url}/score?{word}"),
    )
    return made[kind % len(made)]()


def series(exposition: str) -> set[str]:
    """Every series, without its value."""
    return {line.rpartition(" ")[0] for line in exposition.splitlines() if not line.startswith("#")}


def test_ten_thousand_odd_requests_add_no_series(tmp_path: Path) -> None:
    models.install(tmp_path, models.identity())
    with LiveService(tmp_path, log_level="error") as live:
        rng = random.Random(0)

        async def send(count: int) -> None:
            transport = httpx.ASGITransport(live.service.app, raise_app_exceptions=False)
            slots = asyncio.Semaphore(AT_ONCE)

            async def one(kind: int) -> None:
                async with slots:
                    await transport.handle_async_request(odd(kind, rng))

            await asyncio.gather(*(one(kind) for kind in range(count)))

        asyncio.run(send(240))
        before = series(live.http.get("/metrics").text)
        asyncio.run(send(ODD_REQUESTS))
        assert series(live.http.get("/metrics").text) == before
        assert len(before) < 700
