"""The work pool's promises that no request shows."""

from __future__ import annotations

import asyncio
import threading
import time

from service.api.limits.worker_pool import WorkerLimits, WorkerPool

PATIENCE_S = 20.0


def test_closing_waits_for_all_threads_together_no_longer_than_it_is_told() -> None:
    pool = WorkerPool(WorkerLimits(threads=8, capacity=8, deadline_s=PATIENCE_S))
    go = threading.Event()

    async def close_while_busy() -> float:
        jobs = [asyncio.create_task(pool.run(lambda *_: go.wait(PATIENCE_S), asyncio.Event().wait)) for _ in range(8)]
        while pool.busy < 8 or pool.depth:
            await asyncio.sleep(0.01)
        started = time.monotonic()
        await asyncio.to_thread(pool.close, 0.4)
        took = time.monotonic() - started
        go.set()
        assert await asyncio.gather(*jobs) == [True] * 8
        return took

    assert asyncio.run(close_while_busy()) < 2
