"""Plain FastAPI: the handler that anybody would write, on one process's threads or on one process a core.

Threads as many as cores, by Starlette's own limiter; more only take turns at the same cores.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from anyio import to_thread
from fastapi import FastAPI, Request, Response
from starlette.concurrency import run_in_threadpool

from benchmarks.peers.work import PHOTO_TYPE, Work

STREAMS = int(os.environ.get("PEERS_STREAMS", "1"))


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Load the model before the first request."""
    to_thread.current_default_thread_limiter().total_tokens = STREAMS
    app.state.work = Work(STREAMS)
    yield


app = FastAPI(lifespan=lifespan)


@app.post("/enhance")
async def enhance(request: Request) -> Response:
    """One photo."""
    photo = await request.body()
    return Response(await run_in_threadpool(request.app.state.work, photo), media_type=PHOTO_TYPE)


def main() -> None:
    """Serve."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--processes", type=int, default=1)
    given = parser.parse_args()
    uvicorn.run(
        "benchmarks.peers.servers.fastapi_app:app",
        port=given.port,
        workers=given.processes if given.processes > 1 else None,
        access_log=False,
        log_level="warning",
        backlog=2048,
    )


if __name__ == "__main__":
    main()
