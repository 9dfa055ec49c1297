"""A live service on a free port: the real application in the real server, on a thread of the test's own process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import cv2
import httpx
import numpy as np
from numpy.typing import NDArray

from service.composition import Service
from service.errors import LameganError
from service.server import Server, listening, metrics_port
from service.settings import Settings, read_settings

PATIENCE_S = 60.0
Image = NDArray[np.uint8]


class LiveService:
    """Serves `settings` between enter and exit; `http` is a client of it."""

    def __init__(self, models_dir: Path, *, wait: bool = True, **settings: Any) -> None:
        given: dict[str, Any] = {"port": 0, "model": "tiny", "device": "cpu", "warm_shapes": "64x64", **settings}
        self.settings: Settings = read_settings(models_dir=models_dir, **given)
        self.fatal: list[LameganError] = []
        self._wait = wait

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            listener = stack.enter_context(listening(self.settings))
            self.port: int = listener.getsockname()[1]
            self.url = f"http://127.0.0.1:{self.port}"
            self.service = Service(self.settings, self.fatal.append)
            self.server = Server(self.service, self.settings)
            stack.enter_context(metrics_port(self.service, self.settings))
            self._thread = threading.Thread(target=self.server.run, kwargs={"sockets": [listener]}, name="server")
            self._thread.start()
            stack.callback(self._stop)
            self.http = stack.enter_context(httpx.Client(base_url=self.url, timeout=PATIENCE_S, trust_env=False))
            if self._wait:
                wait_until(lambda: bool(self.fatal) or self.service.readiness.reason is None)
            self._stack = stack.pop_all()  # until here, a start that fails closes what it opened
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _stop(self) -> None:
        self.server.should_exit = True
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()


def wait_until(holds: Callable[[], bool], patience_s: float = PATIENCE_S, every_s: float = 0.005) -> None:
    """Wait until `holds`, or fail loudly."""
    deadline = time.monotonic() + patience_s
    while not holds():
        assert time.monotonic() < deadline, "the condition did not hold in time"
        time.sleep(every_s)


@contextmanager
def frozen(live: LiveService) -> Iterator[threading.Event]:
    """Hold every inference until the event is set or the block ends: a model as slow as the test likes."""
    go = threading.Event()
    batchers = [one for model in live.service.model_pool.models() for one in model._engine._batchers.values()]
    runs = [(batcher._run, batcher._run_alone) for batcher in batchers]

    def held(run: Callable[[Image], Image]) -> Callable[[Image], Image]:
        def wait_and_run(batch: Image) -> Image:
            assert go.wait(PATIENCE_S)
            return run(batch)

        return wait_and_run

    for batcher, (run, run_alone) in zip(batchers, runs, strict=True):
        batcher._run, batcher._run_alone = held(run), held(run_alone)
    try:
        yield go
    finally:
        go.set()
        for batcher, (run, run_alone) in zip(batchers, runs, strict=True):
            batcher._run, batcher._run_alone = run, run_alone


def scene(width: int = 480, height: int = 272, seed: int = 0) -> Image:
    """A smooth colourful picture with some structure, (height, width, 3) uint8 RGB."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(40, 216, (9, 13, 3), dtype=np.uint8)
    fine = rng.integers(0, 40, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    size = (width, height)
    large = cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC)
    return cv2.add(large, cv2.resize(fine, size, interpolation=cv2.INTER_LINEAR))


def encoded(image: Image, suffix: str = ".png") -> bytes:
    """`image` as a file."""
    done, data = cv2.imencode(suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    assert done
    return data.tobytes()


def decoded(body: bytes) -> Image:
    """The image in a file."""
    return cv2.cvtColor(cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
