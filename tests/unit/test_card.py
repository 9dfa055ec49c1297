"""The card names every set of photos that the weights have learnt from, once, and says what kind of run it was."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from model_training.config.load import load_config
from model_training.config.schema import TrainingConfig
from model_training.export.card import CardFacts, compose_card
from model_training.runs.average import write_mean
from model_training.runs.checkpoint import Vault, best_path, read_checkpoint, write_checkpoint
from model_training.runs.provenance import SourceNote, each_once, read_notes
from model_training.training.distil import DistilRequest, distil
from model_training.training.fit import FitRequest, fit
from model_training.training.pretrain import WarmStartRequest, warm_start
from service.errors import DataError
from service.registry.card import Golden, ModelCard
from tests.training_files import write_photos

QUIET = Console(quiet=True)
SETTINGS = [
    "objective=cyclegan",
    "generator={name: fast, options: {widths: [8, 8, 8], blocks: [1, 1, 1]}}",
    "data={height: 64, width: 96, crop: 64}",
    "optimiser={constant: 1, decay: 0, unit: steps}",
    "distillation.structure=0",
    "warmstart={steps: 1, batch: 2, degrader_every: 1, photo_size: [96, 96]}",
    "warmstart.mixture={count_phantoms: 1, count_everyday: 1}",
    "journal={validate: 1, validate_images: 1}",
]
CONFIG = load_config("smoke", SETTINGS)


def card_of(state: dict[str, Any], notes: dict[str, SourceNote] | None = None) -> ModelCard:
    config = TrainingConfig.from_recipe(state["config"])
    golden = Golden(input_png="", output_png="")
    return compose_card(CardFacts("tiny", "1.0.0", "0" * 64, 1, 1, config, state, "0" * 64, notes or {}, golden))


def told(card: ModelCard) -> list[tuple[str, str, int | None]]:
    return [(source.name, source.role, source.patients) for source in card.training.data]


def newest(run: Path) -> Path:
    return Vault(run / "checkpoints", keep=1).paths()[-1]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A warm start on clinic A, a fine-tuning of it on phone B and clinic C, and a mean and a student of these."""
    folder = tmp_path_factory.mktemp("runs")
    a, b, c = (write_photos(folder / name, 2, seed=seed) for name, seed in (("a", 0), ("b", 10), ("c", 20)))
    (folder / "a.yaml").write_text("hq: {name: clinic A, licence: CC0, credit: A, patients: 7}\n")
    (folder / "bc.yaml").write_text("lq: {name: phone B, patients: 2}\nhq: {name: clinic C, patients: 3}\n")
    first = WarmStartRequest(CONFIG, a, folder / "first", validate=a, sources=folder / "a.yaml", device="cpu")
    warm_start(first, QUIET)
    begun = newest(folder / "first")
    second = FitRequest(CONFIG, b, c, folder / "second", warm_start=begun, sources=folder / "bc.yaml", device="cpu")
    fit(replace(second, validate=c), QUIET)
    write_mean(newest(folder / "second"), begun, folder / "mean.pt")
    distil(DistilRequest(CONFIG, folder / "second", a, folder / "student", device="cpu"), QUIET)
    return folder


def test_a_fine_tuned_model_tells_what_its_warm_start_learnt_from(runs: Path) -> None:
    card = card_of(read_checkpoint(newest(runs / "second")).state)
    assert told(card) == [("phone B", "lq", 2), ("clinic C", "hq", 3), ("clinic A", "both", 7)]
    assert "trained on 6 images of 12 patients" in card.limits


def test_a_mean_tells_the_photos_of_both_once(runs: Path) -> None:
    card = card_of(read_checkpoint(runs / "mean.pt").state)
    assert sorted(told(card)) == [("clinic A", "both", 7), ("clinic C", "hq", 3), ("phone B", "lq", 2)]


def test_a_student_tells_its_teachers_photos_and_takes_from_them_what_it_was_not_told(runs: Path) -> None:
    card = card_of(read_checkpoint(newest(runs / "student")).state)
    assert told(card) == [("clinic A", "both", 7), ("phone B", "lq", 2), ("clinic C", "hq", 3)]
    assert card.objective.name == "distillation"
    assert "distillation.structure 0.25 -> 0.0" in card.objective.note
    assert "pool" not in card.objective.note


def test_a_warm_start_counts_its_photos_once_and_says_what_it_was_also_by_its_best(runs: Path) -> None:
    for path in (newest(runs / "first"), best_path(runs / "first" / "checkpoints")):
        card = card_of(read_checkpoint(path).state)
        assert card.objective.name == "warm start"
        assert card.objective.settings["steps"] == 1
        assert card.objective.settings["rate"] == 1e-3
        assert "warmstart.batch 8 -> 2" in card.objective.note
        assert "optimiser" not in card.objective.note
        assert "trained on 2 images of 7 patients" in card.limits
        assert told(card) == [("clinic A", "both", 7)]
        assert card.network.options == {"widths": [8, 8, 8], "blocks": [1, 1, 1]}


def test_the_best_of_an_adversarial_run_is_that_objectives(runs: Path) -> None:
    state = read_checkpoint(best_path(runs / "second" / "checkpoints")).state
    assert state["kind"] == "adversarial"
    assert card_of(state).objective.name == "cyclegan"


def test_an_older_checkpoint_still_has_a_card(runs: Path, tmp_path: Path) -> None:
    state = read_checkpoint(newest(runs / "second")).state
    everyday = {**state["data"]["x"], "name": "holidays", "digest": "e" * 64}
    write_checkpoint(tmp_path / "old.pt", {**state, "seen": {"e" * 64: everyday}})
    card = card_of(read_checkpoint(tmp_path / "old.pt").state)
    assert told(card)[2] == ("holidays", "both", 2)
    del state["seen"]
    assert len(card_of(state).training.data) == 2


def test_notes_of_an_export_mend_each_set_on_its_own(runs: Path, tmp_path: Path) -> None:
    state = read_checkpoint(newest(runs / "second")).state
    now, before, other = ({**state["data"]["x"], "name": name, "digest": name[0] * 64} for name in ("e", "d", "f"))
    state = {**state, "data": {**state["data"], "everyday": now}, "seen": {"d" * 64: before, "f" * 64: other}}
    (tmp_path / "notes.yaml").write_text(f"everyday: {{name: now}}\n{'d' * 64}: {{name: before, patients: 0}}\n")
    notes = read_notes(tmp_path / "notes.yaml")
    assert told(card_of(state, notes))[2:] == [("now", "both", 2), ("before", "both", 0), ("f", "both", 2)]
    with pytest.raises(DataError, match=r"no photos of digest 0000"):
        card_of(state, {"0" * 64: SourceNote(name="nobody's")})


def test_a_set_in_two_roles_is_told_once_with_what_either_says() -> None:
    said = {"digest": "a", "licence": "unstated", "credit": "unstated", "images": 2}
    both = each_once([
        {**said, "role": "lq", "name": "unnamed", "patients": None},
        {**said, "role": "hq", "name": "clinic", "patients": 3},
    ])  # fmt: skip
    assert both == {"a": {**said, "role": "both", "name": "clinic", "patients": 3}}


@pytest.mark.parametrize(
    "text",
    ["HQ: {name: x}\n", "hqq: {}\n", "- lq\n- hq\n", "hq: {name: x, licens: y}\n", "just text\n", "lq\n", "", "{}\n",
     "hq: {name: x, patients: -1}\n", "hq:\n"],
)  # fmt: skip
def test_a_file_that_does_not_describe_the_photos_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "sources.yaml").write_text(text)
    with pytest.raises(DataError, match="expected YAML with lq, hq, everyday or a set's digest"):
        read_notes(tmp_path / "sources.yaml")
