"""The work pool's promises that no request shows."""

from __future__ import annotations

import asyncio
import threading

import pytest

from service.api.limits.worker_pool import WorkerLimits, WorkerPool
from tests.clock import joined_without_waiting

PATIENCE_S = 20.0


def test_closing_waits_for_all_threads_together_no_longer_than_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = WorkerPool(WorkerLimits(threads=8, capacity=8, deadline_s=PATIENCE_S))
    pool.start()
    go = threading.Event()

    async def close_while_busy() -> list[float]:
        jobs = [asyncio.create_task(pool.run(lambda *_: go.wait(PATIENCE_S), asyncio.Event().wait)) for _ in range(8)]
        while pool.busy < 8 or pool.depth:
            await asyncio.sleep(0.01)
        with monkeypatch.context() as patched:
            waited = joined_without_waiting(patched)
            pool.close(0.4)
        go.set()
        assert await asyncio.gather(*jobs) == [True] * 8
        return waited

    assert asyncio.run(close_while_busy()) == pytest.approx([0.4] + [0.0] * 7)


def test_no_thread_runs_before_the_pool_is_started_and_closing_needs_none() -> None:
    before = threading.active_count()
    pool = WorkerPool(WorkerLimits(threads=2, capacity=2, deadline_s=PATIENCE_S))
    assert threading.active_count() == before
    pool.close()
