"""A model whose guardrail was never calibrated is held to strict built-in thresholds, and everything says so."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from service.commands.main import app
from service.errors import ModelInvalid
from service.registry.card import BUILT_IN_FLOORS, BUILT_IN_GUARD, Guard, GuardFloors, read_card, write_card
from service.registry.store import ModelStore
from tests import models
from tests.integration.command import command
from tests.live import LiveService, encoded, scene, wait_until

PHOTO = encoded(scene())


@pytest.fixture
def uncalibrated(tmp_path: Path) -> Path:
    """A folder with a model that paints noise and has no calibrated thresholds."""
    models.install(tmp_path, models.noise(), floors=None)
    return tmp_path


@pytest.fixture
def live(uncalibrated: Path) -> Iterator[LiveService]:
    models.install(uncalibrated, models.identity(), "sound", floors=models.STRICT)
    with LiveService(uncalibrated) as service:
        yield service


@pytest.mark.parametrize(("policy", "verdict"), [("constrain", "constrained"), ("withhold", "withheld")])
def test_noise_from_an_uncalibrated_model_is_never_delivered_as_made(
    live: LiveService, policy: str, verdict: str
) -> None:
    answer = live.http.post(f"/enhance?policy={policy}", content=PHOTO)
    assert answer.headers["lassim-verdict"] == verdict
    assert float(answer.headers["lassim"]) >= (BUILT_IN_FLOORS.lassim or 1)


def test_under_annotate_it_does_not_pass(uncalibrated: Path) -> None:
    with LiveService(uncalibrated, policy="annotate") as service:
        assert service.http.post("/enhance", content=PHOTO).headers["lassim-verdict"] == "constrained"


def test_from_the_command_line_too(uncalibrated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "photo.png").write_bytes(PHOTO)
    monkeypatch.setenv("LAMEGAN_MODELS_DIR", str(uncalibrated))
    monkeypatch.setenv("LAMEGAN_MODEL", "tiny")
    done = CliRunner().invoke(app, ["enhance", str(tmp_path / "photo.png"), "--json"])
    assert done.exit_code == 0
    (image,) = json.loads(done.stdout)["images"]
    assert image["verdict"] == "constrained"


def test_the_model_list_states_the_floors_in_force_and_that_they_are_built_in(live: LiveService) -> None:
    tiny, sound = live.http.get("/models").json()["models"]
    assert tiny["calibrated"] is False
    assert tiny["floors"] == BUILT_IN_FLOORS.model_dump()
    assert sound["calibrated"] is True
    assert sound["floors"] == models.STRICT.model_dump()


def test_a_metric_tells_the_two_apart(live: LiveService) -> None:
    text = live.http.get("/metrics").text
    for reference, expected in (("tiny/1.0.0", "1.0"), ("sound/1.0.0", "0.0")):
        digest = live.service.store.card(reference).file.sha256
        assert f'lamegan_model_uncalibrated{{model_digest="{digest}"}} {expected}' in text


def test_the_service_warns_at_its_start(uncalibrated: Path, tmp_path: Path) -> None:
    with command(uncalibrated, tmp_path / "log") as running:
        running.ready_url()
        wait_until(lambda: "model not calibrated" in (tmp_path / "log").read_text())
        (event,) = [event for event in running.events() if event["event"] == "model not calibrated"]
    assert event["level"] == "warning"
    assert event["model"] == "tiny/1.0.0"
    assert "built-in" in str(event["reason"])


def test_it_is_activated_only_when_that_is_asked_for(uncalibrated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAMEGAN_MODELS_DIR", str(uncalibrated))
    refused = CliRunner().invoke(app, ["models", "activate", "tiny"])
    assert refused.exit_code != 0
    assert "--uncalibrated" in str(refused.exception)
    assert ModelStore(uncalibrated).history() == []
    assert CliRunner().invoke(app, ["models", "activate", "tiny", "--uncalibrated"]).exit_code == 0
    assert ModelStore(uncalibrated).history() == ["tiny/1.0.0"]
    assert "not calibrated" in CliRunner().invoke(app, ["models", "list"]).stdout


@pytest.mark.parametrize("name", list(BUILT_IN_FLOORS.model_dump(exclude_none=True)))
def test_for_a_floor_that_a_card_leaves_out_the_built_in_one_holds(tmp_path: Path, name: str) -> None:
    partly = models.STRICT.model_copy(update={name: None})
    card = models.install(tmp_path, models.identity(), floors=partly)
    assert not card.calibrated
    assert card.floors == models.STRICT.model_copy(update={name: getattr(BUILT_IN_FLOORS, name)})


def test_a_card_with_every_floor_is_calibrated_and_keeps_its_own(tmp_path: Path) -> None:
    card = models.install(tmp_path, models.identity(), floors=models.STRICT)
    assert card.calibrated
    assert card.floors == models.STRICT


def test_a_card_that_says_it_is_not_calibrated_is_believed(tmp_path: Path) -> None:
    card = models.install(tmp_path, models.identity(), floors=models.STRICT)
    write_card(card.model_copy(update={"guard": BUILT_IN_GUARD}), tmp_path / "card.json")
    read = read_card(tmp_path / "card.json")
    assert not read.calibrated
    assert read.floors == BUILT_IN_FLOORS


def test_a_calibrated_guard_must_state_its_alpha(tmp_path: Path) -> None:
    card = models.install(tmp_path, models.identity(), floors=models.STRICT)
    unstated = Guard.model_construct(floors=GuardFloors(lassim=0.1), calibrated=True, alpha=None)
    write_card(card.model_copy(update={"guard": unstated}), tmp_path / "card.json")
    with pytest.raises(ModelInvalid, match="states its alpha"):
        read_card(tmp_path / "card.json")


def test_the_shipped_model_is_calibrated_and_no_built_in_floor_is_milder_than_its_own() -> None:
    (path,) = Path(__file__).parents[2].glob("models/lamegan-fast/1.0.0/card.json")
    card = read_card(path)
    assert card.calibrated
    for name, floor in BUILT_IN_FLOORS.model_dump(exclude_none=True).items():
        own = getattr(card.floors, name)
        assert floor >= own if name in ("lassim", "worst") else floor <= own
