"""Memory in use on the first GPU, read from NVIDIA's management library when it is there."""

from __future__ import annotations

import ctypes
from functools import lru_cache


class _Memory(ctypes.Structure):
    """Source: NVML API reference, nvmlMemory_t."""

    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


@lru_cache(maxsize=1)
def _first_gpu() -> tuple[ctypes.CDLL, ctypes.c_void_p] | None:
    try:
        library = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return None
    handle = ctypes.c_void_p()
    if library.nvmlInit_v2() != 0 or library.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(handle)) != 0:
        return None
    return library, handle


def gpu_memory_bytes() -> float:
    """Bytes used on the first GPU by all processes; 0 without a GPU or its library."""
    found = _first_gpu()
    if found is None:
        return 0.0
    library, handle = found
    memory = _Memory()
    if library.nvmlDeviceGetMemoryInfo(handle, ctypes.byref(memory)) != 0:
        return 0.0
    return float(memory.used)
