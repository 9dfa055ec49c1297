"""Photos enhanced in processes of their own, where one interpreter's lock would bound what several threads can do.

The way of a request stays that of `Enhancer`: limits, model and room are seen to in this process, then the bytes go to
a process that is free, and come back as a result without pixels. A process that ends (a library crashed on a hostile
file, memory ran out) costs the one photo it held, and is replaced.
"""

from __future__ import annotations

import logging
import multiprocessing
import queue
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess

from service.engine.batcher import Submit
from service.engine.engine import Engine, EngineOptions
from service.engine.thread_trial import ThreadTrial
from service.errors import InferenceFailed, LameganError
from service.pipeline.deadline import Deadline
from service.pipeline.enhancement import EnhanceDefaults, Enhancement, EnhanceRequest
from service.pipeline.enhancer import Enhancer, Generators
from service.pipeline.generation import Generator
from service.pipeline.stopwatch import Stopwatch, note
from service.registry.card import ModelCard
from service.vocabulary import Precision

MODELS_KEPT = 2
"""Models loaded in each process: the one in service, and the one before it while its last requests end."""

Weights = Callable[[ModelCard], bytes]
"""The verified bytes of a card's model file."""


@dataclass(frozen=True, slots=True)
class _Load:
    """Message to a process: take this model; `trial` None: one thread for a photo that is alone too."""

    card: ModelCard
    weights: bytes
    warm_shapes: Sequence[tuple[int, int]]
    trial: ThreadTrial | None


@dataclass(frozen=True, slots=True)
class _Make:
    """Message to a process: enhance this photo with the model of that digest.

    `left_s` until the deadline, if any; `alone`: no other process has a photo.
    """

    body: bytes
    request: EnhanceRequest
    digest: str
    left_s: float | None
    alone: bool


class ProcessEnhancer(Enhancer):
    """An `Enhancer` whose photos are made in processes; `close` ends them."""

    def __init__(
        self,
        generators: Generators,
        defaults: EnhanceDefaults,
        count: int,
        weights: Weights,
        warm_shapes: Sequence[tuple[int, int]] = (),
        trial: ThreadTrial | None = None,
    ) -> None:
        """Nothing runs before `start`; `weights` is asked for a model's file when a process first needs it.

        `trial` finds the threads of a photo that is alone; None: one.
        """
        super().__init__(generators, defaults)
        self._weights = weights
        self._warm_shapes = warm_shapes
        self._trial = trial
        self._closed = False
        self._processes = [_Process(defaults) for _ in range(count)]
        self._free: queue.SimpleQueue[_Process] = queue.SimpleQueue()

    def start(self) -> None:
        """Start the processes."""
        for process in self._processes:
            process.start()
            self._free.put(process)

    def prepare(self, card: ModelCard) -> None:
        """Load a model in every process, so that no request waits for that.

        Raises:
            LameganError: it cannot be loaded there.
        """
        for _ in self._processes:
            with self._taken() as process:
                self._load(process, card)

    def close(self) -> None:
        """End the processes; what they hold is finished before."""
        self._closed = True
        for process in self._processes:
            process.close()

    def _make(self, body: bytes, request: EnhanceRequest, generator: Generator, deadline: Deadline) -> Enhancement:
        card, began = generator.card, time.monotonic()
        with self._taken() as process:
            waited_s = time.monotonic() - began
            Stopwatch().add("queue", waited_s)
            deadline.check()
            self._load(process, card)
            made = process.ask(_Make(body, request, card.file.sha256, deadline.left_s(), self._alone()))
        if not isinstance(made, Enhancement):
            raise InferenceFailed("The model failed on this image.")
        made.seconds["queue"] += waited_s
        note(made.intervals)
        return made

    def _load(self, process: _Process, card: ModelCard) -> None:
        if card.file.sha256 not in process.loaded:
            process.ask(_Load(card, self._weights(card), self._warm_shapes, self._trial))
            process.loaded = [*process.loaded[1 - MODELS_KEPT :], card.file.sha256]

    @contextmanager
    def _taken(self) -> Iterator[_Process]:
        """A free process, for oneself during the block."""
        process = self._free.get()
        try:
            yield process
        finally:
            if not process.alive and not self._closed:
                process.start()
            self._free.put(process)


class _Process:
    """One process and the way to it."""

    def __init__(self, defaults: EnhanceDefaults) -> None:
        self._defaults = defaults
        self._process: SpawnProcess | None = None

    def start(self) -> None:
        """Start it, empty of models."""
        context = multiprocessing.get_context("spawn")  # this process has threads, which a fork would not survive
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs, self._defaults), name="enhancer", daemon=True)
        self._process.start()
        theirs.close()
        self.loaded: list[str] = []
        self.alive = True

    def ask(self, message: _Load | _Make) -> object:
        """What it returns.

        Raises:
            LameganError: what went wrong there, or that it ended.
        """
        try:
            self._connection.send(message)
            answer = self._connection.recv()
        except (EOFError, OSError) as error:
            self.alive = False
            raise InferenceFailed("The process that worked on this image ended.") from error
        if isinstance(answer, LameganError):
            raise answer
        return answer

    def close(self) -> None:
        """End it."""
        if self._process is None:
            return
        self._connection.close()
        self._process.join(5)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


class _Loaded:
    """A model in a process; runs on the calling thread, since there is one photo at a time."""

    def __init__(self, message: _Load) -> None:
        self.card = message.card
        variant = message.card.eight_bit
        is_variant = variant is not None and sha256(message.weights).hexdigest() == variant.sha256
        self.precision: Precision = "int8" if is_variant else "float32"
        options = EngineOptions("cpu", threads=1, streams=1)
        if message.trial is not None:
            options = replace(options, threads=None, trial=message.trial)
        self._engine = Engine(message.weights, options)
        self._engine.warm(message.warm_shapes)
        self.submit: Submit = self._engine.submit

    def close(self) -> None:
        """Free it."""
        self._engine.close()


class _Worker(Enhancer):
    """The enhancer of a process: whether a photo is alone, only the first process knows."""

    photo_is_alone = False

    def _alone(self) -> bool:
        return self.photo_is_alone


class _NoModels:
    """The models that this process leases: none, each photo comes with the digest of its own."""

    def lease(self, reference: str | None) -> AbstractContextManager[Generator]:
        """Never asked."""
        raise InferenceFailed(f"No model is leased here, {reference or 'none'} either.")


def _work(connection: Connection, defaults: EnhanceDefaults) -> None:
    """The life of a process: answer messages until the other side is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the service says when to end
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    logging.getLogger().addHandler(logging.NullHandler())  # libraries' words may quote an image, and are no JSON
    enhancer, models = _Worker(_NoModels(), defaults), dict[str, _Loaded]()
    while True:
        try:
            message = connection.recv()
        except (EOFError, OSError):
            return
        try:
            answer: object = _answer(enhancer, models, message)
        except LameganError as error:
            answer = error
        except Exception:
            answer = InferenceFailed("The model failed on this image.")
        connection.send(answer)


def _answer(enhancer: _Worker, models: dict[str, _Loaded], message: _Load | _Make) -> Enhancement | None:
    if isinstance(message, _Load):
        while len(models) >= MODELS_KEPT:
            models.pop(next(iter(models))).close()
        models[message.card.file.sha256] = _Loaded(message)
        return None
    enhancer.photo_is_alone = message.alone
    end = float("inf") if message.left_s is None else time.monotonic() + message.left_s
    return enhancer.make(message.body, message.request, models[message.digest], Deadline(end)).without_pixels()
