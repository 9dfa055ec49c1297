"""One ONNX model, loaded on one device. The only module that imports onnxruntime.

The graph takes and gives pixels (uint8, B H W 3); scaling, padding and rounding are inside it, so nothing here can
drift from training.
"""

from __future__ import annotations

import ctypes
import logging
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from service.errors import InferenceFailed, ModelInvalid, ProviderUnavailable
from service.vocabulary import COLOUR_ONLY, DETAIL_ONLY, Device, Output

Provider = Literal["cpu", "cuda"]
Batch = NDArray[np.uint8]

_log = logging.getLogger(__name__)

SEVERITY_FATAL = 4
"""onnxruntime writes its own lines to stderr below this; errors reach us as exceptions, and our log is JSON."""

CONTRACT = {"image": "tensor(uint8)", "enhanced": "tensor(uint8)"}
DETAIL_CONTRACT = {**CONTRACT, "detail": "tensor(uint8)"}
"""A model in two stages also gives what its first stage, which mends detail at any size, makes of the image."""

_FETCHED: dict[Output, str] = {"enhanced": "enhanced", "detail": "detail", "colour": "enhanced"}
_ALONE: dict[Output, str] = {"detail": DETAIL_ONLY, "colour": COLOUR_ONLY}
"""The option that lets only this stage run."""


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """Where and how a model runs.

    Attributes:
        device: "auto" takes a GPU when there is one; "cuda" without one is an error unless `allow_cpu_fallback`.
        allow_cpu_fallback: with "cuda", run on the CPU when there is no GPU.
        threads: threads of one inference on the CPU.
    """

    device: Device = "auto"
    allow_cpu_fallback: bool = False
    threads: int = 1


class Session:
    """A loaded model; `run` may be called from several threads at once."""

    def __init__(self, model: Path | bytes, options: SessionOptions) -> None:
        """Load `model`, a file or its bytes, on the device that `options` name.

        Raises:
            ProviderUnavailable: a GPU was asked for, none can be used, and fallback is not allowed.
            ModelInvalid: the file is no ONNX model, or its input or output is not the export contract's.
        """
        self.provider: Provider = _choose_provider(options)
        self._session = _load(model, self.provider, options)
        if self.provider == "cuda" and "CUDAExecutionProvider" not in self._session.get_providers():
            self.provider = _fall_back(options, "the CUDA libraries could not be loaded")
        self.gives_detail = _check_contract(self._session)
        self._options = {node.name for node in self._session.get_overridable_initializers()}

    def run(self, batch: Batch, output: Output = "enhanced") -> Batch:
        """Run the batch through the model or one of its stages: (B, H, W, 3) uint8 RGB in and out.

        A model that cannot run its colour stage alone runs whole instead.

        Raises:
            InferenceFailed: the runtime failed, or the output is not the input's shape.
        """
        try:
            run = self._run_bound if self.provider == "cuda" else self._run_plain
            enhanced = run(batch, output)
        except Exception as error:  # onnxruntime's exceptions share no base but Exception
            raise InferenceFailed("The model failed on this image.") from error
        if enhanced.shape != batch.shape or enhanced.dtype != np.uint8:
            raise InferenceFailed("The model answered with an image of another shape.")
        return enhanced

    def run_detail(self, batch: Batch) -> Batch:
        """Run the batch through the detail stage alone; see `run`."""
        return self.run(batch, "detail")

    def run_colour(self, batch: Batch) -> Batch:
        """Run the batch, whose detail is mended already, through the colour stage alone; see `run`."""
        return self.run(batch, "colour")

    def _run_plain(self, batch: Batch, output: Output) -> Batch:
        given = {"image": batch, **self._asked(output)}
        made: Batch = self._session.run([_FETCHED[output]], given)[0]
        return made

    def _asked(self, output: Output) -> dict[str, NDArray[np.bool_]]:
        option = _ALONE.get(output)
        return {option: np.array(True)} if option is not None and option in self._options else {}

    def _run_bound(self, batch: Batch, output: Output) -> Batch:
        """Copy uint8 over the bus once each way; the graph's own casts run on the GPU."""
        binding = self._session.io_binding()
        binding.bind_cpu_input("image", np.ascontiguousarray(batch))
        for option, value in self._asked(output).items():
            binding.bind_cpu_input(option, value)
        binding.bind_output(_FETCHED[output], "cuda")
        self._session.run_with_iobinding(binding)
        made: Batch = binding.copy_outputs_to_cpu()[0]
        return made


def planned_provider(options: SessionOptions) -> Provider:
    """Where a session with these options runs, unless its libraries fail to load.

    Raises:
        ProviderUnavailable: as `Session`.
    """
    return _choose_provider(options)


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


def _choose_provider(options: SessionOptions) -> Provider:
    if options.device == "cpu":
        return "cpu"
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers() and gpu_count() > 0:
        return "cuda"
    available = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    return _fall_back(options, "no GPU was found" if available else "this onnxruntime has no CUDA provider")


def _fall_back(options: SessionOptions, reason: str) -> Provider:
    if options.device == "cuda" and not options.allow_cpu_fallback:
        raise ProviderUnavailable(f"A GPU was asked for, but {reason}.")
    if gpu_count() > 0:
        _log.warning("A GPU is there, but %s: the CPU is used. Install the extra `cuda`.", reason)
    return "cpu"


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


def _load(model: Path | bytes, provider: Provider, options: SessionOptions) -> onnxruntime.InferenceSession:
    _share_memory()
    native = onnxruntime.SessionOptions()
    native.add_session_config_entry("session.use_env_allocators", "1")
    native.log_severity_level = SEVERITY_FATAL
    native.intra_op_num_threads = options.threads
    native.inter_op_num_threads = 1
    native.enable_mem_pattern = False  # one pattern would be kept for each image size ever seen
    native.add_session_config_entry("session.intra_op.allow_spinning", "0")  # decoding and scoring want the cores
    providers: list[str | tuple[str, dict[str, str]]] = ["CPUExecutionProvider"]
    if provider == "cuda":
        onnxruntime.preload_dlls()  # the CUDA and cuDNN wheels are on no library path
        providers.insert(0, ("CUDAExecutionProvider", {"cudnn_conv_algo_search": "HEURISTIC"}))
    source = model if isinstance(model, bytes) else str(model)
    try:
        return onnxruntime.InferenceSession(source, native, providers=providers)
    except Exception as error:  # onnxruntime's exceptions share no base but Exception
        raise ModelInvalid("The model file cannot be loaded as an ONNX model.") from error


def _check_contract(session: onnxruntime.InferenceSession) -> bool:
    """Whether the model gives `detail` too.

    Raises:
        ModelInvalid: its inputs and outputs are not the contract's.
    """
    found = {node.name: node.type for node in (*session.get_inputs(), *session.get_outputs())}
    if found not in (CONTRACT, DETAIL_CONTRACT):
        raise ModelInvalid("The model must take `image` and give `enhanced`, and may give `detail`, all uint8.")
    return found == DETAIL_CONTRACT
