"""Training from folders to a model that ONNX Runtime runs: exact resumption, many ranks, and every refusal."""

from __future__ import annotations

import io
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image
from rich.console import Console

from model_training.cli import main
from model_training.commands.options import EXIT_INTERRUPTED, EXIT_REFUSED
from model_training.config.load import load_config
from model_training.export.onnx import ExportRequest, export_model, require_parity, to_onnx
from model_training.export.wrapper import PixelContract
from model_training.networks import build
from model_training.runs.checkpoint import Vault, content_digest, read_checkpoint, write_checkpoint
from model_training.runs.generator import load_generator
from model_training.runs.resume import find_resumption
from model_training.training.adversarial import AdversarialTraining
from model_training.training.distil import DistilRequest, distil
from model_training.training.fit import FitRequest, fit
from model_training.training.loop import Outcome
from service.errors import CheckpointError, Diverged, ExportError
from service.registry.card import BUILT_IN_FLOORS, read_card
from tests.training_files import write_photos, write_vgg

ROOT = Path(__file__).resolve().parents[2]
OBJECTIVES = ["lamegan", "cyclegan", "miinet", "stillgan"]
TINY_FAST = "generator={name: fast, options: {widths: [8, 8, 8], blocks: [1, 1, 1]}}"
TINY_RESUNET = "generator={name: resunet, options: {depth: 4, width: 8}}"
EVERYTHING = ["restoration={weight: 1, pairs: 2, clean: 0.3}", "code.enabled=true", "lamegan.colour=0.5"]
MIXED = ["restoration={clean: 0, mixture: {count_phantoms: 2, count_everyday: 2}}"]
SMALL_WARM_START = "warmstart={steps: 1, batch: 1, mixture: {count_phantoms: 1, count_everyday: 1, count_plain: 1}}"
QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Two folders of drawn photos and a VGG of random weights."""
    folder = tmp_path_factory.mktemp("files")
    write_photos(folder / "lq", 5, hazy=True)
    write_photos(folder / "hq", 4, seed=50)
    write_vgg(folder / "vgg.npz")
    (folder / "sources.yaml").write_text(
        "lq: {name: drawn, licence: MIT, credit: this project, patients: 0}\n"
        "hq: {name: drawn too, licence: CC-BY-4.0, credit: somebody, patients: 2}\n"
    )
    return folder


def request(files: Path, out: Path, *overrides: str, **options: object) -> FitRequest:
    config = load_config("smoke", [f"features.weights={files / 'vgg.npz'}", *overrides])
    return FitRequest(config=config, lq=files / "lq", hq=files / "hq", out=out, device="cpu", **options)  # type: ignore[arg-type]


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "model_training.cli", *map(str, arguments)]


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def fit_options(files: Path, out: Path) -> list[object]:
    return [
        "fit", "--config", "smoke", "--lq", files / "lq", "--hq", files / "hq", "--vgg", files / "vgg.npz",
        "--out", out, "--device", "cpu",
    ]  # fmt: skip


def refusal(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """What the command line says when it refuses: exit code 2, one sentence, no trace."""
    with pytest.raises(SystemExit) as exit_:
        main([str(argument) for argument in arguments])
    said = capsys.readouterr().err.strip()
    assert exit_.value.code == EXIT_REFUSED
    assert said.startswith("lamegan-train: ")
    assert len(said.splitlines()) == 1
    return said


def last(out: Path) -> Path:
    return Vault(out / "checkpoints", keep=1).paths()[-1]


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_terminated_at_a_random_step_and_resumed_it_ends_bit_equal(files, tmp_path, monkeypatch, objective):
    overrides = [f"objective={objective}", *EVERYTHING, *([TINY_RESUNET] if objective == "stillgan" else [])]
    overrides += MIXED if objective == "miinet" else []
    assert fit(request(files, tmp_path / "whole", *overrides), QUIET) is Outcome.FINISHED

    stop_at = random.SystemRandom().randint(1, 5)
    step = AdversarialTraining.advance

    def advance(training: AdversarialTraining) -> dict[str, torch.Tensor]:
        if training.step + 1 == stop_at:
            signal.raise_signal(signal.SIGTERM)
        return step(training)

    with monkeypatch.context() as patch:
        patch.setattr(AdversarialTraining, "advance", advance)
        assert fit(request(files, tmp_path / "parts", *overrides), QUIET) is Outcome.INTERRUPTED
    assert read_checkpoint(last(tmp_path / "parts")).state["step"] == stop_at
    assert fit(request(files, tmp_path / "parts", *overrides, resume=True), QUIET) is Outcome.FINISHED

    whole, parts = (read_checkpoint(last(tmp_path / name)) for name in ("whole", "parts"))
    for part in whole.state:  # networks, average, optimisers, samplers, pairs, pools and random states, progress
        assert content_digest(whole.state[part]) == content_digest(parts.state[part]), f"{part}, stopped at {stop_at}"
    assert whole.digest == parts.digest
    assert len(whole.state["ranks"][0]["pools"]["y"]["images"]) == 4


def test_sigterm_from_outside_saves_and_has_its_own_exit_code(files, tmp_path):
    out = tmp_path / "run"
    process = subprocess.Popen(
        command(*fit_options(files, out), "--objective", "cyclegan", "--set", "optimiser.constant=100000"),
        env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not (out / "losses.jsonl").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _out, errors = process.communicate(timeout=120)
    assert process.returncode == EXIT_INTERRUPTED, errors.decode()
    steps = [json.loads(line)["step"] for line in (out / "losses.jsonl").read_text().splitlines()]
    assert read_checkpoint(last(out)).state["step"] == steps[-1]


def test_the_same_seed_and_data_give_the_same_digest_and_another_seed_another(files, tmp_path):
    digests = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        fit(request(files, tmp_path / name, f"seed={seed}"), QUIET)
        digests.append(read_checkpoint(last(tmp_path / name)).digest)
    assert digests[0] == digests[1] != digests[2]


def test_a_truncated_checkpoint_is_passed_over_for_the_one_before(files, tmp_path):
    out = tmp_path / "run"
    fit(request(files, out), QUIET)
    whole = read_checkpoint(last(out))
    newest = last(out)
    newest.write_bytes(newest.read_bytes()[:5000])
    said = Console(record=True, width=400, file=io.StringIO())
    assert fit(request(files, out, resume=True), said) is Outcome.FINISHED
    assert f"{newest} is truncated or is not a checkpoint. The one before it is used." in said.export_text()
    assert read_checkpoint(last(out)).digest == whole.digest


@pytest.mark.parametrize("pool", [0, 4])
def test_two_ranks_hold_the_same_weights_and_learn_like_one_with_twice_the_batch(files, tmp_path, pool):
    overrides = [f"pool={pool}", "ema=0", *EVERYTHING]
    alone = [*overrides, "optimiser.batch=4", "restoration.pairs=4"]
    fit(request(files, tmp_path / "one", *alone), QUIET)
    script = tmp_path / "ranks.py"
    script.write_text(
        "import os, sys, torch\n"
        "from model_training.cli import main\n"
        "from model_training.training.adversarial import AdversarialTraining\n"
        "save = AdversarialTraining.state_dict\n"
        "def state_dict(training):\n"
        "    state = save(training)\n"
        f"    torch.save(state['networks'], {str(tmp_path)!r} + f\"/rank{{os.environ['RANK']}}.pt\")\n"
        "    return state\n"
        "AdversarialTraining.state_dict = state_dict\n"
        "main()\n"
    )
    arguments = [str(argument) for argument in fit_options(files, tmp_path / "two")]
    for override in overrides:
        arguments += ["--set", override]
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script), *arguments],
        env=environment(), capture_output=True, timeout=180, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()

    first, second = (torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in range(2))
    assert content_digest(first) == content_digest(second)
    # Without pools the two are the same computation, summed in another order. Pools hold other images on each rank.
    one, two = (losses(tmp_path / name) for name in ("one", "two"))
    assert len(one) == len(two) == 6
    for ours, theirs in zip(one, two, strict=True):
        for name, value in ours.items():
            assert theirs[name] == pytest.approx(value, rel=0.02 if pool == 0 else 0.15), (name, ours["step"])
    state = read_checkpoint(last(tmp_path / "two")).state
    assert len(state["ranks"]) == 2
    with pytest.raises(CheckpointError, match="saved by 2 ranks and cannot go on with 1"):
        fit(request(files, tmp_path / "two", *overrides, resume=True), QUIET)


def losses(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "losses.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_each_objective_runs_the_smoke_preset_to_the_end_and_its_export_gives_torch_s_pixels(
    files, tmp_path, objective
):
    overrides = [f"objective={objective}", *([TINY_RESUNET] if objective == "stillgan" else [])]
    out = tmp_path / "run"
    asked = request(files, out, *overrides, validate=files / "hq", sources=files / "sources.yaml")
    assert fit(asked, QUIET) is Outcome.FINISHED
    assert {path.name for path in out.iterdir()} == {
        "checkpoints", "config.yaml", "grids", "losses.jsonl", "tensorboard", "validation.jsonl",
    }  # fmt: skip
    with Image.open(out / "grids" / "step-00000006.png") as grid:
        assert grid.size == (6 * 64, 4 * 64)
    assert list((out / "tensorboard").iterdir())
    assert len(losses(out)) == 6

    exported = export_model(ExportRequest(out / "checkpoints" / "best.pt", f"smoke-{objective}", "0.1.0", tmp_path))
    check_export(exported.folder, out / "checkpoints" / "best.pt")
    card = read_card(exported.folder / "card.json")
    assert card.objective.name == objective
    told = [(side.name, side.role, side.licence, side.images, side.patients) for side in card.training.data]
    assert told == [("drawn", "lq", "MIT", 5, 0), ("drawn too", "hq", "CC-BY-4.0", 4, 2)]
    assert card.training.config_sha256 == asked.config.digest()
    assert card.training.checkpoint_sha256 == read_checkpoint(out / "checkpoints" / "best.pt").digest
    assert "trained on 9 images of 2 patients" in card.limits
    assert card.evaluation == []
    assert card.guard is not None
    assert not card.guard.calibrated
    assert card.floors == BUILT_IN_FLOORS


def check_export(folder: Path, checkpoint: Path) -> None:
    """ONNX Runtime on odd sizes and batches gives what torch gives: one grey level, one value in a thousand."""
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    contract = PixelContract(load_generator(read_checkpoint(checkpoint)))
    rng = np.random.default_rng(1)
    for shape in [(1, 64, 64), (3, 65, 129), (2, 111, 70)]:
        image = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
        got = session.run(["enhanced"], {"image": image})[0]
        with torch.no_grad():
            expected = contract(torch.from_numpy(image)).numpy()
        difference = np.abs(got.astype(int) - expected)
        assert got.dtype == np.uint8
        assert got.shape == image.shape
        assert difference.max() <= 1
        assert (difference > 0).mean() <= 0.001


def test_distil_teaches_a_small_generator_and_resumes_bit_equal(files, tmp_path):
    fit(request(files, tmp_path / "teacher"), QUIET)
    config = load_config("smoke", [f"features.weights={files / 'vgg.npz'}", TINY_FAST, "optimiser.rate=0.005"])
    longer = config.model_copy(update={"optimiser": config.optimiser.model_copy(update={"constant": 60, "decay": 0})})
    shorter = config.model_copy(update={"optimiser": config.optimiser.model_copy(update={"constant": 30, "decay": 0})})

    def ask(config, out, resume=False):
        return DistilRequest(config, tmp_path / "teacher", files / "lq", tmp_path / out, resume, device="cpu")

    assert distil(ask(longer, "whole"), QUIET) is Outcome.FINISHED
    distil(ask(shorter, "parts"), QUIET)
    assert load_config(str(tmp_path / "parts" / "config.yaml")) == shorter
    fit(request(files, tmp_path / "other", "seed=1"), QUIET)
    with pytest.raises(CheckpointError, match="taught by another checkpoint"):
        distil(replace(ask(longer, "parts", resume=True), teacher=tmp_path / "other"), QUIET)
    distil(ask(longer, "parts", resume=True), QUIET)
    whole, parts = (read_checkpoint(last(tmp_path / name)).state for name in ("whole", "parts"))
    assert content_digest(whole["networks"]) == content_digest(parts["networks"])
    assert content_digest(whole["average"]) == content_digest(parts["average"])
    curve = [entry["pixels"] for entry in losses(tmp_path / "whole")]
    assert np.mean(curve[-5:]) < 0.8 * np.mean(curve[:5])

    exported = export_model(ExportRequest(tmp_path / "whole", "smoke-student", "0.1.0", tmp_path))
    check_export(exported.folder, last(tmp_path / "whole"))
    card = read_card(exported.folder / "card.json")
    assert card.objective.name == "distillation"
    assert card.training.warm_start.startswith("taught by checkpoint ")


def test_a_warm_start_hands_over_g_and_f_also_to_a_coded_f(files, tmp_path):
    fit(request(files, tmp_path / "first", TINY_FAST, "objective=cyclegan"), QUIET)
    source = read_checkpoint(last(tmp_path / "first"))
    still = ["optimiser.rate=1e-30", "code.enabled=true", "objective=cyclegan", TINY_FAST]
    everyday = {**source.state["data"]["x"], "name": "holidays"}
    write_checkpoint(source.path, {**source.state, "data": {**source.state["data"], "everyday": everyday}})
    source = read_checkpoint(source.path)
    fit(request(files, tmp_path / "second", *still, warm_start=source.path), QUIET)
    state = read_checkpoint(last(tmp_path / "second")).state
    for key, value in source.state["average"].items():
        assert torch.allclose(state["networks"]["G"][key], value)
    for key, value in source.state["networks"]["F"].items():
        assert torch.allclose(state["networks"]["F"][f"inner.{key}"], value)
    assert state["warm_start"] == f"G and F from adversarial training, checkpoint {source.digest}"
    assert state["seen"].keys() == {source.state["data"][side]["digest"] for side in ("x", "y")}
    assert state["seen"][everyday["digest"]]["name"] == "holidays"
    with pytest.raises(CheckpointError, match="another network"):
        fit(request(files, tmp_path / "third", warm_start=source.path), QUIET)
    for start in (source.path, tmp_path / "gone.pt"):
        fit(request(files, tmp_path / "second", *still, warm_start=start, resume=True), QUIET)
    another = last(tmp_path / "second")
    with pytest.raises(CheckpointError, match=f"did not begin from {another}; do not name it"):
        fit(request(files, tmp_path / "second", *still, warm_start=another, resume=True), QUIET)


def test_fine_tuning_learns_from_its_everyday_photos_and_tells_them(files, tmp_path):
    mixed = "restoration={weight: 1, mixture: {everyday: 1, phantoms: 0, count_phantoms: 1, count_everyday: 1}}"
    settings = ["objective=cyclegan", "optimiser={constant: 1, decay: 0}", mixed]
    states = []
    for name, everyday in (("with", files / "lq"), ("without", None)):
        fit(request(files, tmp_path / name, *settings, everyday=everyday), QUIET)
        states.append(read_checkpoint(last(tmp_path / name)).state)
    told, silent = states
    assert told["data"]["everyday"]["digest"] == told["data"]["x"]["digest"]
    assert "everyday" not in silent["data"]
    assert content_digest(told["networks"]) != content_digest(silent["networks"])


@pytest.mark.parametrize("loss", ["l1", "full"])
def test_a_step_in_bfloat16_has_the_losses_of_one_in_float32(files, tmp_path, loss):
    first = ["optimiser.constant=1", "optimiser.decay=0", *EVERYTHING, f"restoration.loss={loss}"]
    for precision in ("float32", "bfloat16"):
        fit(request(files, tmp_path / precision, f"precision={precision}", *first), QUIET)
    (exact,), (rounded,) = (losses(tmp_path / precision) for precision in ("float32", "bfloat16"))
    for name, value in exact.items():
        assert rounded[name] == pytest.approx(value, rel=0.05), name


def test_a_student_in_bfloat16_has_the_losses_of_one_in_float32(files, tmp_path):
    fit(request(files, tmp_path / "teacher", "objective=cyclegan"), QUIET)
    said = []
    for precision in ("float32", "bfloat16"):
        settings = [f"features.weights={files / 'vgg.npz'}", "optimiser={constant: 1, decay: 0}", "seed=3"]
        config = load_config("smoke", [*settings, f"precision={precision}"])
        distil(DistilRequest(config, tmp_path / "teacher", files / "lq", tmp_path / precision, device="cpu"), QUIET)
        said += losses(tmp_path / precision)
    exact, rounded = said
    assert exact != rounded
    for name, value in exact.items():
        assert rounded[name] == pytest.approx(value, rel=0.05), name


def test_a_time_budget_ends_the_run_with_everything_saved(files, tmp_path):
    asked = request(files, tmp_path / "run", "objective=cyclegan", "optimiser.constant=100000", minutes=0.01)
    assert fit(asked, QUIET) is Outcome.OUT_OF_TIME
    assert read_checkpoint(last(tmp_path / "run")).state["step"] >= 1


def test_a_run_whose_adversarial_loss_weighs_little_is_watched_without_that_weight(files, tmp_path):
    settings = ["adversarial=0.01", "watch={loss: 100, adversarial: 0.1, patience: 2}"]
    with pytest.raises(Diverged, match="has won for good"):
        fit(request(files, tmp_path / "run", *settings), QUIET)


def test_a_diverging_run_stops_and_keeps_the_checkpoints_from_before(files, tmp_path, monkeypatch):
    step = AdversarialTraining.advance

    def advance(training: AdversarialTraining) -> dict[str, torch.Tensor]:
        terms = step(training)
        return terms | {"cycle_x": terms["cycle_x"] * float("nan")} if training.step == 5 else terms

    monkeypatch.setattr(AdversarialTraining, "advance", advance)
    with pytest.raises(Diverged, match="loss cycle_x is nan at step 5"):
        fit(request(files, tmp_path / "run"), QUIET)
    assert read_checkpoint(last(tmp_path / "run")).state["step"] == 3


@pytest.mark.parametrize("value", [float("nan"), 1e30])
def test_a_step_that_ruins_the_weights_is_not_saved(files, tmp_path, monkeypatch, capsys, value):
    step = AdversarialTraining.advance

    def advance(training: AdversarialTraining) -> dict[str, torch.Tensor]:
        terms = step(training)
        if training.step == 3:
            for weights in training.average.state_dict().values():
                weights.fill_(value)
        return terms

    monkeypatch.setattr(AdversarialTraining, "advance", advance)
    often = ["--set", "journal.checkpoint=1", "--set", "journal.keep=1", "--set", "journal.validate=1"]
    said = refusal(capsys, *fit_options(files, tmp_path / "run"), *often, "--validate", files / "hq")
    assert "no longer finite after step 3; they are not saved" in said
    assert sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir()) == ["best.pt", "step-00000002.pt"]
    for path in (tmp_path / "run" / "checkpoints").iterdir():
        load_generator(read_checkpoint(path))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30])
def test_a_ruined_generator_is_not_exported(files, tmp_path, value):
    fit(request(files, tmp_path / "run", "objective=cyclegan"), QUIET)
    checkpoint = read_checkpoint(last(tmp_path / "run"))
    ruined = {name: torch.full_like(weights, value) for name, weights in checkpoint.state["average"].items()}
    write_checkpoint(checkpoint.path, {**checkpoint.state, "average": ruined})
    with pytest.raises(CheckpointError, match="is ruined"):
        export_model(ExportRequest(tmp_path / "run", "ruined", "1.0.0", tmp_path / "models"))


def test_values_that_are_not_finite_are_no_parity(files):
    generator = build(load_config("smoke").generator_config).eval()
    contract = PixelContract(generator)
    model = to_onnx(contract)
    require_parity(contract, model)
    for weights in generator.parameters():
        weights.data.fill_(float("nan"))
    with pytest.raises(ExportError, match="values that are not finite"):
        require_parity(contract, model)


def test_a_discriminator_that_has_won_stops_the_run_saved(files, tmp_path):
    won = ["watch={loss: 100, adversarial: 0, patience: 2}", "journal.checkpoint=100"]
    with pytest.raises(Diverged, match="has won for good at step 2"):
        fit(request(files, tmp_path / "run", *won), QUIET)
    assert read_checkpoint(last(tmp_path / "run")).state["step"] == 2


def test_bad_data_and_weights_are_one_clear_sentence_each(files, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    tiny = write_photos(tmp_path / "tiny", 1, size=(64, 64))
    Image.open(tiny / "000.png").resize((40, 40)).save(tiny / "000.png")
    vgg = ["--vgg", files / "vgg.npz"]
    fit_ = ["fit", "--config", "smoke", "--out", tmp_path / "run", "--lq", files / "lq"]
    assert "no images in" in refusal(capsys, *fit_, "--hq", tmp_path / "empty", *vgg)
    assert "no folder or list" in refusal(capsys, *fit_, "--hq", tmp_path / "absent", *vgg)
    assert "too small: 40x40" in refusal(capsys, *fit_, "--hq", tiny, *vgg)
    good = [*fit_, "--hq", files / "hq"]
    assert "name their weights with --vgg" in refusal(capsys, *good)
    assert "no VGG weights file" in refusal(capsys, *good, "--vgg", tmp_path / "absent.npz")
    assert "holds no VGG16 weights" in refusal(capsys, *good, "--vgg", files / "lq" / "000.png")
    assert "no preset or file" in refusal(capsys, *good, *vgg, "--config", "papre")
    assert "lamegan.bete" in refusal(capsys, *good, *vgg, "--set", "lamegan.bete=1")
    assert "does not describe the photos" in refusal(capsys, *good, *vgg, "--sources", files / "vgg.npz")
    assert "no checkpoint at" in refusal(capsys, *good, *vgg, "--warm-start", tmp_path / "absent.pt")
    assert "has none" in refusal(capsys, *good, *vgg, "--everyday", files / "hq")
    mixed = ["--everyday", files / "hq", "--set", "restoration.mixture={}"]
    assert "has none" in refusal(capsys, *good, *vgg, *mixed)
    assert "restoration.clean has no meaning" in refusal(capsys, *good, *vgg, *mixed, "--set", "restoration.clean=0.5")
    if not torch.cuda.is_available():
        assert "GPU was asked for" in refusal(capsys, *good, *vgg, "--device", "cuda")


def test_unreadable_and_small_images_are_named_and_the_rest_is_used(files, tmp_path):
    folder = shutil.copytree(files / "hq", tmp_path / "hq")
    (folder / "text.png").write_text("not an image")
    Image.open(folder / "000.png").resize((40, 40)).save(folder / "small.png")
    said = Console(record=True, width=400, file=io.StringIO())
    asked = request(files, tmp_path / "run", "objective=cyclegan")
    fit(FitRequest(asked.config, asked.lq, folder, asked.out, device="cpu"), said)
    text = said.export_text()
    assert "2 of 6 files are skipped" in text
    assert "text.png cannot be read as an image." in text
    assert "small.png is too small" in text
    assert read_checkpoint(last(tmp_path / "run")).state["data"]["y"]["images"] == 4


def test_a_run_is_resumed_only_as_what_it_was(files, tmp_path, capsys):
    out = tmp_path / "run"
    fit(request(files, out, "objective=cyclegan"), QUIET)
    asked = [*fit_options(files, out), "--objective", "cyclegan"]
    assert "already holds checkpoints: add --resume" in refusal(capsys, *asked)
    assert "another optimiser.rate" in refusal(capsys, *asked, "--resume", "--set", "optimiser.rate=1")
    other = write_photos(tmp_path / "other", 4, seed=9)
    assert "other high-quality photos" in refusal(capsys, *asked, "--resume", "--hq", other)
    (files / "backwards.txt").write_text("".join(f"lq/{index:03d}.png\n" for index in reversed(range(5))))
    backwards = refusal(capsys, *asked, "--resume", "--lq", files / "backwards.txt")
    assert "these low-quality photos in another order" in backwards
    vgg = write_vgg(tmp_path / "vgg.npz", seed=1)
    assert "other VGG weights" in refusal(capsys, *asked, "--resume", "--vgg", vgg)
    for path in (out / "checkpoints").iterdir():
        path.write_bytes(b"")
    assert "No checkpoint" in refusal(capsys, *asked, "--resume")


@pytest.mark.parametrize("resume", [False, True])
def test_a_best_generator_that_another_run_left_is_not_taken_for_the_new_run_s(files, tmp_path, resume):
    out = tmp_path / "run"
    fit(request(files, out, "objective=cyclegan", validate=files / "hq"), QUIET)
    for path in (out / "checkpoints").glob("step-*.pt"):
        path.unlink()
    with pytest.raises(CheckpointError, match=r"already holds the best\.pt of a run"):
        fit(request(files, out, "objective=cyclegan", resume=resume), QUIET)


def test_photos_that_a_run_is_scored_on_and_trained_with_are_counted(files, tmp_path):
    asked = request(files, tmp_path / "run", "objective=cyclegan", "optimiser={constant: 1, decay: 0}")
    for name, validate, expected in (("a", files / "hq", True), ("b", write_photos(tmp_path / "c", 1, seed=99), False)):
        said = Console(record=True, width=400, file=io.StringIO())
        fit(replace(asked, out=tmp_path / name, validate=validate), said)
        assert ("4 of the 4 photos of --validate are among the training photos" in said.export_text()) is expected


def test_a_run_goes_on_with_its_photos_elsewhere_and_from_a_checkpoint_that_did_not_note_their_order(files, tmp_path):
    moved = shutil.copytree(files, tmp_path / "moved")
    fit(request(files, tmp_path / "run", "optimiser.constant=1"), QUIET)
    fit(request(moved, tmp_path / "run", "optimiser.constant=2", resume=True), QUIET)
    state = {key: value for key, value in read_checkpoint(last(tmp_path / "run")).state.items() if key != "order"}
    write_checkpoint(last(tmp_path / "run"), state)
    assert fit(request(moved, tmp_path / "run", resume=True), QUIET) is Outcome.FINISHED


def test_a_killed_run_that_goes_on_has_each_step_once_in_its_losses(files, tmp_path):
    out = tmp_path / "run"
    fit(request(files, out, "objective=cyclegan", validate=files / "hq"), QUIET)
    last(out).unlink()  # as if killed before it was saved
    with (out / "losses.jsonl").open("a") as file:
        file.write('{"step": 7, "cyc')
    fit(request(files, out, "objective=cyclegan", validate=files / "hq", resume=True), QUIET)
    assert [entry["step"] for entry in losses(out)] == [1, 2, 3, 4, 5, 6]
    scores = (out / "validation.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in scores] == [3, 6]


@pytest.mark.parametrize("place", ["file", "file/below", "/proc/lamegan"])
def test_a_place_that_cannot_be_written_is_one_sentence(files, tmp_path, capsys, place):
    (tmp_path / "file").write_text("")
    fit(request(files, tmp_path / "run", "objective=cyclegan"), QUIET)
    out, run = tmp_path / place, tmp_path / "run"
    teach = ["distil", run, "--photos", files / "lq", "--config", "smoke", "--vgg", files / "vgg.npz", "--out", out]
    begin = ["warm-start", "--hq", files / "hq", "--config", "smoke", "--out", out, "--set", SMALL_WARM_START]
    for asked in (fit_options(files, out), teach, begin):
        assert "cannot be written to" in refusal(capsys, *asked)
    ship = ["export", run, "--name", "no", "--version", "1.0.0", "--out", out]
    for asked in (ship, ["phantom", "--out", out], ["degrade", files / "hq", "--out", out]):
        refusal(capsys, *asked)
    assert "could not be written" in refusal(capsys, "mean", last(run), last(run), "--out", out / "mean.pt")


def test_settings_that_do_not_fit_together_are_one_sentence(files, tmp_path, capsys):
    fit(request(files, tmp_path / "run", "objective=cyclegan"), QUIET)
    asked = fit_options(files, tmp_path / "other")
    assert "needs a crop of at least 768, not 64" in refusal(capsys, *asked, "--set", "discriminator.layers=8")
    teach = [
        "distil",
        tmp_path / "run",
        "--photos",
        files / "lq",
        "--vgg",
        files / "vgg.npz",
        "--out",
        tmp_path / "other",
    ]
    assert "distillation.level 5 needs a crop of at least 256" in refusal(
        capsys, *teach, "--set", "distillation.level=5"
    )
    begin = ["warm-start", "--hq", files / "hq", "--config", "smoke", "--out", tmp_path / "other"]
    resunet = ["--set", SMALL_WARM_START, "--set", "generator={name: resunet, options: {width: 4}}"]
    assert "G needs multiples of 256" in refusal(capsys, *begin, *resunet)


def test_the_deepest_discriminator_of_a_crop_learns(files, tmp_path):
    settings = ["objective=cyclegan", "discriminator.layers=4", "optimiser={constant: 1, decay: 0}"]
    assert fit(request(files, tmp_path / "run", *settings), QUIET) is Outcome.FINISHED


def test_names_that_look_like_markup_are_printed_as_they_are(files, tmp_path, capsys):
    folder = shutil.copytree(files / "hq", tmp_path / "hq")
    (folder / "bs[").mkdir()
    (folder / "bs[" / "y].jpg").write_text("not an image")
    out = tmp_path / "L13[bold]"
    asked = [*fit_options(files, out), "--objective", "cyclegan", "--hq", folder]
    for step, more in ((3, []), (6, ["--resume"])):
        with pytest.raises(SystemExit) as exit_:
            main([*map(str, asked), "--set", "optimiser.decay=0", "--set", f"optimiser.constant={step}", *more])
        assert exit_.value.code == 0
        said = "".join(capsys.readouterr().out.split())
        assert "bs[/y].jpgcannotbereadasanimage" in said
        assert "L13[bold]/checkpoints" in said
    last(out).write_bytes(b"")
    console = Console(record=True, width=400, file=io.StringIO())
    find_resumption(Vault(out / "checkpoints", keep=3), True, console)
    assert "L13[bold]" in console.export_text()


def test_a_full_disk_while_saving_is_one_sentence_and_keeps_what_was_saved(files, tmp_path, capsys):
    out = tmp_path / "run"
    fit(request(files, out, "optimiser.constant=1"), QUIET)
    before = {path.name: path.read_bytes() for path in (out / "checkpoints").iterdir()}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        said = refusal(capsys, *fit_options(files, out), "--resume", "--set", "journal.grid=1000")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "could not be written" in said
    assert "those saved before it are untouched" in said
    assert {path.name: path.read_bytes() for path in (out / "checkpoints").iterdir()} == before


def test_an_export_is_refused_in_one_sentence_and_leaves_no_folder(files, tmp_path, capsys, monkeypatch):
    fit(request(files, tmp_path / "run", "objective=cyclegan"), QUIET)
    run, out = tmp_path / "run", tmp_path / "models"
    assert "are not a model's name" in refusal(
        capsys, "export", run, "--name", "No", "--version", "1.0.0", "--out", out
    )
    assert "no whole checkpoint" in refusal(capsys, "export", files, "--name", "no", "--version", "1.0.0", "--out", out)
    monkeypatch.setattr("model_training.export.onnx.LARGEST_SHARE", -1.0)
    with pytest.raises(ExportError, match="does not give torch's pixels"):
        export_model(ExportRequest(run, "drifted", "1.0.0", out))
    monkeypatch.undo()
    assert not out.exists()
    export_model(ExportRequest(run, "good", "1.0.0", out))
    assert "exists already" in refusal(capsys, "export", run, "--name", "good", "--version", "1.0.0", "--out", out)
    assert [path.name for path in (out / "good").iterdir()] == ["1.0.0"]
