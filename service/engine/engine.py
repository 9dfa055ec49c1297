"""A served model: its session, its batcher, and how they are sized for the device they run on."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from service.engine.batcher import Batcher, BatchLimits, Inference
from service.engine.session import Provider, Session, SessionOptions
from service.vocabulary import Device

GPU_MAX_BATCH = 8
CPU_MAX_BATCH = 1
"""On a CPU a batch of n takes n times as long as one (benchmarks/service.py measures it): it would only add waiting."""


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """What an operator may choose; None is chosen by device.

    Attributes:
        device, allow_cpu_fallback: see `SessionOptions`.
        threads: threads of one inference on the CPU.
        streams: inferences at the same time on the CPU; a GPU runs one batch at a time.
        max_batch, max_wait_s, capacity: see `BatchLimits`.
    """

    device: Device = "auto"
    allow_cpu_fallback: bool = False
    threads: int | None = None
    streams: int | None = None
    max_batch: int | None = None
    max_wait_s: float = 0.002
    capacity: int = 256
    """As many as a service has threads at most: what it accepted is never refused here."""


def usable_cores() -> int:
    """Cores this process may use, which in a container is fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Engine:
    """Loads a model and runs images through it in batches; safe to call from any thread."""

    def __init__(
        self, model: Path | bytes, options: EngineOptions, on_batch: Callable[[int], None] = lambda _size: None
    ) -> None:
        """Load `model`, a file or its bytes; `on_batch` is told the size of each run.

        Raises:
            ProviderUnavailable: a GPU was asked for, none can be used, and fallback is not allowed.
            ModelInvalid: the file is no ONNX model, or breaks the export contract.
        """
        cores = usable_cores()
        self._session = Session(
            model,
            SessionOptions(options.device, options.allow_cpu_fallback, options.threads or cores),
        )
        on_gpu = self._session.provider == "cuda"
        self._batcher = Batcher(
            self._session.run,
            BatchLimits(
                max_batch=options.max_batch or (GPU_MAX_BATCH if on_gpu else CPU_MAX_BATCH),
                max_wait_s=options.max_wait_s,
                capacity=options.capacity,
                streams=1 if on_gpu else options.streams or cores,
            ),
            on_batch,
        )

    @property
    def provider(self) -> Provider:
        """The device it really runs on."""
        return self._session.provider

    @property
    def depth(self) -> int:
        """Images waiting for a run."""
        return self._batcher.depth

    def submit(self, image: NDArray[np.uint8], deadline: float = float("inf")) -> Future[Inference]:
        """Queue one (h, w, 3) uint8 RGB image; `deadline` is on the clock of `time.monotonic`.

        Raises:
            Overloaded: the queue is full.
            ShuttingDown: the engine is closed.
        """
        return self._batcher.submit(image, deadline)

    def run(self, batch: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Run (B, h, w, 3) uint8 RGB at once on the calling thread, past the queue: for self-tests and warming.

        Raises:
            InferenceFailed: the runtime failed, or the output is not the input's shape.
        """
        return self._session.run(batch)

    def warm(self, shapes: Iterable[tuple[int, int]]) -> None:
        """Run a grey image of each (height, width), so that no request pays for the first time."""
        for height, width in shapes:
            self.run(np.full((1, height, width, 3), 128, np.uint8))

    def close(self, timeout_s: float | None = None) -> None:
        """Finish what was accepted, then stop."""
        self._batcher.close(timeout_s)
