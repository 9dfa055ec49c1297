"""ONNX Runtime: on which device a model is loaded, with which of its options. The only module that imports onnxruntime.

On a GPU a session may be made for one shape alone. All that depends on the shape then folds into constants, no node is
left to the CPU, and its work can be captured as a CUDA graph or built as a TensorRT engine.

Sources: ONNX Runtime, "CUDA Execution Provider", "TensorRT Execution Provider", and the comments on its configuration
keys for sessions and runs (`onnxruntime_session_options_config_keys.h`, `onnxruntime_run_options_config_keys.h`).
"""

from __future__ import annotations

import ctypes
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import Literal, TypeVar

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from service.errors import ModelInvalid, ProviderUnavailable
from service.vocabulary import Device

Provider = Literal["cpu", "cuda"]
Accelerator = Literal["cpu", "cuda", "tensorrt"]
Batch = NDArray[np.uint8]
Shape = tuple[int, int, int]
"""Images, rows and columns."""

CPU, CUDA, TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"
AXES = ("B", "H", "W")
"""What the export calls the free dimensions of its input and outputs."""

SEVERITY_FATAL = 4
"""onnxruntime writes its own lines to stderr below this; errors reach us as exceptions, and our log is JSON."""

SMALL = 64, 64
"""Rows and columns of an image that costs next to nothing."""

_log = logging.getLogger(__name__)

Options = dict[str, str]
Made = TypeVar("Made")


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """Where and how a model runs.

    Attributes:
        device: "auto" takes a GPU when there is one; "cuda" without one is an error unless `allow_cpu_fallback`.
        allow_cpu_fallback: with "cuda", run on the CPU when there is no GPU.
        threads: threads of one inference on the CPU.
        half: the model is the variant in half precision, so that TensorRT may use float16.
        cuda_graphs: on a GPU, what runs at a warmed size is captured as a CUDA graph.
        tensorrt_cache: on a GPU, what runs at a warmed size runs on TensorRT, whose engines are kept in this folder.
    """

    device: Device = "auto"
    allow_cpu_fallback: bool = False
    threads: int = 1
    half: bool = False
    cuda_graphs: bool = False
    tensorrt_cache: Path | None = None

    @property
    def for_one_shape(self) -> bool:
        """Whether sessions for one shape alone are asked for."""
        return self.cuda_graphs or self.tensorrt_cache is not None


def planned_provider(options: SessionOptions) -> Provider:
    """Where a session with these options runs, unless its libraries fail to load.

    Raises:
        ProviderUnavailable: a GPU was asked for, none can be used, and fallback is not allowed.
    """
    if options.device == "cpu":
        return "cpu"
    available = CUDA in onnxruntime.get_available_providers()
    if available and gpu_count() > 0:
        return "cuda"
    return fall_back(options, "no GPU was found" if available else "this onnxruntime has no CUDA provider")


def fall_back(options: SessionOptions, reason: str) -> Provider:
    """The CPU, where that may take the GPU's place.

    Raises:
        ProviderUnavailable: it may not.
    """
    if options.device == "cuda" and not options.allow_cpu_fallback:
        raise ProviderUnavailable(f"A GPU was asked for, but {reason}.")
    if gpu_count() > 0:
        _log.warning("A GPU is there, but %s: the CPU is used. Install the extra `cuda`.", reason)
    return "cpu"


def gpu_count() -> int:
    """How many CUDA devices the driver sees; 0 without a driver. Asks the driver itself, not the runtime.

    Source: CUDA driver API, cuInit and cuDeviceGetCount.
    """
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 0
    return count.value


def run_alone(work: Callable[..., Made], *given: object) -> Made:
    """What `work` returns, done by the one thread that uses the GPU where CUDA graphs are captured.

    A graph is replayed only by the thread that captured it, and while one captures no other may allocate.
    """
    return _gpu_thread().submit(work, *given).result()


@cache
def _gpu_thread() -> ThreadPoolExecutor:
    """It ends with the process, as the GPU's own memory does."""
    return ThreadPoolExecutor(1, "gpu")


def load(
    model: Path | bytes, provider: Provider, options: SessionOptions, shape: Shape | None = None
) -> onnxruntime.InferenceSession:
    """A session of `model`; with `shape` for that alone, captured or on TensorRT as the options say.

    Raises:
        ModelInvalid: the runtime refuses the file, or what was asked for.
    """
    _share_memory()
    native = onnxruntime.SessionOptions()
    native.add_session_config_entry("session.use_env_allocators", "1")
    native.log_severity_level = SEVERITY_FATAL
    native.intra_op_num_threads = options.threads
    native.inter_op_num_threads = 1
    native.enable_mem_pattern = False  # one pattern would be kept for each image size ever seen
    native.add_session_config_entry("session.intra_op.allow_spinning", "0")  # decoding and scoring want the cores
    native.add_session_config_entry("session.record_ep_graph_assignment_info", str(int(provider == "cuda")))
    for axis, size in zip(AXES, shape or (), strict=False):
        native.add_free_dimension_override_by_name(axis, size)
    if provider == "cuda":
        onnxruntime.preload_dlls()  # the CUDA and cuDNN wheels are on no library path
    try:
        content = model if isinstance(model, bytes) else model.read_bytes()
        providers = providers_of(content, provider, options, shape)
        # With `shape` an error is an error: its own second try prints to stdout, and forgets the providers' options.
        return onnxruntime.InferenceSession(content, native, providers=providers, enable_fallback=int(shape is None))
    except Exception as error:  # onnxruntime's exceptions share no base but Exception
        raise ModelInvalid("The model file cannot be loaded as an ONNX model.") from error


def providers_of(
    model: bytes, provider: Provider, options: SessionOptions, shape: Shape | None
) -> list[tuple[str, Options]]:
    """ONNX Runtime's providers and their options, the first choice first."""
    if provider == "cpu":
        return [(CPU, {})]
    cuda = {"cudnn_conv_algo_search": "HEURISTIC"}
    if shape is None or not options.for_one_shape:
        return [(CUDA, cuda), (CPU, {})]
    if options.tensorrt_cache is None:
        return [(CUDA, {**cuda, "enable_cuda_graph": "1"}), (CPU, {})]
    return [(TENSORRT, _tensorrt(model, options, options.tensorrt_cache)), (CUDA, cuda), (CPU, {})]


def _tensorrt(model: bytes, options: SessionOptions, folder: Path) -> Options:
    """TensorRT's options; each file has engines of its own, for the name that TensorRT gives one knows no weights."""
    engines = folder / sha256(model).hexdigest()[:32]
    engines.mkdir(parents=True, exist_ok=True)
    return {
        "trt_fp16_enable": str(options.half),
        "trt_engine_cache_enable": "True",
        "trt_engine_cache_path": str(engines),
        "trt_timing_cache_enable": "True",
        "trt_timing_cache_path": str(folder),
        "trt_cuda_graph_enable": str(options.cuda_graphs),
    }


def nodes_on_cpu(session: onnxruntime.InferenceSession) -> Counter[str] | None:
    """How many nodes of each kind the runtime placed on the CPU; None where it does not tell, in older versions."""
    if not hasattr(session, "get_provider_graph_assignment_info"):
        return None
    parts = session.get_provider_graph_assignment_info()
    return Counter(node.op_type for part in parts if part.ep_name == CPU for node in part.get_nodes())


class FixedTensors:
    """A session's input and output at addresses that never change, as a captured graph needs them."""

    def __init__(self, session: onnxruntime.InferenceSession, output: str, shape: Shape, provider: Provider) -> None:
        pixels = (*shape, 3)
        self.given = onnxruntime.OrtValue.ortvalue_from_numpy(np.zeros(pixels, np.uint8), provider, 0)
        self.made = onnxruntime.OrtValue.ortvalue_from_shape_and_type(pixels, np.uint8, provider, 0)
        self._session = session
        self._lock = Lock()
        self._binding = session.io_binding()
        self._binding.bind_ortvalue_input("image", self.given)
        self._binding.bind_ortvalue_output(output, self.made)

    def run(self, batch: Batch) -> Batch:
        """The session's output for (B, H, W, 3) uint8 RGB of its shape."""
        with self._lock:
            self.given.update_inplace(np.ascontiguousarray(batch))
            self._session.run_with_iobinding(self._binding)
            return np.array(self.made.numpy())  # a copy: the next run writes to the same place


def run_bound(
    session: onnxruntime.InferenceSession, batch: Batch, options: Sequence[tuple[str, NDArray[np.bool_]]], output: str
) -> Batch:
    """Copy uint8 over the bus once each way; the graph's own casts run on the GPU."""
    binding = session.io_binding()
    binding.bind_cpu_input("image", np.ascontiguousarray(batch))
    for option, value in options:
        binding.bind_cpu_input(option, value)
    binding.bind_output(output, "cuda")
    session.run_with_iobinding(binding)
    made: Batch = binding.copy_outputs_to_cpu()[0]
    return made


def free_memory(session: onnxruntime.InferenceSession) -> None:
    """Give what the sessions' shared arena does not use back to the kernel, after the run of a small image.

    Source: ONNX Runtime, `onnxruntime_run_options_config_keys.h`, memory.enable_memory_arena_shrinkage.
    """
    options = onnxruntime.RunOptions()
    options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    session.run(["enhanced"], {"image": np.full((1, *SMALL, 3), 128, np.uint8)}, options)


@cache
def _share_memory() -> None:
    """Let all sessions of this process take their tensors from one arena.

    Else each keeps one of its own, as large as its largest photo: a model has two sessions, and two models are loaded
    while one takes the other's place.
    """
    where = onnxruntime.OrtMemoryInfo(
        "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
    )
    onnxruntime.create_and_register_allocator(where, None)
