"""The models in service: loaded, verified, self-tested and warmed, then swapped in whole; a failure changes nothing.

One version of each name is in service, and one of them is the default. A request leases its model, so a model that is
replaced meanwhile stays loaded until its last request is done.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from service.engine.batcher import Submit
from service.engine.engine import Engine
from service.engine.runtime import Accelerator, Provider
from service.errors import LameganError, NotReady, UnknownModel
from service.registry.card import ModelCard
from service.registry.store import ModelStore
from service.serving.loader import LoadEngine, PrecisionOf, always_float32, load_verified
from service.vocabulary import Precision


class ServedModel:
    """One loaded model and how many requests hold it."""

    def __init__(
        self, card: ModelCard, engine: Engine, signed_by: str | None = None, precision: Precision = "float32"
    ) -> None:
        self.signed_by = signed_by
        self.precision = precision
        self._card = card
        self._engine = engine
        self.submit: Submit = engine.submit
        self.leases = 0
        self.retired = False

    @property
    def card(self) -> ModelCard:
        """The card of the very model that `submit` runs."""
        return self._card

    @property
    def provider(self) -> Provider:
        """The device it really runs on."""
        return self._engine.provider

    @property
    def accelerator(self) -> Accelerator:
        """What computes lone photos of the warmed sizes there."""
        return self._engine.accelerator

    def warm(self, shapes: Sequence[tuple[int, int]]) -> None:
        """See `Engine.warm`."""
        self._engine.warm(shapes)

    def close(self) -> None:
        """Free the engine once what it accepted is finished."""
        self._engine.close()


@dataclass(frozen=True, slots=True)
class ReloadResult:
    """What a reload did.

    Attributes:
        default: the default model now, `name/version`.
        loaded: models newly in service.
        faults: models that could not be put into service, with why; what served before does, or an older version.
    """

    default: str
    loaded: tuple[str, ...]
    faults: tuple[tuple[str, str], ...]


class ModelPool:
    """Leases models to requests, and follows the store's choice of the active one when told to `reload`."""

    def __init__(
        self,
        store: ModelStore,
        default: str,
        load_engine: LoadEngine,
        warm_shapes: Sequence[tuple[int, int]] = (),
        precision_of: PrecisionOf = always_float32,
    ) -> None:
        """Nothing is loaded yet; `default` (name or name/version) holds until a model is activated in the store.

        Of a name the newest version serves that can; newer ones that cannot are among the faults of a `ReloadResult`.

        `warm_shapes` are the (height, width) that a model runs before it takes requests; `precision_of` says in what.
        """
        self._store = store
        self._configured = default
        self._load_engine = load_engine
        self._warm_shapes = warm_shapes
        self._precision_of = precision_of
        self._lock = threading.Lock()
        self._reloading = threading.Lock()
        self._models: dict[str, ServedModel] = {}
        self._default_name = ""

    @property
    def default(self) -> str:
        """`name/version` of the model that serves requests which name none; empty before the first reload."""
        model = self._models.get(self._default_name)
        return model.card.reference if model else ""

    def models(self) -> list[ServedModel]:
        """Every model in service, the default first."""
        with self._lock:
            return sorted(self._models.values(), key=lambda model: model.card.name != self._default_name)

    @contextmanager
    def lease(self, reference: str | None = None) -> Iterator[ServedModel]:
        """The model that `reference` (name or name/version; None: the default) means now, kept loaded while leased.

        Raises:
            UnknownModel: it is not in service.
            NotReady: nothing is in service yet.
        """
        with self._lock:
            model = self._find(reference)
            model.leases += 1
        try:
            yield model
        finally:
            with self._lock:
                model.leases -= 1
                unused = model.retired and model.leases == 0
            if unused:
                model.close()

    def check(self, reference: str | None) -> None:
        """Raise what `lease` would."""
        with self._lock:
            self._find(reference)

    def reload(self) -> ReloadResult:
        """Put the store's active model and the other names' versions into service; what cannot be stays as it was.

        Raises:
            LameganError: nothing serves yet, and the default model and all that may stand in for it cannot.
        """
        with self._reloading:
            faults: dict[str, LameganError] = {}
            order = self._default_order()
            default = self._first_to_load(order, faults)
            if default is None and not self._models:
                raise faults[order[0]]
            ready = [default] if default else []
            names = {_name(reference) for reference in self._store.references()}
            for name in sorted(names - {default.card.name if default else _name(order[0])}):
                model = self._first_to_load(self._store.candidates(name), faults)
                ready += [model] if model else []
            return self._swap(default, ready, faults)

    def close(self) -> None:
        """Take every model out of service and finish what it accepted."""
        with self._lock:
            models, self._models = list(self._models.values()), {}
        for model in models:
            model.close()

    def _default_order(self) -> list[str]:
        """What to try as the default model; once something serves, nothing stands in for the active one but that."""
        history = self._store.history()
        return history[-1:] if history and self._models else self._store.at_start(self._configured)

    def _first_to_load(self, order: Sequence[str], faults: dict[str, LameganError]) -> ServedModel | None:
        """The first of `order` that can be served; what cannot goes to `faults`, each reference once.

        None: none can, or the one in service was reached and its folder is damaged, so that what is loaded stays.
        """
        for reference in order:
            if reference in faults:
                continue
            try:
                return self._loaded(reference) or self._load(reference)
            except LameganError as error:
                faults[reference] = error
                served = self._models.get(_name(reference))
                if served is not None and served.card.reference == reference:
                    return None
        return None

    def _find(self, reference: str | None) -> ServedModel:
        if not self._models:
            raise NotReady("No model is in service.")
        name, _, version = (self._default_name if reference is None else reference).partition("/")
        model = self._models.get(name)
        if model is None or ("/" in (reference or "") and model.card.version != version):
            raise UnknownModel("No such model is in service; GET /models lists those that are.")
        return model

    def _loaded(self, reference: str) -> ServedModel | None:
        """The model in service if it is `reference` with the very weights on disk."""
        model = self._models.get(_name(reference))
        if model is None or model.card != self._store.card(reference):
            return None
        return model

    def _load(self, reference: str) -> ServedModel:
        made = load_verified(self._store, reference, self._load_engine, self._warm_shapes, self._precision_of)
        return ServedModel(made.card, made.engine, self._store.signer(made.card), made.precision)

    def _swap(
        self, default: ServedModel | None, ready: Sequence[ServedModel], faults: dict[str, LameganError]
    ) -> ReloadResult:
        """Serve `ready` and, of what served before, the names that only had faults; `default` None keeps it."""
        with self._lock:
            before = self._models
            self._default_name = default.card.name if default else self._default_name
            known = {self._default_name, *(model.card.name for model in ready), *map(_name, faults)}
            after = before | {model.card.name: model for model in ready}
            after = {name: model for name, model in after.items() if name in known}
            self._models = after
            gone = [model for model in before.values() if model not in after.values()]
            for model in gone:
                model.retired = True
            unused = [model for model in gone if model.leases == 0]
            loaded = tuple(m.card.reference for m in after.values() if m not in before.values())
        for model in unused:
            model.close()
        return ReloadResult(
            self.default, loaded, tuple((reference, error.detail) for reference, error in faults.items())
        )


def _name(reference: str) -> str:
    """`name` of `name/version`."""
    return reference.partition("/")[0]
