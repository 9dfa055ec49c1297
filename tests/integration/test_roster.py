"""Models going in and out of service while requests hold them."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from service.engine.engine import Engine, EngineOptions
from service.errors import LameganError, ModelCorrupt, NotReady, ShuttingDown, UnknownModel
from service.registry.card import read_card, write_card
from service.registry.store import ModelStore
from service.serving.model_pool import ModelPool
from tests import models

BLACK = np.zeros((64, 64, 3), np.uint8)
PATIENCE_S = 20.0

Harm = Callable[[Path, str], None]


def load_engine(weights: bytes) -> Engine:
    return Engine(weights, EngineOptions(device="cpu", threads=1, streams=1))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    models.install(tmp_path, models.brighten(10), "tiny", "1.0.0")
    models.install(tmp_path, models.brighten(20), "tiny", "2.0.0")
    models.install(tmp_path, models.identity(), "other", "1.0.0")
    return tmp_path


@pytest.fixture
def model_pool(root: Path) -> ModelPool:
    model_pool = ModelPool(ModelStore(root), "tiny", load_engine, warm_shapes=[(64, 96)])
    model_pool.reload()
    return model_pool


def corrupt(root: Path, reference: str) -> None:
    (root / reference / "model.onnx").write_bytes(b"no model")


def without_card(root: Path, reference: str) -> None:
    (root / reference / "card.json").unlink()


def without_weights(root: Path, reference: str) -> None:
    (root / reference / "model.onnx").unlink()


def spoil_golden(root: Path, reference: str) -> None:
    """Replace the golden output by the golden input: the model no longer gives what its card says."""
    path = root / reference / "card.json"
    card = read_card(path)
    golden = card.golden.model_copy(update={"output_png": card.golden.input_png})
    write_card(card.model_copy(update={"golden": golden}), path)


def answer(model_pool: ModelPool, reference: str | None = None) -> tuple[str, int]:
    with model_pool.lease(reference) as model:
        return model.card.reference, int(model.submit(BLACK).result(PATIENCE_S).image[0, 0, 0])


def test_the_newest_version_of_each_name_serves(model_pool: ModelPool) -> None:
    assert answer(model_pool) == ("tiny/2.0.0", 20)
    assert answer(model_pool, "other") == ("other/1.0.0", 0)
    assert answer(model_pool, "tiny/2.0.0") == ("tiny/2.0.0", 20)
    assert [model.card.reference for model in model_pool.models()] == ["tiny/2.0.0", "other/1.0.0"]


@pytest.mark.parametrize("reference", ["absent", "tiny/1.0.0", "tiny/9.9.9"])
def test_a_model_that_is_not_in_service_is_unknown(model_pool: ModelPool, reference: str) -> None:
    with pytest.raises(UnknownModel):
        answer(model_pool, reference)


def test_before_the_first_reload_nothing_is_ready(root: Path) -> None:
    with pytest.raises(NotReady):
        answer(ModelPool(ModelStore(root), "tiny", load_engine))


def test_activation_and_roll_back_take_effect_at_the_next_reload(model_pool: ModelPool, root: Path) -> None:
    store = ModelStore(root)
    store.activate("tiny/1.0.0")
    assert answer(model_pool) == ("tiny/2.0.0", 20)
    assert model_pool.reload().loaded == ("tiny/1.0.0",)
    assert answer(model_pool) == ("tiny/1.0.0", 10)
    store.activate("other")
    assert model_pool.reload().default == "other/1.0.0"
    assert answer(model_pool) == ("other/1.0.0", 0)
    assert answer(model_pool, "tiny") == ("tiny/1.0.0", 10)
    store.roll_back()
    model_pool.reload()
    assert answer(model_pool) == ("tiny/1.0.0", 10)


@pytest.mark.parametrize("harm", [corrupt, spoil_golden])
def test_a_bad_model_leaves_the_old_one_serving(model_pool: ModelPool, root: Path, harm: Harm) -> None:
    harm(root, "tiny/1.0.0")
    ModelStore(root).activate("tiny/1.0.0")
    change = model_pool.reload()
    assert change.faults[0][0] == "tiny/1.0.0"
    assert change.default == "tiny/2.0.0"
    assert answer(model_pool) == ("tiny/2.0.0", 20)


def test_a_service_that_starts_with_a_bad_active_model_returns_to_an_earlier_one(root: Path) -> None:
    store = ModelStore(root)
    store.activate("tiny/1.0.0")
    store.activate("tiny/2.0.0")
    corrupt(root, "tiny/2.0.0")
    model_pool = ModelPool(store, "tiny", load_engine)
    assert model_pool.reload().faults[0][0] == "tiny/2.0.0"
    assert answer(model_pool) == ("tiny/1.0.0", 10)


def test_a_first_activation_of_a_bad_model_returns_at_a_start_to_what_served_before(root: Path) -> None:
    models.install(root, models.brighten(30), "tiny", "3.0.0")
    store = ModelStore(root)
    store.activate("tiny/3.0.0")
    shutil.rmtree(root / "tiny/3.0.0")
    model_pool = ModelPool(store, "tiny", load_engine)
    assert model_pool.reload().faults == (("tiny/3.0.0", "No model tiny/3.0.0 is installed."),)
    assert answer(model_pool) == ("tiny/2.0.0", 20)


@pytest.mark.parametrize("harm", [without_card, without_weights, corrupt, spoil_golden])
@pytest.mark.parametrize("name", ["tiny", "other"])
def test_the_newest_version_that_can_serve_does_and_a_broken_newer_one_is_named(
    root: Path, harm: Harm, name: str
) -> None:
    models.install(root, models.brighten(30), name, "3.0.0")
    harm(root, f"{name}/3.0.0")
    model_pool = ModelPool(ModelStore(root), "tiny", load_engine)
    ((reference, reason),) = model_pool.reload().faults
    assert reference == f"{name}/3.0.0"
    assert f"{name}/3.0.0" in reason
    assert answer(model_pool) == ("tiny/2.0.0", 20)
    assert answer(model_pool, "other") == ("other/1.0.0", 0)


@pytest.mark.parametrize("harm", [without_card, corrupt])
def test_a_broken_newer_folder_leaves_the_one_in_service_at_a_reload(
    model_pool: ModelPool, root: Path, harm: Harm
) -> None:
    models.install(root, models.brighten(30), "tiny", "3.0.0")
    harm(root, "tiny/3.0.0")
    change = model_pool.reload()
    assert (change.default, change.loaded) == ("tiny/2.0.0", ())
    assert [reference for reference, _ in change.faults] == ["tiny/3.0.0"]
    assert answer(model_pool) == ("tiny/2.0.0", 20)


def test_a_model_in_service_whose_folder_is_damaged_goes_on_serving(model_pool: ModelPool, root: Path) -> None:
    without_card(root, "tiny/2.0.0")
    change = model_pool.reload()
    assert (change.default, change.loaded) == ("tiny/2.0.0", ())
    assert answer(model_pool) == ("tiny/2.0.0", 20)


def test_an_activated_model_whose_folder_went_changes_nothing_in_a_running_service(
    model_pool: ModelPool, root: Path
) -> None:
    ModelStore(root).activate("other/1.0.0")
    shutil.rmtree(root / "other")
    assert model_pool.reload().default == "tiny/2.0.0"
    shutil.rmtree(root / "tiny")
    assert model_pool.reload().default == "tiny/2.0.0"
    assert answer(model_pool) == ("tiny/2.0.0", 20)


@pytest.mark.parametrize("default", ["tiny", "tiny/2.0.0"])
def test_a_service_whose_named_model_or_every_version_is_broken_does_not_start(root: Path, default: str) -> None:
    corrupt(root, "tiny/2.0.0")
    if default == "tiny":
        corrupt(root, "tiny/1.0.0")
    with pytest.raises(ModelCorrupt, match=r"tiny/2\.0\.0"):
        ModelPool(ModelStore(root), default, load_engine).reload()


def test_a_replaced_model_is_closed_only_after_its_last_lease(model_pool: ModelPool, root: Path) -> None:
    with model_pool.lease() as held:
        ModelStore(root).activate("tiny/1.0.0")
        model_pool.reload()
        assert int(held.submit(BLACK).result(PATIENCE_S).image[0, 0, 0]) == 20
        assert answer(model_pool) == ("tiny/1.0.0", 10)
    with pytest.raises(ShuttingDown):
        held.submit(BLACK)


def test_requests_across_activations_never_fail_and_name_the_model_that_made_them(
    model_pool: ModelPool, root: Path
) -> None:
    right: list[bool] = []
    failed: list[LameganError] = []
    stop = threading.Event()
    made = {"tiny/1.0.0": 10, "tiny/2.0.0": 20, "other/1.0.0": 0}

    def ask() -> None:
        while not stop.is_set():
            try:
                reference, value = answer(model_pool)
            except LameganError as error:
                failed.append(error)
            else:
                right.append(made[reference] == value)

    askers = [threading.Thread(target=ask) for _ in range(3)]
    for asker in askers:
        asker.start()
    store = ModelStore(root)
    for turn in range(12):
        store.activate(("tiny/1.0.0", "other/1.0.0", "tiny/2.0.0")[turn % 3])
        model_pool.reload()
    stop.set()
    for asker in askers:
        asker.join(PATIENCE_S)
    assert failed == []
    assert len(right) > 12
    assert all(right)
