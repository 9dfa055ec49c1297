"""Loads one installed model: verified, self-tested and warmed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from service.engine.engine import Engine
from service.registry.card import ModelCard
from service.registry.store import ModelStore, self_test

LoadEngine = Callable[[bytes], Engine]
"""Makes an engine of the bytes of a model file."""


def load_verified(
    store: ModelStore,
    reference: str,
    load_engine: LoadEngine,
    warm_shapes: Sequence[tuple[int, int]] = (),
) -> tuple[ModelCard, Engine]:
    """The card of `name/version` and an engine of its weights that has passed the self-test and run `warm_shapes`.

    Raises:
        UnknownModel: it is not installed.
        ModelError: it cannot be served; which of its kinds says why.
    """
    card = store.card(reference)
    engine = load_engine(store.weights(card))
    try:
        self_test(card, engine.run)
        engine.warm(warm_shapes)
    except BaseException:
        engine.close()
        raise
    return card, engine
