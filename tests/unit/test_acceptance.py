"""The acceptance criteria: each passes for what it should pass, and fails for the fault it is there to find."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from model_training.acceptance import accept as accept_module
from model_training.acceptance import fault_criteria
from model_training.acceptance.accept import Acceptance, AcceptRequest, Amount, accept
from model_training.acceptance.criteria import (
    Trial,
    cleanness_criteria,
    faithfulness_criteria,
    grid_excess,
    harmlessness_criteria,
    kindness_criteria,
    niqe_criterion,
    photos_of,
    restoration_criteria,
    screen_criteria,
    smoothness_criterion,
    trials,
)
from model_training.acceptance.criterion import as_json, at_least, at_most
from model_training.acceptance.fault_criteria import (
    clean_criteria,
    gain_criteria,
    native_criteria,
    redness_criteria,
    twice_criteria,
)
from model_training.acceptance.fault_criteria import niqe_criterion as niqe_criterion_of_blur
from model_training.acceptance.screens import SHAPES, screen
from model_training.cli import app
from model_training.data.degradation import HELD_OUT as RECIPE
from model_training.data.degradation import degrade
from model_training.data.phantom import phantom
from model_training.evaluation import niqe as no_reference
from model_training.evaluation.faults.domains import HELD_OUT, Domain, Photo
from model_training.evaluation.faults.kinds import faults_named
from model_training.evaluation.faults.native import WORKING
from model_training.evaluation.faults.results import FaultResults, NativeCell
from model_training.evaluation.faults.trials import run_trials
from model_training.evaluation.methods import Method
from model_training.evaluation.niqe import fit_pristine, write_pristine
from model_training.evaluation.psnr import psnr
from service.errors import CommandError, DataError, InvalidParameter
from tests import models


def _trials(make):
    found = []
    for seed in range(3):
        clean = phantom(256, 208, seed)
        bad = degrade(clean, seed, recipe=RECIPE)
        label = np.zeros(clean.shape[:2], np.uint8)
        label[64:144, 64:160] = 4
        found.append(Trial(clean, bad, make(clean, bad), label))
    return found


@pytest.fixture(scope="module")
def perfect():
    return _trials(lambda clean, bad: clean)


@pytest.fixture(scope="module")
def idle():
    return _trials(lambda clean, bad: bad)


def _held(criteria):
    return [item.holds for item in criteria]


def test_the_truth_holds_every_line_and_doing_nothing_does_not(perfect, idle):
    assert all(_held(restoration_criteria(perfect) + faithfulness_criteria(perfect)))
    rises, falls, redder = restoration_criteria(idle)
    assert not rises.holds
    assert not falls.holds
    assert redder.name.startswith("area turned clearly redder")


@pytest.mark.slow
def test_niqe_closes_the_whole_gap_for_the_truth_and_none_for_nothing(perfect, idle):
    pristine = fit_pristine([phantom(480, 400, seed) for seed in range(10, 20)], "phantoms")
    assert niqe_criterion(perfect, pristine).value == pytest.approx(1)
    assert niqe_criterion(idle, pristine).value == pytest.approx(0)


def test_harm_inside_the_pathology_alone_is_found():
    def smear(clean, bad):
        made = clean.copy()
        made[64:144, 64:160] = cv2.GaussianBlur(clean, (0, 0), 9)[64:144, 64:160]
        return made

    inside = faithfulness_criteria(_trials(smear))[-1]
    assert not inside.holds


def test_a_blot_in_a_corner_is_found_though_every_mean_keeps_its_bound(perfect):
    def blotted(clean, bad):
        made = clean.copy()
        cv2.circle(made, (10, made.shape[0] - 10), 9, (250, 240, 60), -1)
        return made

    trials = _trials(blotted)
    worst, *means = faithfulness_criteria(trials)
    assert not worst.holds
    assert all(_held(means[:2] + restoration_criteria(trials)[:2]))
    assert faithfulness_criteria(perfect)[0].value > worst.value + 0.3


def test_an_image_is_harmless_to_itself_and_a_darker_one_is_not():
    photo = phantom(128, 96, 1)
    assert all(_held(harmlessness_criteria("same", [photo], [photo])))
    darker = (photo * 0.8).astype(np.uint8)
    assert not all(_held(harmlessness_criteria("darker", [photo], [darker])))


@pytest.mark.parametrize("period", [2, 4, 8, 16])
def test_a_planted_grid_stands_out_at_its_period_and_noise_does_not(period):
    rng = np.random.default_rng(0)
    noise = [rng.standard_normal((192, 240)) for _ in range(4)]
    assert grid_excess(noise, period) < 1.2
    grid = np.where(np.arange(240) % period == 0, 2.0, 0.0)[None, :]
    assert grid_excess([image + grid for image in noise], period) > 3


def test_a_planted_frame_is_found(perfect):
    def framed(clean, bad):
        made = clean.astype(int)
        made[:16] -= 12
        made[-16:] -= 12
        return made.clip(0, 255).astype(np.uint8)

    calm = [(trial.clean, trial.clean) for trial in perfect]
    assert all(_held(cleanness_criteria(perfect, calm)))
    assert not cleanness_criteria(_trials(framed), calm)[1].holds
    assert not cleanness_criteria(perfect, [(trial.clean, framed(trial.clean, None)) for trial in perfect])[2].holds


def test_a_step_in_a_flat_image_is_found():
    def stepped(image):
        made = image.astype(int)
        made[:, 240:] += 6
        return made.clip(0, 255).astype(np.uint8)

    assert smoothness_criterion(lambda image: image).holds
    assert not smoothness_criterion(stepped).holds


def test_wild_colours_and_losses_on_other_photos_are_found():
    kinds = {"phantoms": [phantom(128, 96, 1)]}
    assert kindness_criteria(kinds, lambda image: image)[0].holds
    wild, gain = kindness_criteria(kinds, lambda image: np.ascontiguousarray(image[..., ::-1]))
    assert not wild.holds
    assert not gain.holds


def test_a_black_surround_that_turns_grey_is_found_and_so_is_a_picture_that_depends_on_it():
    clean = [phantom(400, 300, seed) for seed in (1, 2)]
    black, rises, kept, named = screen_criteria(clean, lambda image: image)
    assert black.value == 0
    assert black.holds
    assert rises.value == 0
    assert not rises.holds
    assert kept.value == 60
    assert named.value == 0
    assert not named.holds
    lifted = screen_criteria(clean, lambda image: np.maximum(image, 12))
    assert lifted[0].value == pytest.approx(12, abs=1)
    assert not lifted[0].holds
    brighter = screen_criteria(clean, lambda image: np.clip(image * 1.4, 0, 255).astype(np.uint8))
    assert brighter[0].holds
    assert not brighter[2].holds


def test_a_screen_shows_a_disc_or_an_octagon_on_black():
    for shape in SHAPES:
        tower = screen(shape)
        recorded = tower.record(np.full((300, 400, 3), 180, np.uint8))
        assert recorded.shape == (272, 480, 3)
        assert recorded[tower.black].max() <= 12  # a JPEG's blocks reach that far
        assert recorded[tower.black].mean() < 0.2
        assert np.abs(recorded[tower.inside].astype(int) - 180).max() <= 12
        assert 0.3 < tower.inside.mean() < tower.shown.mean() < 0.6
        assert not (tower.inside & tower.black).any()


def test_no_held_out_photo_is_an_error(tmp_path):
    with pytest.raises(DataError, match="no folder or list of images"):
        trials(tmp_path, None, ["patient1"], lambda image: image)


def test_the_photos_of_a_sequence_are_of_any_kind_and_in_order_of_their_path(tmp_path):
    for name in ("b/1.webp", "b/0.png", "a/2.jpg", "b/note.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert photos_of(tmp_path, ["b", "a"]) == [tmp_path / name for name in ("b/0.png", "b/1.webp", "a/2.jpg")]


def test_the_larynx_photos_are_the_webp_files_in_order_of_their_path(shared_data):
    larynx = shared_data / "data" / "larynx"
    for name in ("patient1/seq1", "patient2/seq6"):
        assert photos_of(larynx, [name]) == sorted((larynx / name).glob("*.webp"))


def _cells(make, faults, domain="throat"):
    """The cells of a method on two drawn photos of a domain; `make` takes the damaged and the clean photo."""
    photos = Domain(domain, tuple(Photo(f"{seed}", phantom(176, 144, seed)) for seed in (1, 2)))
    cleans = [photo.pixels for photo in photos.photos]
    method = Method("made", lambda image: make(image, max(cleans, key=lambda clean: psnr(image, clean))))
    return FaultResults(tuple(run_trials([method], [photos], faults_named(faults)))).of("made")


def test_the_truth_gains_enough_on_every_fault_and_doing_nothing_does_not():
    faults = ("blur 1.6", "noise .04", "haze .25")
    assert all(_held(gain_criteria(_cells(lambda bad, clean: clean, faults))))
    idle = gain_criteria(_cells(lambda bad, clean: bad, faults))
    assert _held(idle) == [False, True] * 3  # nothing gained, but nobody is worse off
    assert all(item.bound >= 1 for item in idle[::2])


def test_a_photo_made_worse_is_found_though_the_filter_is_beaten():
    cells = _cells(lambda bad, clean: clean, ("noise .02",))
    mean, worst = gain_criteria([replace(cells[0], worst_db=-0.4)])
    assert mean.holds
    assert not worst.holds


def test_what_is_not_required_is_not_asked():
    assert gain_criteria(_cells(lambda bad, clean: bad, ("uneven haze .25", "clean"))) == []


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_each_bound_on_clean_photos_can_fail(failing):
    cell = _cells(lambda bad, clean: bad, ("clean",))[0]
    worse = ({"least_db": 37.9}, {"largest_delta_e": 1.1}, {"least_lassim": 0.98})[failing]
    assert all(_held(clean_criteria([cell])))
    assert _held(clean_criteria([replace(cell, **worse)])) == [place != failing for place in range(3)]


def test_a_model_that_goes_on_changing_what_it_enhanced_is_found():
    domain = Domain("throat", (Photo("a", phantom(176, 144, 1)),))
    assert all(_held(twice_criteria([domain], lambda image: image)))
    darker = twice_criteria([domain], lambda image: (image * 0.9).astype(np.uint8))
    assert not darker[0].holds
    assert not darker[1].holds


def test_paling_and_reddening_are_found_alike_and_only_where_redness_is_asked():
    for factor in (0.95, 1.05):

        def tinted(bad, clean, factor=factor):
            made = bad.astype(float)
            made[..., 0] *= factor
            return made.clip(0, 255).astype(np.uint8)

        rank, shift = redness_criteria(_cells(tinted, ("clean",)))
        assert rank.holds
        assert not shift.holds
    assert all(_held(redness_criteria(_cells(lambda bad, clean: bad, ("clean",)))))
    turned = redness_criteria(_cells(lambda bad, clean: np.ascontiguousarray(bad[:, ::-1]), ("clean",)))
    assert not turned[0].holds
    assert redness_criteria(_cells(lambda bad, clean: bad, ("clean",), domain="mucosa")) == []


def test_a_gain_lost_at_native_scale_is_found_and_so_is_none_at_all():
    def held(working, native):
        cells = [
            NativeCell("m", "noise .02", size, 1, gain) for size, gain in ((WORKING, working), ("1280x720", native))
        ]
        return _held(native_criteria(cells))

    assert held(5.0, 4.1) == [True]
    assert held(5.0, 3.9) == [False]
    assert held(0.0, 0.0) == [False]


@pytest.mark.slow
def test_a_fall_of_niqe_is_asked(throat_like):
    blurred = cv2.GaussianBlur(throat_like, (0, 0), 2)
    pristine = fit_pristine([phantom(480, 400, seed) for seed in range(10, 20)], "phantoms")
    assert not niqe_criterion_of_blur(blurred, lambda image: image, pristine).holds
    assert niqe_criterion_of_blur(blurred, lambda image: throat_like, pristine).value > 0


@pytest.fixture
def throat_like():
    return phantom(480, 272, 5)


def test_a_value_that_is_no_number_does_not_hold():
    assert not at_least("gain", float("nan"), 1).holds
    assert not at_most("shift", float("nan"), 1).holds
    assert json.loads(as_json([at_least("gain", float("nan"), 1)]))[0]["value"] is None


@pytest.fixture
def data(tmp_path):
    """A folder laid out as `accept` takes it, of drawn throats under the names that are held out."""
    names = {
        "throat/image_original.png": 1,
        "throat/image_blur.png": 2,
        "larynx/patient1/seq1/0001.webp": 3,
        "larynx/patient2/seq6/0001.webp": 4,
        "larynx/patient1/seq3/0001.webp": 5,
        "mucosa/" + _first_listed("mucosa"): 6,
        "natural/" + _first_listed("natural"): 7,
    }
    for name, seed in names.items():
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(phantom(288, 208, seed)).save(path, lossless=True)
    return tmp_path / "data"


def _first_listed(domain):
    lines = (HELD_OUT / f"{domain}.txt").read_text().splitlines()
    return next(line for line in lines if not line.startswith("#"))


@pytest.fixture
def small(monkeypatch):
    """Faults, kinds and sizes cut down to what shows that everything is measured."""
    monkeypatch.setattr(accept_module, "other_photos", dict)
    monkeypatch.setattr(no_reference, "LEAST_BLOCKS", 5)
    monkeypatch.setattr(fault_criteria, "REQUIRED", faults_named(("clean", "noise .02", "haze .25")))
    return Amount(frames=2, photos=1, native=1, sizes=((320, 224),))


@pytest.mark.slow
def test_a_model_is_measured_on_every_criterion_and_the_files_are_written(data, small, tmp_path):
    models.install(tmp_path / "models", models.identity(), "idle")
    folder = tmp_path / "models" / "idle" / "1.0.0"
    pristine = tmp_path / "pristine.npz"
    write_pristine(fit_pristine([phantom(480, 400, seed) for seed in range(10, 12)], "phantoms"), pristine)
    outs = (tmp_path / "found.json", tmp_path / "found.md")
    found = accept(AcceptRequest(folder, data, small, pristine, data / "natural", outs))
    assert not found.holds
    names = [item.name for item in found.criteria]
    assert len(names) == len(set(names))
    for start, count in (
        ("noise .02, ", 4 * 2),
        ("haze .25, ", 3 * 2),
        ("clean, ", 4 * 3),
        ("enhanced twice, ", 4 * 3),
        ("redness, ", 2 * 2),
        ("noise .02 at 320x224", 1),
        ("haze .25 at 320x224", 1),
        ("the authors' blurred photo", 1),
        ("photos from elsewhere", 2),
    ):
        assert sum(name.startswith(start) for name in names) == count, start
    written = json.loads(outs[0].read_text())
    assert [item["name"] for item in written] == names
    assert [item["holds"] for item in written] == _held(found.criteria)
    assert outs[1].read_text().count("\n| ") == len(names) + 1
    assert "larynx 1" in found.notes[0]


def test_what_cannot_be_measured_is_refused(data, tmp_path):
    models.install(tmp_path / "models", models.identity(), "idle")
    folder = tmp_path / "models" / "idle" / "1.0.0"
    with pytest.raises(InvalidParameter, match=r"\.json or \.md"):
        accept(AcceptRequest(folder, data, outs=(tmp_path / "found.txt",)))
    with pytest.raises(DataError, match="card"):
        accept(AcceptRequest(tmp_path, data))
    with pytest.raises(CommandError, match="cannot be written"):
        accept(AcceptRequest(folder, data, outs=(data / "throat" / "image_blur.png" / "found.md",)))
    (data / "mucosa" / _first_listed("mucosa")).unlink()
    with pytest.raises(DataError, match="kept out of training"):
        accept(AcceptRequest(folder, data))


def test_the_command_ends_with_1_where_a_criterion_does_not_hold(monkeypatch, tmp_path):
    for bound, code in ((1, 0), (3, 1)):
        found = Acceptance((at_least("gain", 2, bound),), ("Measured on nothing.",))
        monkeypatch.setattr(accept_module, "accept", lambda request, start, skip, found=found: found)
        ran = CliRunner().invoke(app, ["accept", str(tmp_path), "--data", str(tmp_path), "--quick"])
        assert ran.exit_code == code
        assert f"{1 - code} of 1 criteria hold" in ran.output
        assert "Measured on nothing." in ran.output
