"""Follows the active choice of model."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from service.errors import LameganError

WATCH_EVERY_S = 1.0


class ModelReloader:
    """The thread that loads the models at the start and follows the active choice from then on."""

    def __init__(self, state_file: Path, load_first: Callable[[], bool], reload: Callable[[], None]) -> None:
        """`load_first` tells whether something serves; `reload` follows the choice, which is kept in `state_file`."""
        self._state_file = state_file
        self._load_first = load_first
        self._reload = reload
        self._woken = threading.Event()
        self._stopped = threading.Event()
        self._seen: float | None = None
        self._thread = threading.Thread(target=self._work, name="model-reloader", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def wake(self) -> None:
        """Reload now, whether or not the choice changed; safe from a signal handler's loop."""
        self._seen = None
        self._woken.set()

    def stop(self) -> None:
        """End, after the load that may be under way."""
        self._stopped.set()
        self._woken.set()
        self._thread.join()

    def _work(self) -> None:
        self._seen = self._choice()
        if not self._load_first():
            return
        while not self._stopped.is_set():
            asked = self._woken.wait(WATCH_EVERY_S)
            self._woken.clear()
            choice = self._choice()
            if self._stopped.is_set() or not (asked or choice != self._seen):
                continue
            self._seen = choice
            try:
                self._reload()
            except LameganError:  # logged and counted by whoever reloads; what served before still does
                continue

    def _choice(self) -> float | None:
        try:
            return self._state_file.stat().st_mtime_ns
        except OSError:
            return None
