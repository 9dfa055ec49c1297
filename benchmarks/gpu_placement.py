"""Where does ONNX Runtime place a model's nodes on a GPU, and would it capture them as a CUDA graph? Without a GPU.

A stand-in for CUDA's libraries (`gpu_stand_in.c`, built with `cc`) lets the runtime's CUDA provider load, which then
places every node as it would on a GPU. Nothing is computed: what is quick or right, only a GPU can tell. LIBRARIES has
the rest of what the provider is linked with:

    pip install --no-deps --target LIBRARIES -r docker/constraints-cuda.txt

Run: python -m benchmarks.gpu_placement LIBRARIES [MODEL.onnx ...]
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx
import onnxruntime

from benchmarks.measure import record
from service.engine.graph_file import with_choices
from service.engine.runtime import CPU, CUDA, SessionOptions, load, nodes_on_cpu
from service.vocabulary import COLOUR_ONLY, DETAIL_ONLY

MODELS = ("models/lamegan-fast/1.4.0/model.onnx",)
STAGES = {"enhanced": (False, False), "detail": (True, False), "colour": (False, True)}
SIZES = ((272, 480), (361, 361), (720, 1280))
PLACED = "--placed"
"""Says to this program that it runs on the stand-in."""


def main() -> None:
    """Build the stand-in, ask on it, print and record what the runtime says."""
    if sys.argv[1] == PLACED:
        models = [Path(model).resolve() for model in sys.argv[2:]]
        print(json.dumps({"/".join(model.parts[-3:]): _placement(model) for model in models}))
        return
    with TemporaryDirectory() as folder:
        stand_in = Path(folder, "libcuda.so.1")
        source = str(Path(__file__).with_name("gpu_stand_in.c"))
        subprocess.run(["cc", "-w", "-shared", "-fPIC", "-o", str(stand_in), source], check=True)
        (stand_in.parent / "libcudnn.so.9").symlink_to(stand_in)
        found = {str(path.parent) for path in Path(sys.argv[1]).rglob("lib*.so*")}
        places = os.pathsep.join([folder, *sorted(found)])
        command = [sys.executable, "-m", "benchmarks.gpu_placement", PLACED, *(sys.argv[2:] or MODELS)]
        environment = {**os.environ, "LD_PRELOAD": str(stand_in), "LD_LIBRARY_PATH": places}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    figures: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    print(json.dumps(figures, indent=2))
    print(f"recorded in {record('gpu-placement', figures)}")


def _placement(path: Path) -> dict[str, object]:
    model = path.read_bytes()
    captured = {
        f"{name} {width}x{height}": _captured(with_choices(model, {DETAIL_ONLY: detail, COLOUR_ONLY: colour}), size)
        for name, (detail, colour) in STAGES.items()
        for size in SIZES
        for height, width in [size]
    }
    return {"any size": _ordinary(model), "one size, captured": captured}


def _ordinary(model: bytes) -> dict[str, object]:
    """The session of the service for any size: nodes on the CPU, and copies between it and the GPU."""
    with TemporaryDirectory() as folder:
        native = onnxruntime.SessionOptions()
        native.log_severity_level = 4
        native.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        native.optimized_model_filepath = str(Path(folder, "placed.onnx"))
        fixed = with_choices(model, {DETAIL_ONLY: False, COLOUR_ONLY: False})
        session = onnxruntime.InferenceSession(fixed, native, providers=[CUDA, CPU])
        nodes = onnx.load(native.optimized_model_filepath).graph.node
    copies = [node.op_type for node in nodes if node.op_type.startswith("Memcpy")]
    return {"providers": session.get_providers(), "on the CPU": dict(nodes_on_cpu(session) or {}), "copies": copies}


def _captured(model: bytes, size: tuple[int, int]) -> dict[str, object]:
    """The session of the service for this size; the runtime itself refuses what it cannot capture."""
    session = load(model, "cuda", SessionOptions("cuda", cuda_graphs=True), (1, *size))
    return {"on the GPU": CUDA in session.get_providers(), "on the CPU": dict(nodes_on_cpu(session) or {})}


if __name__ == "__main__":
    main()
