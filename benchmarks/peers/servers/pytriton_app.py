"""NVIDIA Triton by PyTriton: bytes as a uint8 tensor both ways over its HTTP, one inference callable a core."""

import argparse
import os

import numpy as np
from pytriton.decorators import sample
from pytriton.model_config import ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

from benchmarks.peers.work import Work

PROCESSES = int(os.environ.get("PEERS_PROCESSES", "1"))


def main() -> None:
    """Serve."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    given = parser.parse_args()
    work = Work(PROCESSES)

    @sample
    def enhance(photo: np.ndarray) -> dict[str, np.ndarray]:
        return {"enhanced": np.frombuffer(work(photo.tobytes()), np.uint8)}

    config = TritonConfig(
        http_port=given.port, http_address="127.0.0.1", allow_grpc=False, allow_metrics=False, log_verbose=0
    )
    with Triton(config=config) as triton:
        triton.bind(
            model_name="enhance",
            infer_func=[enhance] * PROCESSES,
            inputs=[Tensor(name="photo", dtype=np.uint8, shape=(-1,))],
            outputs=[Tensor(name="enhanced", dtype=np.uint8, shape=(-1,))],
            config=ModelConfig(batching=False),
            strict=False,
        )
        triton.serve()


if __name__ == "__main__":
    main()
