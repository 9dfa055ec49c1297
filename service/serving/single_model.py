"""A single model for a command that runs and ends; a service keeps a `ModelPool` instead."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Self

from service.engine.batcher import Submit
from service.engine.engine import Engine, EngineOptions
from service.engine.runtime import Accelerator
from service.errors import ModelError, UnknownModel
from service.registry.card import ModelCard
from service.registry.store import ModelStore
from service.serving.loader import load_verified

_log = logging.getLogger(__name__)


class SingleModel:
    """One verified, self-tested model, leased to whoever asks; a context manager that frees it in the end."""

    def __init__(self, store: ModelStore, reference: str, options: EngineOptions, *, as_default: bool = False) -> None:
        """Load what `reference` (name or name/version) means in `store`: of several versions the newest that can serve.

        Newer ones that cannot are named in a warning, as a service does. With `as_default` it is the default of the
        settings, which gives way to what was activated, as in a service.

        Raises:
            UnknownModel: it is not installed.
            ModelError: none can be served; what is wrong with the first, by its kind.
        """
        faults: dict[str, ModelError] = {}
        for candidate in store.at_start(reference) if as_default else store.candidates(reference):
            try:
                loaded = load_verified(
                    store, candidate, lambda weights: Engine(weights, options), precision_of=options.precision_of
                )
            except ModelError as error:
                faults[candidate] = error
            else:
                break
        else:
            raise next(iter(faults.values()))
        self._card, self._engine, self.precision = loaded.card, loaded.engine, loaded.precision
        if not self._card.calibrated:
            _log.warning("%s has no calibrated guardrail; strict built-in thresholds hold.", self._card.reference)
        for passed_over, fault in faults.items():
            _log.warning("%s is passed over for %s: %s", passed_over, self._card.reference, fault.detail)

    @property
    def card(self) -> ModelCard:
        """The model's card."""
        return self._card

    @property
    def accelerator(self) -> Accelerator:
        """What computes lone photos of the sizes that were warmed."""
        return self._engine.accelerator

    def warm(self, shapes: Sequence[tuple[int, int]]) -> None:
        """See `Engine.warm`."""
        self._engine.warm(shapes)

    @property
    def depth(self) -> int:
        """Images waiting for a run."""
        return self._engine.depth

    @property
    def submit(self) -> Submit:
        """Queue an image for it."""
        return self._engine.submit

    @contextmanager
    def lease(self, reference: str | None) -> Iterator[Self]:
        """This model, if `reference` is None or means it.

        Raises:
            UnknownModel: another one is asked for.
        """
        if reference not in (None, self._card.name, self._card.reference):
            raise UnknownModel(f"Only {self._card.reference} is loaded.")
        yield self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._engine.close()
