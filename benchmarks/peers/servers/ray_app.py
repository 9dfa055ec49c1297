"""Ray Serve: one replica a core, two requests in each, so that one is at hand when the other is done."""

import argparse
import os
import signal

import ray
from ray import serve
from starlette.requests import Request
from starlette.responses import Response

from benchmarks.peers.catalogue import THREADS
from benchmarks.peers.work import PHOTO_TYPE, Work

PROCESSES = int(os.environ.get("PEERS_PROCESSES", "1"))


@serve.deployment(
    num_replicas=PROCESSES,
    max_ongoing_requests=2,
    ray_actor_options={"num_cpus": 1, "runtime_env": {"env_vars": THREADS}},
)
class Photos:
    """The work, in each replica."""

    def __init__(self) -> None:
        """Load the model."""
        self.work = Work()

    async def __call__(self, request: Request) -> Response:
        """One photo."""
        return Response(self.work(await request.body()), media_type=PHOTO_TYPE)


def main() -> None:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    given = parser.parse_args()
    ray.init(num_cpus=PROCESSES, include_dashboard=False, log_to_driver=False, logging_level="error")
    serve.start(http_options={"host": "127.0.0.1", "port": given.port, "access_log": False})
    serve.run(Photos.bind(), route_prefix="/enhance", name="photos")  # type: ignore[attr-defined]
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    serve.shutdown()
    ray.shutdown()


if __name__ == "__main__":
    main()
