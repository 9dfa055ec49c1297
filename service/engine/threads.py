"""Threads and memory of every library under one plan: ours, ONNX Runtime's, OpenCV's, BLAS's.

Photos run side by side, one on each core, so the libraries get one thread each: a library that wakes threads of its own
for a product of 4 ms leaves them spinning for 100 ms on cores that other photos want. Only a photo that has the machine
to itself is given more, in the generator, where they help (`EngineOptions.lone_threads`).

A container's limit counts, not the machine: the affinity mask and the CPU quota of the control groups, v1 and v2.
"""

from __future__ import annotations

import ctypes
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath

import cv2
from threadpoolctl import threadpool_limits

CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUPS = Path("/proc/self/cgroup")

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEPT_BYTES = 32 * 2**20
"""Largest block that glibc lets one take from its heaps (HEAP_MAX_SIZE / 2)."""


@dataclass(frozen=True, slots=True)
class ThreadPlan:
    """How many threads do what.

    Attributes:
        workers: photos at the same time; each is decoded, scored and encoded on one thread.
        lone: threads of the generator for a photo that has the machine to itself.
    """

    workers: int
    lone: int


def plan_threads(limit: float) -> ThreadPlan:
    """The plan for `limit` processors, as `cpu_limit` counts them.

    A worker for each begun processor, so that none lies idle; threads within a photo only for whole ones, since a
    thread that waits for the rest of its period holds up the others.
    """
    return ThreadPlan(workers=max(1, math.ceil(limit)), lone=max(1, math.floor(limit)))


def usable_cores() -> int:
    """Processors this process may use, begun ones counted as whole: what workers are counted by."""
    return plan_threads(cpu_limit()).workers


def cpu_limit(groups: Path = CGROUPS, own: Path = OWN_CGROUPS) -> float:
    """Processors this process may use: of the machine, of its affinity, of its control groups, the least."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min([float(cores), *_quotas(groups, own)])


@cache
def settle_libraries() -> None:
    """Give OpenCV and BLAS one thread each, and let malloc keep the pages it has; for the whole process, once.

    Pages that are given back after each photo must be cleared by the kernel for the next one.
    """
    cv2.setNumThreads(1)
    threadpool_limits(limits=1, user_api="blas")
    if (mallopt := _of_glibc("mallopt")) is not None:
        mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES)
        mallopt(_M_TRIM_THRESHOLD, 4 * _KEPT_BYTES)


def give_back_memory() -> None:
    """Let malloc give the kernel the pages that it holds for nothing: loading a model leaves some tens of MB."""
    if (trim := _of_glibc("malloc_trim")) is not None:
        trim(0)


def _of_glibc(name: str) -> Callable[..., int] | None:
    """A function of the C library; None where that is another than glibc, or Windows."""
    try:
        found: Callable[..., int] = getattr(ctypes.CDLL(None), name)
    except (AttributeError, OSError, TypeError):
        return None
    return found


def _quotas(groups: Path, own: Path) -> Iterator[float]:
    """The CPU quotas, in processors, of this process's control groups and those they lie in."""
    try:
        lines = own.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError):
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        names = controllers.split(",")
        if not controllers:
            for folder in _with_parents(groups, path):
                yield from _quota_v2(folder / "cpu.max")
        elif "cpu" in names:
            for mount in dict.fromkeys((controllers, "cpu", "cpu,cpuacct")):
                for folder in _with_parents(groups / mount, path):
                    yield from _quota_v1(folder)


def _with_parents(mount: Path, path: str) -> Iterator[Path]:
    """The folders of a group and its parents up to the mount; in a container the mount is the group's own."""
    inside = PurePosixPath(path).relative_to("/") if path.startswith("/") else PurePosixPath(path)
    for part in (inside, *inside.parents):
        if ".." not in part.parts:
            yield mount / part


def _quota_v2(file: Path) -> Iterator[float]:
    """Source: Linux, Documentation/admin-guide/cgroup-v2.rst, cpu.max: `max 100000` or `QUOTA PERIOD`."""
    try:
        quota, period = file.read_text(encoding="ascii").split()
        if quota != "max" and int(quota) > 0 and int(period) > 0:
            yield int(quota) / int(period)
    except (OSError, ValueError):
        return


def _quota_v1(folder: Path) -> Iterator[float]:
    """Source: Linux, Documentation/scheduler/sched-bwc.rst: a quota of -1: no limit."""
    try:
        quota = int((folder / "cpu.cfs_quota_us").read_text(encoding="ascii"))
        period = int((folder / "cpu.cfs_period_us").read_text(encoding="ascii"))
        if quota > 0 and period > 0:
            yield quota / period
    except (OSError, ValueError):
        return
