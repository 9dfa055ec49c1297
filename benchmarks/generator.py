"""How much faster is the fast generator than the paper's ResNet-9, exported the same way, in one run?

    python -m benchmarks.generator [--model models/lamegan-fast/1.0.0/model.onnx] [--size 480x272] [--record]

Both run in ONNX Runtime on the CPU, on the same photo, taking turns. The ResNet's weights are its random start: time
does not depend on them.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import torch

from benchmarks.measure import ratio, record, take_turns, timing
from model_training.data.phantom import phantom
from model_training.export.onnx import to_onnx
from model_training.export.wrapper import PixelContract
from model_training.networks import build_generator, parameter_count

MODELS = Path(__file__).resolve().parents[1] / "models"
SHIPPED = MODELS / "lamegan-fast" / "1.0.0" / "model.onnx"


def runner(model: bytes, threads: int, width: int, height: int) -> Callable[[], object]:
    """One call of `model` on a phantom of `width` x `height`."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # as the service runs it
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    photo = phantom(width, height, 1)[None]
    return lambda: session.run(None, {"image": np.ascontiguousarray(photo)})


def exported(name: str) -> tuple[bytes, int]:
    """A freshly initialised generator as ONNX, and its parameter count."""
    torch.manual_seed(0)
    network = build_generator(name).eval()
    return to_onnx(PixelContract(network).eval()), parameter_count(network)


def main() -> None:
    """Times both and prints the ratio."""
    parser = argparse.ArgumentParser(description="The fast generator against ResNet-9 on the CPU.")
    parser.add_argument("--model", type=Path, default=SHIPPED)
    parser.add_argument("--size", default="480x272")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--turns", type=int, default=8)
    parser.add_argument("--record", action="store_true", help="write benchmarks/results/generator.json")
    given = parser.parse_args()
    width, height = (int(side) for side in given.size.split("x"))
    fast = given.model.read_bytes() if given.model.is_file() else exported("fast")[0]
    resnet, parameters = exported("resnet")
    candidates = {
        "resnet": runner(resnet, given.threads, width, height),
        "fast": runner(fast, given.threads, width, height),
    }
    seconds = take_turns(candidates, turns=given.turns, calls=1, warm_up=2)
    faster = ratio(seconds["resnet"], seconds["fast"])
    figures = {
        "size": given.size,
        "threads": given.threads,
        "resnet_ms": round(1e3 * timing(seconds["resnet"]).median_s, 1),
        "resnet_parameters": parameters,
        "fast_ms": round(1e3 * timing(seconds["fast"]).median_s, 2),
        "fast_model": given.model.name if given.model.is_file() else "untrained",
        "fast_bytes": len(fast),
        "times_faster": round(faster.median, 1),
        "times_faster_quartiles": [round(faster.low, 1), round(faster.high, 1)],
    }
    print(figures)
    if given.record:
        print(record("generator", figures))


if __name__ == "__main__":
    main()
