"""A served model: its session, its batcher, and how they are sized for the device they run on."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from service.engine.batcher import Batcher, BatchLimits, Inference
from service.engine.precision import choose_precision, has_vnni
from service.engine.runtime import Accelerator, Provider, SessionOptions, planned_provider
from service.engine.session import Session
from service.engine.thread_trial import ThreadTrial
from service.engine.threads import cpu_limit, give_back_memory, plan_threads, settle_libraries
from service.vocabulary import Device, Output, Precision, PrecisionChoice

GPU_MAX_BATCH = 8
CPU_MAX_BATCH = 1
"""On a CPU a batch of n takes n times as long as one (benchmarks/service.py measures it): it would only add waiting."""


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """What an operator may choose; None is chosen by device.

    Attributes:
        device, allow_cpu_fallback: see `SessionOptions`.
        threads: threads of one inference on the CPU; None: one, and for an image that is alone what `trial` finds.
        trial: finds out how many threads serve a lone image best.
        streams: inferences at the same time on the CPU; a GPU runs one batch at a time.
        max_batch, max_wait_s, capacity: see `BatchLimits`.
        precision: which variant of a model runs; unlike the service's setting, none unless asked for.
        cuda_graphs, tensorrt_cache: see `SessionOptions`.
    """

    device: Device = "auto"
    allow_cpu_fallback: bool = False
    threads: int | None = None
    trial: ThreadTrial = field(default_factory=ThreadTrial)
    streams: int | None = None
    max_batch: int | None = None
    max_wait_s: float = 0.002
    capacity: int = 256
    """As many as a service has threads at most: what it accepted is never refused here."""
    precision: PrecisionChoice = "float32"
    cuda_graphs: bool = False
    tensorrt_cache: Path | None = None

    def precision_of(self, variants: Collection[Precision]) -> Precision:
        """In what a model runs that has these variants.

        Raises:
            ProviderUnavailable: eight bits are asked for on a GPU, float16 on a CPU, or a GPU on a machine without one.
        """
        if self.precision == "float32" or (self.precision == "auto" and not variants):
            return "float32"
        provider = planned_provider(SessionOptions(self.device, self.allow_cpu_fallback))
        return choose_precision(self.precision, variants, provider, has_vnni())


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
        settle_libraries()
        plan = plan_threads(cpu_limit())
        self._session, self._lone = _load(model, options, plan.lone)
        on_gpu = self._session.provider == "cuda"
        limits = BatchLimits(
            max_batch=options.max_batch or (GPU_MAX_BATCH if on_gpu else CPU_MAX_BATCH),
            max_wait_s=options.max_wait_s,
            capacity=options.capacity,
            streams=1 if on_gpu else options.streams or plan.workers,
        )
        self._batchers = {"enhanced": Batcher(self._session.run, limits, on_batch, self._lone.run)}
        if self._session.gives_detail:
            self._batchers["detail"] = Batcher(self._session.run_detail, limits, on_batch, self._lone.run_detail)
            self._batchers["colour"] = Batcher(self._session.run_colour, limits, on_batch, self._lone.run_colour)

    @property
    def provider(self) -> Provider:
        """The device it really runs on."""
        return self._session.provider

    @property
    def accelerator(self) -> Accelerator:
        """See `Session`."""
        return self._session.accelerator

    @property
    def depth(self) -> int:
        """Images waiting for a run."""
        return sum(batcher.depth for batcher in self._batchers.values())

    @property
    def gives_detail(self) -> bool:
        """Whether the model has a detail stage that runs alone."""
        return self._session.gives_detail

    def submit(
        self,
        image: NDArray[np.uint8],
        deadline: float = float("inf"),
        *,
        alone: bool = False,
        output: Output = "enhanced",
    ) -> Future[Inference]:
        """See `Submit`."""
        return self._batchers[output].submit(image, deadline, alone=alone)

    def run(self, batch: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Run (B, h, w, 3) uint8 RGB at once on the calling thread, past the queue: for self-tests and warming.

        Raises:
            InferenceFailed: the runtime failed, or the output is not the input's shape.
        """
        return self._session.run(batch)

    def warm(self, shapes: Iterable[tuple[int, int]]) -> None:
        """Run a grey image of each (height, width), so that no request pays for the first time."""
        for height, width in shapes:
            for session in {self._session, self._lone}:
                session.warm(height, width)
        give_back_memory()  # loading left some tens of MB

    def close(self, timeout_s: float | None = None) -> None:
        """Finish what was accepted, then stop."""
        for batcher in self._batchers.values():
            batcher.close(timeout_s)
        self._session.close()


def _load(model: Path | bytes, options: EngineOptions, most: int) -> tuple[Session, Session]:
    """The session for images side by side, and that for one that has the machine to itself, on at most `most` threads.

    Raises:
        ProviderUnavailable, ModelInvalid: see `Session`.
    """
    asked = _session_options(options, options.threads or 1)
    if planned_provider(asked) == "cuda":
        session = Session(model, asked)
        if session.provider == "cuda":
            return session, session
    asked = replace(asked, device="cpu")
    if options.threads or most < 2:
        session = Session(model, asked)
        return session, session
    return _load_for_threads(model if isinstance(model, bytes) else model.read_bytes(), asked, options.trial, most)


def _load_for_threads(weights: bytes, asked: SessionOptions, trial: ThreadTrial, most: int) -> tuple[Session, Session]:
    """The session with one thread, and that with as many as `trial` chooses."""
    sessions: dict[int, Session] = {}

    def load(counts: Iterable[int]) -> dict[int, Session]:
        """Sessions with these numbers of threads, loaded at the same time."""
        other = replace(asked, cuda_graphs=False, tensorrt_cache=None)  # what is for a GPU is warned of once
        with ThreadPoolExecutor() as pool:
            more = {
                n: pool.submit(Session, weights, replace(other if n > 1 else asked, threads=n))
                for n in counts
                if n not in sessions
            }
        sessions.update((n, loading.result()) for n, loading in more.items())
        return sessions

    chosen = trial.choose(weights, most, lambda counts: {n: session.run for n, session in load(counts).items()})
    if sessions:  # a trial ran, on an image larger than most
        sessions[1].free_memory()
    load({1, chosen})
    return sessions[1], sessions[chosen]


def _session_options(options: EngineOptions, threads: int) -> SessionOptions:
    return SessionOptions(
        options.device,
        options.allow_cpu_fallback,
        threads,
        half=options.precision == "float16",
        cuda_graphs=options.cuda_graphs,
        tensorrt_cache=options.tensorrt_cache,
    )
