"""The registry on real folders."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import sleep

import numpy as np
import pytest

from service.errors import CommandError, InferenceFailed, ModelCorrupt, ModelInvalid, SelfTestFailed, UnknownModel
from service.registry.store import ModelStore, self_test
from tests import models


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    for version in ("1.0.0", "1.2.0", "1.10.0", "1.10.0-rc.1"):
        models.install(tmp_path, models.identity(), "tiny", version)
    models.install(tmp_path, models.brighten(), "other", "2.0.0")
    return ModelStore(tmp_path)


def test_models_are_listed_by_name_with_the_newest_first(store: ModelStore) -> None:
    assert [entry.reference for entry in store.installed()] == [
        "other/2.0.0",
        "tiny/1.10.0",
        "tiny/1.10.0-rc.1",
        "tiny/1.2.0",
        "tiny/1.0.0",
    ]


def test_pre_releases_are_ordered_as_semver_orders_them(tmp_path: Path) -> None:
    rising = ["alpha", "alpha.1", "alpha.beta", "beta", "beta.2", "beta.11", "rc.1"]  # the example of its clause 11
    for pre in rising:
        (tmp_path / "tiny" / f"1.0.0-{pre}").mkdir(parents=True)
    (tmp_path / "tiny" / "1.0.0").mkdir()
    newest_first = ["tiny/1.0.0", *(f"tiny/1.0.0-{pre}" for pre in reversed(rising))]
    assert ModelStore(tmp_path).references() == newest_first


def test_of_activations_at_the_same_time_none_is_lost(
    store: ModelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.activate("other/2.0.0")
    read = ModelStore.history

    def slowly(self: ModelStore) -> list[str]:
        history = read(self)
        sleep(0.05)
        return history

    monkeypatch.setattr(ModelStore, "history", slowly)
    chosen = ["tiny/1.0.0", "tiny/1.2.0", "tiny/1.10.0"]
    with ThreadPoolExecutor(3) as operators:
        list(operators.map(lambda reference: ModelStore(tmp_path).activate(reference), chosen))
    assert sorted(ModelStore(tmp_path).history()[-3:]) == sorted(chosen)


def test_a_name_means_the_newest_version_until_one_is_activated(store: ModelStore) -> None:
    assert store.resolve("tiny") == "tiny/1.10.0"
    store.activate("tiny/1.0.0")
    store.activate("other")
    assert store.resolve("tiny") == "tiny/1.0.0"
    assert store.history() == ["tiny/1.10.0", "tiny/1.0.0", "other/2.0.0"]


def test_activations_outlive_the_process_and_roll_back_one_by_one(store: ModelStore, tmp_path: Path) -> None:
    for reference in ("tiny/1.0.0", "tiny/1.2.0", "other/2.0.0"):
        store.activate(reference)
    assert ModelStore(tmp_path).roll_back() == "tiny/1.2.0"
    assert ModelStore(tmp_path).roll_back() == "tiny/1.0.0"
    assert ModelStore(tmp_path).roll_back() == "tiny/1.10.0"
    with pytest.raises(CommandError):
        store.roll_back()
    assert store.history() == ["tiny/1.10.0"]


@pytest.mark.parametrize(
    ("reference", "default", "before"),
    [
        ("tiny/1.10.0", "tiny", "tiny/1.10.0-rc.1"),  # copied in and activated: the newest beside it served
        ("tiny/1.2.0", "tiny", "tiny/1.10.0"),
        ("tiny/1.2.0", "tiny/1.0.0", "tiny/1.0.0"),
        ("tiny/1.2.0", "other", "other/2.0.0"),
        ("other/2.0.0", "tiny", "tiny/1.10.0"),
        ("tiny/1.2.0", None, "tiny/1.10.0"),
    ],
)
def test_the_first_activation_rolls_back_to_what_served_before(
    store: ModelStore, reference: str, default: str | None, before: str
) -> None:
    assert store.activate(reference, default) == before
    assert store.resolve(reference.partition("/")[0]) == reference
    assert store.roll_back() == before
    assert store.at_start("absent") == [before]


@pytest.mark.parametrize("default", ["other", "absent", "other/2.0.0"])
def test_a_first_activation_with_nothing_else_to_serve_has_nothing_to_roll_back_to(
    store: ModelStore, default: str
) -> None:
    assert store.activate("other/2.0.0", default) is None
    with pytest.raises(CommandError):
        store.roll_back()


def test_a_first_activation_never_rolls_back_to_a_broken_model(store: ModelStore, tmp_path: Path) -> None:
    (tmp_path / "tiny/1.10.0/card.json").unlink()
    (tmp_path / "tiny/1.10.0-rc.1/model.onnx").write_bytes(b"half")
    assert store.activate("tiny/1.0.0", "tiny") == "tiny/1.2.0"


def test_rolling_back_to_a_broken_model_is_refused_and_changes_nothing(store: ModelStore, tmp_path: Path) -> None:
    store.activate("tiny/1.0.0", "tiny")
    store.activate("tiny/1.2.0", "tiny")
    (tmp_path / "tiny/1.0.0/model.onnx").write_bytes(b"half")
    with pytest.raises(CommandError, match=r"tiny/1\.0\.0 cannot serve: .*not the one its card describes"):
        store.roll_back()
    assert store.resolve("tiny") == "tiny/1.2.0"


def test_a_name_passes_over_newer_versions_that_are_incomplete_and_says_so(
    store: ModelStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "tiny/1.10.0/card.json").unlink()
    (tmp_path / "tiny/1.10.0-rc.1/model.onnx").write_bytes(b"half")
    assert store.resolve("tiny") == "tiny/1.2.0"
    missing, half = (record.getMessage() for record in caplog.records)
    assert missing.startswith("tiny/1.10.0 is passed over for tiny/1.2.0: ")
    assert str(tmp_path / "tiny/1.10.0/card.json") in missing
    assert half.startswith("tiny/1.10.0-rc.1 is passed over for tiny/1.2.0: ")
    assert str(tmp_path / "tiny/1.10.0-rc.1/model.onnx") in half


def test_what_was_named_or_activated_is_meant_though_it_is_broken(store: ModelStore, tmp_path: Path) -> None:
    (tmp_path / "tiny/1.10.0/card.json").unlink()
    assert store.resolve("tiny/1.10.0") == "tiny/1.10.0"
    store.activate("tiny/1.10.0")
    assert store.resolve("tiny") == "tiny/1.10.0"


def test_a_name_without_a_sound_version_means_the_newest(store: ModelStore, tmp_path: Path) -> None:
    for card in tmp_path.glob("tiny/*/card.json"):
        card.unlink()
    assert store.resolve("tiny") == "tiny/1.10.0"
    with pytest.raises(ModelInvalid, match=r"tiny/1\.10\.0/card\.json"):
        store.card("tiny/1.10.0")


def test_state_can_lie_elsewhere(tmp_path: Path) -> None:
    models.install(tmp_path / "models", models.identity())
    (tmp_path / "state").mkdir()
    store = ModelStore(tmp_path / "models", tmp_path / "state")
    store.activate("tiny/1.0.0")
    assert (tmp_path / "state" / "active.json").exists()
    assert not (tmp_path / "models" / "active.json").exists()


@pytest.mark.parametrize("reference", ["absent", "tiny/9.9.9", "../etc", "tiny/../other", "", "tiny/1.0.0/"])
def test_a_model_that_is_not_there_is_unknown(store: ModelStore, reference: str) -> None:
    with pytest.raises(UnknownModel):
        store.resolve(reference)
    with pytest.raises(UnknownModel):
        store.activate(reference)
    assert store.history() == []


def test_a_flipped_bit_in_the_weights_is_found(store: ModelStore, tmp_path: Path) -> None:
    card = store.card("tiny/1.0.0")
    weights = store.weights(card)
    path = tmp_path / "tiny" / "1.0.0" / "model.onnx"
    path.write_bytes(weights[:-1] + bytes([weights[-1] ^ 1]))
    with pytest.raises(ModelCorrupt):
        store.weights(card)


def test_a_broken_card_is_listed_with_what_is_wrong(store: ModelStore, tmp_path: Path) -> None:
    card_file = tmp_path / "tiny" / "1.0.0" / "card.json"
    card_file.write_text("{}")
    (broken,) = [entry for entry in store.installed() if entry.reference == "tiny/1.0.0"]
    assert broken.card is None
    assert broken.fault
    card_file.unlink()
    with pytest.raises(ModelInvalid, match=r"tiny/1\.0\.0/card\.json"):
        store.card("tiny/1.0.0")


def test_weights_that_are_not_the_cards_are_listed_as_a_fault(store: ModelStore, tmp_path: Path) -> None:
    (tmp_path / "tiny/1.0.0/model.onnx").write_bytes(b"half")
    faults = {entry.reference: entry.fault for entry in store.installed() if entry.fault}
    assert list(faults) == ["tiny/1.0.0"]
    assert str(tmp_path / "tiny/1.0.0/model.onnx") in faults["tiny/1.0.0"]


def test_a_card_in_another_models_folder_is_refused(store: ModelStore, tmp_path: Path) -> None:
    foreign = (tmp_path / "other" / "2.0.0" / "card.json").read_bytes()
    (tmp_path / "tiny" / "1.0.0" / "card.json").write_bytes(foreign)
    with pytest.raises(ModelInvalid):
        store.card("tiny/1.0.0")


@pytest.mark.parametrize("state", ["", "[]", "{}", '{"history": 3}'])
def test_a_state_file_that_makes_no_sense_is_an_error(store: ModelStore, state: str) -> None:
    store.state_file.write_text(state)
    with pytest.raises(ModelInvalid):
        store.history()


def test_the_history_is_bounded(store: ModelStore) -> None:
    for _ in range(30):
        store.activate("tiny/1.0.0")
        store.activate("tiny/1.2.0")
    assert len(json.loads(store.state_file.read_text())["history"]) == 20


def test_the_self_test_passes_the_true_model_and_fails_another(store: ModelStore) -> None:
    card = store.card("tiny/1.0.0")
    assert self_test(card, lambda batch: batch) == 0
    assert self_test(card, lambda batch: batch ^ np.uint8(1)) == 1
    with pytest.raises(SelfTestFailed):
        self_test(card, lambda batch: 255 - batch)
    with pytest.raises(SelfTestFailed):
        self_test(card, lambda batch: batch[:, :-1])

    def fails(_batch: np.ndarray) -> np.ndarray:
        raise InferenceFailed("The model answered with an image of another shape.")

    with pytest.raises(SelfTestFailed, match=f"^{card.reference} fails on its golden image: The model answered"):
        self_test(card, fails)
