"""Starting, reloading and stopping: the real command in a process of its own, and activations under load."""

from __future__ import annotations

import json
import re
import signal
import sys
import threading
from collections import Counter
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from benchmarks.load import Client, post
from service.commands.main import app, main
from tests import models
from tests.integration.command import command
from tests.live import PATIENCE_S, LiveService, decoded, encoded, scene, wait_until

PNG = encoded(scene(96, 80))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    models.install(folder, models.brighten(8), "tiny", "1.0.0")
    models.install(folder, models.brighten(24), "tiny", "2.0.0")
    return folder


def test_at_sigterm_accepted_work_is_finished_and_new_work_is_503(tmp_path: Path) -> None:
    models.install(tmp_path / "models", models.busy(rounds=300))  # seconds of native work
    with command(tmp_path / "models", tmp_path / "log", LAMEGAN_INFER_THREADS="1") as running:
        url = running.ready_url()
        answers: list[httpx.Response] = []
        accepted = threading.Thread(
            target=lambda: answers.append(httpx.post(f"{url}/enhance", content=PNG, timeout=60, trust_env=False))
        )
        accepted.start()
        with httpx.Client(base_url=url, trust_env=False) as client:
            wait_until(lambda: "lamegan_requests_in_flight 2.0" in client.get("/metrics").text)
            running.process.send_signal(signal.SIGTERM)
            wait_until(lambda: client.get("/health/ready").status_code == 503)
            refused = client.post("/enhance", content=PNG)
            assert (refused.status_code, refused.json()["code"]) == (503, "shutting-down")
            assert int(refused.headers["retry-after"]) >= 1
            assert client.get("/health/live").status_code == 200
        accepted.join(60)
        assert answers[0].status_code == 200
        assert running.process.wait(PATIENCE_S) == 0


def test_at_sigterm_under_load_every_request_has_an_answer_and_the_exit_code_is_0(tmp_path: Path) -> None:
    models.install(tmp_path / "models", models.busy(rounds=30))
    with command(tmp_path / "models", tmp_path / "log", LAMEGAN_INFER_THREADS="1") as running:
        url = running.ready_url()
        statuses: list[int] = []

        def send() -> None:
            with httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
                while not statuses or 503 not in statuses:
                    statuses.append(client.post("/enhance", content=PNG).status_code)

        clients = [threading.Thread(target=send) for _ in range(6)]
        for client in clients:
            client.start()
        wait_until(lambda: statuses.count(200) >= 6)
        running.process.send_signal(signal.SIGTERM)
        for client in clients:
            client.join(60)
        assert not any(client.is_alive() for client in clients)
        assert set(statuses) == {200, 503}
        assert running.process.wait(PATIENCE_S) == 0


def test_sighup_puts_the_active_choice_into_service(root: Path, tmp_path: Path) -> None:
    with command(root, tmp_path / "log") as running:
        url = running.ready_url()
        assert httpx.post(f"{url}/enhance", content=PNG, trust_env=False).headers["model"] == "tiny/2.0.0"
        models.install(root, models.brighten(4), "tiny", "3.0.0")
        running.process.send_signal(signal.SIGHUP)
        wait_until(lambda: httpx.post(f"{url}/enhance", content=PNG, trust_env=False).headers["model"] == "tiny/3.0.0")
        providers = [event["provider"] for event in running.events() if event["event"] == "model loaded"]
        assert set(providers) == {"cpu"}


def test_the_activate_command_moves_a_running_service_and_roll_back_moves_it_again(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAMEGAN_MODELS_DIR", str(root))
    monkeypatch.setenv("LAMEGAN_MODEL", "tiny")
    with LiveService(root) as live:
        for reference in ("tiny/1.0.0", "tiny/2.0.0"):
            assert CliRunner().invoke(app, ["models", "activate", reference]).exit_code == 0
            wait_until(lambda wanted=reference: live.http.post("/enhance", content=PNG).headers["model"] == wanted)  # type: ignore[misc]
        assert CliRunner().invoke(app, ["models", "rollback"]).exit_code == 0
        wait_until(lambda: live.http.post("/enhance", content=PNG).headers["model"] == "tiny/1.0.0")


def test_roll_back_after_the_first_activation_returns_to_what_served(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAMEGAN_MODELS_DIR", str(root))
    monkeypatch.setenv("LAMEGAN_MODEL", "tiny")
    with LiveService(root) as live:
        models.install(root, models.brighten(40), "tiny", "2.1.0")
        activated = CliRunner().invoke(app, ["models", "activate", "tiny/2.1.0"])
        assert activated.stdout == "tiny/2.1.0 is active; rollback returns to tiny/2.0.0.\n"
        wait_until(lambda: live.http.post("/enhance", content=PNG).headers["model"] == "tiny/2.1.0")
        assert CliRunner().invoke(app, ["models", "rollback"]).stdout == "tiny/2.0.0 is active.\n"
        wait_until(lambda: live.http.post("/enhance", content=PNG).headers["model"] == "tiny/2.0.0")


def test_a_service_starts_beside_an_incomplete_newer_model_and_names_it(root: Path, tmp_path: Path) -> None:
    incomplete = root / "tiny" / "3.0.0"
    incomplete.mkdir()
    with command(root, tmp_path / "log") as running:
        url = running.ready_url()
        assert httpx.post(f"{url}/enhance", content=PNG, trust_env=False).headers["model"] == "tiny/2.0.0"
        (event,) = [event for event in running.events() if event["event"] == "model not loaded"]
        assert (event["model"], event["serving"]) == ("tiny/3.0.0", "tiny/2.0.0")
        assert str(incomplete / "card.json") in str(event["reason"])
        text = httpx.get(f"{url}/metrics", trust_env=False).text
        assert 'lamegan_model_reloads_total{outcome="failed"} 1.0' in text


def test_a_bad_model_is_refused_by_the_command_and_by_the_service(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAMEGAN_MODELS_DIR", str(root))
    with LiveService(root) as live:
        (root / "tiny/1.0.0/model.onnx").write_bytes(b"no model")
        refused = CliRunner().invoke(app, ["models", "activate", "tiny/1.0.0"])
        assert refused.exit_code != 0
        assert not live.service.store.state_file.exists()
        live.service.store.activate("tiny/1.0.0")  # past the command's own check
        wait_until(lambda: 'lamegan_model_reloads_total{outcome="failed"} 1.0' in live.http.get("/metrics").text)
        assert live.http.post("/enhance", content=PNG).headers["model"] == "tiny/2.0.0"
        assert live.http.get("/health/ready").status_code == 200


def test_ten_thousand_requests_across_twenty_activations_all_answer_and_name_their_model(root: Path) -> None:
    """The change in brightness tells which model really made each response."""
    image = scene(64, 64)
    body = encoded(image)
    levels = {"tiny/1.0.0": 8, "tiny/2.0.0": 24}
    outcomes: Counter[tuple[int, bool]] = Counter()
    models_seen: Counter[str] = Counter()
    lock, total, workers = threading.Lock(), 10_000, 4

    with LiveService(root, queue_capacity=100) as live:

        def ask() -> None:
            client = Client(*post(live.url, body, "image/png", "/enhance?format=png"))
            for _ in range(total // workers):
                status, answer = client.ask()
                match = re.search(rb"\r\nmodel: (\S+)", client.head)
                named = match[1].decode() if match else ""
                change = decoded(answer).astype(int).mean() - image.mean() if named else 0
                with lock:
                    outcomes[status, abs(change - levels.get(named, 99)) < 4] += 1
                    models_seen[named] += 1
            client.close()

        askers = [threading.Thread(target=ask) for _ in range(workers)]
        for asker in askers:
            asker.start()
        for turn in range(20):
            due = turn * total // 20
            wait_until(lambda due=due: outcomes.total() >= due, patience_s=600)  # type: ignore[misc]
            live.service.store.activate(("tiny/1.0.0", "tiny/2.0.0")[turn % 2])
            live.service.load_models()
        for asker in askers:
            asker.join(600)
    assert outcomes == Counter({(200, True): total})
    assert min(models_seen.values()) > total // 5


def test_asking_for_an_absent_gpu_stops_the_command_with_one_sentence(root: Path, tmp_path: Path) -> None:
    with command(root, tmp_path / "log", LAMEGAN_DEVICE="cuda", CUDA_VISIBLE_DEVICES="") as running:
        assert running.process.wait(PATIENCE_S) == 2
        assert "lamegan: A GPU was asked for, but" in (tmp_path / "log").read_text()


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"LAMEGAN_HOST": "0.0.0.0"}, "without keys is refused"),
        ({"LAMEGAN_MODEL": "absent"}, "No model absent is installed"),
        ({"LAMEGAN_KEYS_FILE": "/nowhere"}, "keys file cannot be read"),
        ({"LAMEGAN_WARM_SHAPES": "480"}, "LAMEGAN_WARM_SHAPES"),
        ({"LAMEGAN_QUEUE_CAPACITY": "many"}, "LAMEGAN_QUEUE_CAPACITY"),
    ],
)
def test_a_service_that_cannot_start_says_why_in_one_sentence(
    root: Path, tmp_path: Path, environment: dict[str, str], words: str
) -> None:
    with command(root, tmp_path / "log", **environment) as running:
        assert running.process.wait(PATIENCE_S) == 2
        said = (tmp_path / "log").read_text()
        assert words in said
        assert "Traceback" not in said


def test_a_taken_port_is_told_in_one_sentence(root: Path, tmp_path: Path) -> None:
    with LiveService(root) as live, command(root, tmp_path / "log", LAMEGAN_PORT=str(live.port)) as second:
        assert second.process.wait(PATIENCE_S) == 2
        assert "cannot be bound" in (tmp_path / "log").read_text()


def test_models_are_listed_shown_and_verified(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAMEGAN_MODELS_DIR", str(root))
    monkeypatch.setenv("LAMEGAN_MODEL", "tiny/1.0.0")
    run = CliRunner().invoke
    listed = run(app, ["models", "list"]).stdout
    assert re.search(r"^\* tiny/1\.0\.0 ", listed, re.MULTILINE)
    assert re.search(r"^  tiny/2\.0\.0 ", listed, re.MULTILINE)
    facts = json.loads(run(app, ["models", "list", "--json"]).stdout)
    assert [fact["at_start"] for fact in facts] == [False, True]
    assert json.loads(run(app, ["models", "show", "tiny"]).stdout)["version"] == "2.0.0"
    assert "tiny/2.0.0 is sound" in run(app, ["models", "verify", "tiny/2.0.0"]).stdout
    (root / "tiny/2.0.0/card.json").write_text("{}")
    assert "card is not valid" in run(app, ["models", "list"]).stdout


def test_the_list_marks_what_a_service_started_now_would_serve_and_says_so(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAMEGAN_MODELS_DIR", str(root))
    monkeypatch.setenv("LAMEGAN_MODEL", "tiny")
    run = CliRunner().invoke
    models.install(root, models.identity(), "tiny", "3.0.0")
    assert re.search(r"^\* tiny/3\.0\.0 ", run(app, ["models", "list"]).stdout, re.MULTILINE)
    (root / "tiny/3.0.0/model.onnx").write_bytes(b"half")
    listed = run(app, ["models", "list"]).stdout
    assert re.search(r"^  tiny/3\.0\.0  broken: .*tiny/3\.0\.0/model\.onnx", listed, re.MULTILINE)
    assert re.search(r"^\* tiny/2\.0\.0 ", listed, re.MULTILINE)
    assert "* is what a service started now would serve by default" in listed
    assert "a service started now" in run(app, ["models", "list", "--help"]).stdout
    monkeypatch.setenv("LAMEGAN_MODEL", "tiny/3.0.0")
    assert "would have no default model" in run(app, ["models", "list"]).stdout


def test_refusals_of_the_models_command_are_one_sentence_and_exit_2(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LAMEGAN_MODELS_DIR", str(root))
    for arguments in (["activate", "absent"], ["rollback"], ["verify", "tiny/9.9.9"], ["show", ".."]):
        monkeypatch.setattr(sys, "argv", ["lamegan", "models", *arguments])
        with pytest.raises(SystemExit) as stopped:
            main()
        assert stopped.value.code == 2
        said = capsys.readouterr().err
        assert said.startswith("lamegan: ")
        assert said.count("\n") == 1


def test_health_tells_ready_from_not_ready_from_absent(root: Path) -> None:
    run = CliRunner().invoke
    with LiveService(root) as live:
        ready = run(app, ["health", "--url", live.url])
        assert (ready.exit_code, ready.stdout.splitlines()[-1]) == (0, "ready")
        live.service.drain()
        unready = run(app, ["health", "--url", live.url])
        assert (unready.exit_code, unready.stdout.splitlines()[-1]) == (1, "not ready: The service is shutting down.")
        url = live.url
    absent = run(app, ["health", "--url", url])
    assert absent.exit_code == 1
    assert absent.stdout.splitlines()[-1].startswith("no response: ")
