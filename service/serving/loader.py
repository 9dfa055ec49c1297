"""Loads one installed model: verified, self-tested and warmed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from service.engine.engine import Engine
from service.registry.card import ModelCard
from service.registry.store import ModelStore, self_test
from service.vocabulary import Precision

LoadEngine = Callable[[bytes], Engine]
"""Makes an engine of the bytes of a model file."""

PrecisionOf = Callable[[Collection[Precision]], Precision]
"""In what a model is to run that has these variants."""


def always_float32(_variants: Collection[Precision]) -> Precision:
    """`float32`."""
    return "float32"


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model ready to serve: its card, its engine, and in what that computes."""

    card: ModelCard
    engine: Engine
    precision: Precision


def load_verified(
    store: ModelStore,
    reference: str,
    load_engine: LoadEngine,
    warm_shapes: Sequence[tuple[int, int]] = (),
    precision_of: PrecisionOf = always_float32,
) -> Loaded:
    """The model `name/version`, whose engine has passed the self-test and run `warm_shapes`.

    Raises:
        UnknownModel: it is not installed.
        ModelError: it cannot be served; which of its kinds says why.
    """
    card = store.card(reference)
    precision = precision_of(card.variants)
    engine = load_engine(store.weights(card, precision))
    try:
        self_test(card, engine.run, precision)
        engine.warm(warm_shapes)
    except BaseException:
        engine.close()
        raise
    return Loaded(card, engine, precision)
