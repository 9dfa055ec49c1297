"""LitServe: one worker process a core, its fast queue (ZeroMQ) as advised for many small requests."""

import argparse
import os
from typing import Annotated

import litserve
from fastapi import Body, Response

from benchmarks.peers.work import PHOTO_TYPE, Work


class Photos(litserve.LitAPI):
    """The work, in each worker."""

    def setup(self, device: str) -> None:
        """Load the model."""
        self.work = Work()

    def decode_request(self, request: Annotated[bytes, Body()]) -> bytes:
        """The body as it is."""
        return request

    def predict(self, photo: bytes) -> bytes:
        """One photo."""
        return self.work(photo)

    def encode_response(self, output: bytes) -> Response:
        """The response as it is."""
        return Response(output, media_type=PHOTO_TYPE)


def main() -> None:
    """Serve."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    given = parser.parse_args()
    server = litserve.LitServer(
        Photos(api_path="/enhance"),
        accelerator="cpu",
        workers_per_device=int(os.environ["PEERS_PROCESSES"]),
        fast_queue=True,
        timeout=60,
    )
    server.run(port=given.port, generate_client_file=False, log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
