"""The warm start: batches that depend on seed and step alone, a loss that is zero at the truth, exact resumption."""

import json
from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from model_training.config.load import load_config
from model_training.config.pretrain import Mixture, RestorationWeights
from model_training.data.mixture import LARGE_SHAPES, SHAPES, MixedPairs, jitter_colour, plain, random_view
from model_training.data.overlays import on_screen
from model_training.data.phantom import phantom
from model_training.data.photos import file_sha256
from model_training.losses.restoration import lab, restoration_loss
from model_training.networks import build
from model_training.networks.conditional import CodedGenerator
from model_training.runs.average import write_mean
from model_training.runs.checkpoint import Checkpoint, content_digest, read_checkpoint, write_checkpoint
from model_training.runs.resume import require_same_start
from model_training.training.loop import Outcome
from model_training.training.pretrain import WarmStarting, WarmStartRequest, warm_start
from service.errors import CheckpointError, ConfigurationError, DataError

SMALL = Mixture(count_phantoms=3, count_everyday=2)
SETTINGS = [
    "generator={name: fast, options: {widths: [8, 8, 8], blocks: [1, 1, 1]}}",
    "data={height: 64, width: 96, crop: 64}",
    "warmstart={steps: 6, batch: 2, warm_up: 1, degrader_every: 2, photo_size: [96, 96]}",
    "warmstart.mixture={count_phantoms: 2, count_everyday: 2, large_after: 4}",
    "journal={log: 1, grid: 3, checkpoint: 2, keep: 3, validate: 3, validate_images: 1}",
]


@pytest.fixture(scope="module")
def source():
    return MixedPairs([phantom(128, 128, seed) for seed in range(3)], SMALL, 5)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for seed in range(3):
        Image.fromarray(phantom(112, 96, seed)).save(folder / f"{seed}.png")
    return folder


def test_a_batch_depends_on_seed_and_step_alone(source):
    bad, good = source.batch(3, 2)
    again = source.batch(3, 2)
    assert torch.equal(bad, again[0])
    assert torch.equal(good, again[1])
    other = source.batch(4, 2)[0]
    assert other.shape != bad.shape or not torch.equal(other, bad)


def test_some_pairs_are_clean_on_both_sides_and_most_are_not(source):
    rng = np.random.default_rng(0)
    same = [np.array_equal(*source.pair(64, 64, rng)) for _ in range(60)]
    assert 5 < sum(same) < 40


def test_the_last_batches_are_of_large_views_and_fewer_of_them():
    pairs = MixedPairs([phantom(128, 128, 0)], Mixture(count_phantoms=1, count_everyday=1, large_after=5), 0)
    early, late = pairs.batch(4, 8)[0], pairs.batch(5, 8)[0]
    assert (len(early), len(late)) == (8, 2)
    assert tuple(early.shape[2:]) in SHAPES
    assert tuple(late.shape[2:]) in LARGE_SHAPES


def test_the_share_of_phantoms_is_of_photos_where_no_phantom_is_drawn():
    odd = np.full((96, 96, 3), (3, 250, 7), np.uint8)
    mixture = Mixture(phantoms=1.0, everyday=0.0, jitter=0.0, extremes=0.0, count_phantoms=0, count_everyday=2)
    pairs, rng = MixedPairs([odd], mixture, 0), np.random.default_rng(0)
    assert all(np.array_equal(pairs.pair(64, 64, rng)[1], odd[:64, :64]) for _ in range(8))


def test_everyday_photos_are_half_of_the_everyday_pictures():
    odd = np.full((96, 96, 3), (3, 250, 7), np.uint8)
    mixture = Mixture(everyday=1.0, phantoms=0.0, clean_everyday=1.0, extremes=0.0, count_phantoms=1, count_everyday=3)
    pairs, rng = MixedPairs([phantom(128, 128, 0)], mixture, 0, [odd]), np.random.default_rng(0)
    ours = [np.array_equal(pairs.pair(64, 64, rng)[0], odd[:64, :64]) for _ in range(60)]
    assert 18 < sum(ours) < 42  # of 60 by a fair coin: another seed would leave these bounds once in 400


def test_everyday_pictures_taken_badly_are_wanted_as_they_are_where_that_is_asked():
    always = {"everyday": 1.0, "phantoms": 0.0, "clean_everyday": 0.0, "count_phantoms": 1, "count_everyday": 3}
    photos = [phantom(128, 128, 0)]
    made = {}
    for as_is in (True, False):
        pairs = MixedPairs(photos, Mixture(**always, everyday_as_is=as_is), 0)
        rng = np.random.default_rng(0)
        made[as_is] = [pairs.pair(64, 64, rng) for _ in range(8)]
        assert all(np.array_equal(bad, wanted) for bad, wanted in made[as_is]) is as_is
    assert all(np.array_equal(kept[0], mended[0]) for kept, mended in zip(made[True], made[False], strict=True))


def test_extreme_pictures_taken_badly_are_wanted_as_they_are_where_that_is_asked():
    always = {"everyday": 0.0, "phantoms": 1.0, "clean_phantoms": 0.0, "count_phantoms": 3, "count_everyday": 1}
    photos = [phantom(128, 128, 0)]
    for share, as_is, expected in ((1.0, True, True), (1.0, False, False), (0.0, True, False)):
        pairs = MixedPairs(photos, Mixture(**always, extremes=share, extremes_as_is=as_is), 0)
        rng = np.random.default_rng(0)
        made = [pairs.pair(64, 64, rng) for _ in range(8)]
        assert all(np.array_equal(bad, wanted) for bad, wanted in made) is expected


def test_what_a_screen_adds_is_the_same_on_both_sides_and_changes_nothing_else():
    rng = np.random.default_rng(0)
    bad, good = np.full((96, 160, 3), 90, np.uint8), np.full((96, 160, 3), 200, np.uint8)
    seen = set()
    for _ in range(60):
        shown, wanted = on_screen(bad, good, rng)
        untouched = (shown == 90).all(2) & (wanted == 200).all(2)
        assert untouched.mean() > 0.1
        dark = wanted.max(2) < 20
        assert np.abs(shown[dark].astype(int) - wanted[dark]).max(initial=0) < 20
        bright = shown.min(2) > 250
        assert np.abs(shown[bright].astype(int) - wanted[bright]).max(initial=0) < 5
        seen.add((bool(dark.mean() > 0.03), bool((shown.max(2) > 100).any())))
    assert seen >= {(True, False), (True, True), (False, True)}


def test_the_share_of_screens_is_what_is_asked_for():
    photos = [np.full((128, 128, 3), 120, np.uint8)]
    only_photos = {"phantoms": 0.0, "everyday": 0.0, "jitter": 0.0, "extremes": 0.0, "clean_photos": 1.0}
    for share, least, most in ((0.0, 0, 0), (0.3, 10, 45), (1.0, 80, 100)):
        pairs = MixedPairs(photos, Mixture(**only_photos, screens=share, count_phantoms=1, count_everyday=1), 0)
        rng = np.random.default_rng(0)
        framed = sum(int(np.ptp(pairs.pair(96, 96, rng, 9.0)[1]) > 40) for _ in range(100))
        assert least <= framed <= most  # 0.3 of 100 by chance leaves its bounds once in 2,000


def test_plain_pictures_hold_nothing_but_a_slow_change():
    for seed in range(20):
        picture = plain(80, 64, seed).astype(int)
        assert picture.shape == (64, 80, 3)
        assert all(np.abs(np.diff(picture, axis=axis)).max() <= 5 for axis in (0, 1))
    assert {bool(plain(80, 64, seed).std(axis=(0, 1)).max() > 1) for seed in range(20)} == {True, False}


def test_a_view_has_the_size_asked_for_whatever_the_photo(source):
    rng = np.random.default_rng(1)
    for shape in ((50, 200, 3), (300, 70, 3), (64, 64, 3)):
        assert random_view(np.zeros(shape, np.uint8), 96, 64, rng).shape == (96, 64, 3)


def test_jitter_changes_colours_and_not_shapes(source):
    photo = phantom(96, 96, 1)
    made = jitter_colour(photo, np.random.default_rng(2))
    assert not np.array_equal(made, photo)
    correlation = np.corrcoef(made.mean(2).ravel(), photo.mean(2).ravel())[0, 1]
    assert correlation > 0.97


def test_no_photo_is_an_error():
    with pytest.raises(DataError, match="no clean photo"):
        MixedPairs([], SMALL, 0)


def test_lab_agrees_with_the_colour_measure_of_the_guardrail():
    from service.quality.colour import lab as reference

    pixels = np.random.default_rng(0).random((1, 500, 3), np.float32)
    ours = lab(torch.from_numpy(pixels).permute(2, 0, 1)[None] * 2 - 1)[0].permute(1, 2, 0).numpy()
    assert np.abs(ours - reference(pixels)).max() < 0.05


def test_the_loss_is_least_at_the_truth_and_every_term_falls_on_the_way_there(source):
    bad, good = source.batch_of(96, 96, 3, np.random.default_rng(3))
    weights = RestorationWeights()
    ends = [restoration_loss(image, good, weights) for image in (bad, (bad + good) / 2, good)]
    for name in ("pixel", "bands", "lassim", "lab"):
        values = [float(terms[name]) for terms in ends]
        assert values[0] > values[1] > values[2]
    assert float(ends[2]["lassim"]) == pytest.approx(0, abs=1e-5)


def test_redness_costs_and_paleness_does_not():
    grey = torch.zeros(1, 3, 64, 64)
    red = grey.clone()
    red[:, 0] += 0.3
    weights = RestorationWeights()
    assert restoration_loss(red, grey, weights)["redness"] > 0.05
    assert restoration_loss(grey, red, weights)["redness"] == 0


def test_harm_counts_only_what_became_worse_than_the_bad_photo():
    clean = torch.zeros(1, 3, 64, 64)
    bad, better, worse = clean + 0.2, clean + 0.1, clean + 0.4
    weights = RestorationWeights(harm=2.0)
    assert restoration_loss(better, clean, weights, bad)["harm"] == 0
    expected = 2.0 * np.log10((0.4**2 + 1e-3) / (0.2**2 + 1e-3))
    assert restoration_loss(worse, clean, weights, bad)["harm"].item() == pytest.approx(expected, rel=1e-5)
    assert "harm" not in restoration_loss(worse, clean, weights)
    assert "harm" not in restoration_loss(worse, clean, RestorationWeights(), bad)


def test_g_gets_better_in_a_few_steps_and_f_learns_the_other_way(source):
    config = load_config("fast", SETTINGS)
    training = WarmStarting(config, source, torch.device("cpu"))
    before = content_digest(training.learners["F"].network.state_dict())
    losses = [training.advance() for _ in range(3)]
    assert all(torch.isfinite(value).all() for terms in losses for value in terms.values())
    assert "degrader_pixel" in losses[0]
    assert "degrader_pixel" not in losses[1]
    assert content_digest(training.learners["F"].network.state_dict()) != before


def test_an_interrupted_run_ends_with_the_weights_of_an_uninterrupted_one(photos, tmp_path):
    console, config = Console(quiet=True), load_config("fast", SETTINGS)
    warm_start(WarmStartRequest(config, photos, tmp_path / "whole", device="cpu"), console)
    warm_start(WarmStartRequest(config, photos, tmp_path / "parts", device="cpu", minutes=0), console)
    warm_start(WarmStartRequest(config, photos, tmp_path / "parts", resume=True, device="cpu"), console)
    ends = [read_checkpoint(tmp_path / name / "checkpoints" / "step-00000006.pt") for name in ("whole", "parts")]
    assert content_digest(ends[0].state["learners"]) == content_digest(ends[1].state["learners"])
    assert set(ends[0].state["networks"]) == {"G", "F"}


def test_a_run_begins_with_the_weights_of_another_and_says_so(photos, tmp_path):
    console, config = Console(quiet=True), load_config("fast", [*SETTINGS, "warmstart.steps=1"])
    warm_start(WarmStartRequest(config, photos, tmp_path / "first", device="cpu"), console)
    first = tmp_path / "first" / "checkpoints" / "step-00000001.pt"
    training = WarmStarting(config, None, torch.device("cpu"))
    assert training.begin(read_checkpoint(first)).startswith("G and F from 1 steps")
    weights = read_checkpoint(first).state["networks"]["G"]
    assert content_digest(training.enhancer.state_dict()) == content_digest(weights)


def test_a_warm_start_begins_with_the_averages_also_with_a_coded_f():
    config = load_config("fast", SETTINGS)
    training, coded = WarmStarting(config, None, torch.device("cpu")), CodedGenerator(build(config.degrader_config))
    for parameter in coded.parameters():
        torch.nn.init.normal_(parameter)
    raw, average = (build(config.generator_config).state_dict() for _ in range(2))
    state = {"networks": {"G": raw, "F": coded.state_dict()}, "average": average, "step": 1}
    training.begin(Checkpoint(Path("some.pt"), "0", state))
    assert content_digest(training.learners["F"].average.state_dict()) == content_digest(coded.inner.state_dict())
    assert content_digest(training.enhancer.state_dict()) == content_digest(average) != content_digest(raw)


def test_weights_of_another_version_of_a_network_are_one_clear_sentence():
    config = load_config("fast", SETTINGS)
    training = WarmStarting(config, None, torch.device("cpu"))
    state = training.state_dict()
    state["learners"]["G"]["raw"] = {**state["learners"]["G"]["raw"], "trunk.head.bias": torch.zeros(1)}
    with pytest.raises(CheckpointError, match="another network than the configuration's"):
        training.load_state_dict(state)


def _degrader(path):
    return content_digest(read_checkpoint(path).state["networks"]["F"])


def test_the_mean_lies_between_its_two_and_says_what_it_is(photos, tmp_path):
    settings = [*SETTINGS, "warmstart.steps=2", "warmstart.degrader_every=1"]
    console, config = Console(quiet=True), load_config("fast", settings)
    warm_start(WarmStartRequest(config, photos, tmp_path, device="cpu", minutes=0), console)
    warm_start(WarmStartRequest(config, photos, tmp_path, resume=True, device="cpu"), console)
    begun, tuned = sorted((tmp_path / "checkpoints").glob("step-*.pt"))
    write_mean(begun, tuned, tmp_path / "mean.pt", share=0.25)
    first, second, mean = (
        read_checkpoint(path).state["networks"]["G"] for path in (begun, tuned, tmp_path / "mean.pt")
    )
    for name, value in mean.items():
        assert torch.allclose(value, 0.75 * first[name] + 0.25 * second[name])
    assert "0.25 of checkpoint" in read_checkpoint(tmp_path / "mean.pt").state["warm_start"]
    assert _degrader(tmp_path / "mean.pt") == _degrader(tuned) != _degrader(begun)
    state = read_checkpoint(tuned).state
    del state["networks"]["F"]
    write_checkpoint(tuned, state)
    write_mean(begun, tuned, tmp_path / "mean.pt")
    assert _degrader(tmp_path / "mean.pt") == _degrader(begun)
    assert read_checkpoint(tmp_path / "mean.pt").state["kind"] == "warm start"
    with pytest.raises(CheckpointError, match="between 0 and 1"):
        write_mean(begun, tuned, tmp_path / "mean.pt", share=2)


def test_several_ranks_are_refused_as_all_would_train_on_the_same_batches(photos, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigurationError, match="in one process"):
        warm_start(WarmStartRequest(load_config("fast", SETTINGS), photos, tmp_path, device="cpu"), Console(quiet=True))


def test_photos_that_a_run_is_scored_on_and_trained_with_are_counted(photos, tmp_path):
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "copy.png").write_bytes((photos / "1.png").read_bytes())
    Image.fromarray(phantom(112, 96, 9)).save(tmp_path / "kept" / "own.png")
    config, asked = load_config("fast", SETTINGS), {"device": "cpu", "minutes": 0}
    for validate, expected in ((tmp_path / "kept", True), (tmp_path / "kept" / "own.png", False)):
        console = Console(record=True, width=200, file=StringIO())
        out = tmp_path / f"run-{expected}"
        warm_start(WarmStartRequest(config, photos, out, validate=validate, **asked), console)
        assert ("1 of the 2 photos of --validate are among the training photos" in console.export_text()) is expected


def test_an_unknown_setting_is_named():
    with pytest.raises(ConfigurationError, match=r"warmstart\.stepz"):
        load_config("fast", ["warmstart={stepz: 3}"])


def test_a_generator_that_the_views_do_not_suit_is_one_clear_sentence():
    for part in ("generator", "degrader"):
        config = load_config("fast", [*SETTINGS, f"{part}={{name: resunet, options: {{depth: 5, width: 2}}}}"])
        with pytest.raises(ConfigurationError, match=r"all multiples of 16; [GF] needs multiples of 32"):
            WarmStarting(config, None, torch.device("cpu"))


def test_in_bfloat16_the_networks_compute_and_the_losses_stay_exact(photos, tmp_path):
    exact, rounded = ({}, {})
    for precision, into in (("float32", exact), ("bfloat16", rounded)):
        settings = [*SETTINGS, "warmstart={steps: 1, idempotence_every: 1}", f"precision={precision}"]
        settings.append("generator={name: resnet, options: {blocks: 1, width: 8}}")
        config, out = load_config("fast", settings), tmp_path / precision
        warm_start(WarmStartRequest(config, photos, out, device="cpu"), Console(quiet=True))
        assert load_config(str(out / "config.yaml")) == config
        into.update(json.loads((out / "losses.jsonl").read_text()))
    assert exact.keys() == rounded.keys()
    assert exact != rounded
    for name, value in exact.items():
        assert rounded[name] == pytest.approx(value, rel=0.05), name


def test_everyday_photos_are_told_by_the_checkpoint_and_must_be_the_same_to_go_on(photos, tmp_path):
    console, config = Console(quiet=True), load_config("fast", [*SETTINGS, "warmstart.steps=2"])
    (tmp_path / "sources.yaml").write_text("everyday: {name: holidays, licence: CC0, patients: 0}\n")
    told = WarmStartRequest(
        config, photos, tmp_path / "run", everyday=photos, sources=tmp_path / "sources.yaml", device="cpu", minutes=0
    )
    warm_start(told, console)
    known = read_checkpoint(tmp_path / "run" / "checkpoints" / "step-00000001.pt").state["data"]["everyday"]
    assert (known["name"], known["images"], known["patients"]) == ("holidays", 3, 0)
    (tmp_path / "others").mkdir()
    Image.fromarray(phantom(112, 96, 9)).save(tmp_path / "others" / "9.png")
    for other in (tmp_path / "others", None):
        with pytest.raises(CheckpointError, match="other everyday photos"):
            warm_start(replace(told, everyday=other, resume=True), console)
    assert warm_start(replace(told, resume=True, minutes=None), console) is Outcome.FINISHED


def test_a_run_begun_with_anothers_weights_tells_its_everyday_photos_also_when_resumed(photos, tmp_path):
    console, config = Console(quiet=True), load_config("fast", [*SETTINGS, "warmstart.steps=2"])
    first = WarmStartRequest(config, photos, tmp_path / "first", everyday=photos, device="cpu", minutes=0)
    warm_start(first, console)
    begun = tmp_path / "first" / "checkpoints" / "step-00000001.pt"
    second = WarmStartRequest(config, photos, tmp_path / "second", begin=begun, device="cpu", minutes=0)
    warm_start(second, console)
    warm_start(replace(second, resume=True), console)
    folder = tmp_path / "second" / "checkpoints"
    write_mean(begun, folder / "step-00000002.pt", tmp_path / "mean.pt")
    everyday = read_checkpoint(begun).state["data"]["everyday"]
    for path in (*sorted(folder.glob("step-*.pt")), tmp_path / "mean.pt"):
        state = read_checkpoint(path).state
        assert "everyday" not in state["data"]
        assert state["seen"] == {everyday["digest"]: {**everyday, "role": "both"}}


def test_files_that_are_no_use_are_named(photos, tmp_path):
    (tmp_path / "mixed").mkdir()
    for name in ("0.png", "1.png"):
        (tmp_path / "mixed" / name).write_bytes((photos / name).read_bytes())
    (tmp_path / "mixed" / "broken.png").write_bytes(b"no picture")
    console, config = Console(record=True, width=200, file=StringIO()), load_config("fast", SETTINGS)
    mixed = WarmStartRequest(config, photos, tmp_path / "run", everyday=tmp_path / "mixed", device="cpu", minutes=0)
    warm_start(mixed, console)
    said = console.export_text()
    assert "1 of 3 files are skipped" in said
    assert "broken.png" in said


def test_grain_counts_detail_that_is_too_weak_or_too_strong_and_not_where_it_lies():
    torch.manual_seed(0)
    clean = 0.2 * torch.randn(1, 3, 64, 64)
    weights = RestorationWeights(grain=1.0)

    def grain(output):
        return restoration_loss(output, clean, weights)["grain"].item()

    assert grain(clean) == 0
    assert grain(0.2 * torch.randn(1, 3, 64, 64)) < 0.1
    assert 0.8 * np.log(4) < grain(clean / 4) < np.log(4)
    assert 0.8 * np.log(2) < grain(2 * clean) < np.log(2)
    assert "grain" not in restoration_loss(clean, clean, RestorationWeights())


@pytest.mark.parametrize(
    "wrong", ["warmstart.mixture.everyday=7", "warmstart.weights.harm=-3", "warmstart.mixture.large_after=-1"]
)
def test_shares_and_weights_outside_their_range_are_refused(wrong):
    with pytest.raises(ConfigurationError, match=r"warmstart\."):
        load_config("fast", [wrong]).warm_start()


def test_a_run_begun_with_an_exported_model_may_name_it_again_to_resume_and_no_other(tmp_path):
    models = [tmp_path / "a.onnx", tmp_path / "b.onnx"]
    for model in models:
        model.write_bytes(model.name.encode())
    begun = Checkpoint(tmp_path / "step-1.pt", "", {"warm_start": f"a.onnx with SHA-256 {file_sha256(models[0])}"})
    require_same_start(begun, models[0])
    with pytest.raises(CheckpointError, match=r"did not begin from .*b\.onnx"):
        require_same_start(begun, models[1])
