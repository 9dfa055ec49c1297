"""Single faults: each does what it says, the filters are beaten or not, and the tables say so."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from model_training.cli import app
from model_training.commands.options import DOMAINS as HELP_DOMAINS
from model_training.data.phantom import phantom
from model_training.evaluation.classical import identity
from model_training.evaluation.faults.card import card_figures, with_faults
from model_training.evaluation.faults.domains import DOMAINS, Domain, Photo, held_out_photos, load_domain, parse_source
from model_training.evaluation.faults.filters import best_filter
from model_training.evaluation.faults.kinds import CLEAN, FAULTS, damaged, faults_named
from model_training.evaluation.faults.native import (
    WORKING,
    NativeTrial,
    at_native_size,
    model_folder,
    run_native,
    served,
)
from model_training.evaluation.faults.report import FILES, as_json, as_markdown, fault_table
from model_training.evaluation.faults.results import FaultResults, behind_filters, share_kept
from model_training.evaluation.faults.run import FaultRequest, evaluate_faults
from model_training.evaluation.faults.trials import run_trials
from model_training.evaluation.methods import INPUT, Method
from model_training.evaluation.psnr import psnr
from model_training.evaluation.redness import redness_kept
from service.errors import CommandError, DataError, InvalidParameter
from service.registry.card import read_card
from tests import models
from tests.training_files import write_photos

BY_NAME = {fault.name: fault for fault in FAULTS}
SIZE = (176, 144)


@pytest.fixture(scope="module")
def scene():
    return phantom(*SIZE, 3)


@pytest.fixture(scope="module")
def throat(scene):
    return Domain("throat", (Photo("a.png", scene), Photo("b.png", phantom(*SIZE, 4))))


def _oracle(domain: Domain) -> Method:
    """A method that knows the truth: whatever it is given, it returns the nearest clean photo."""
    cleans = [photo.at_working_size() for photo in domain.photos]
    return Method("oracle", lambda image: max(cleans, key=lambda clean: psnr(image, clean)))


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_is_the_same_for_the_same_seed_and_costs_what_it_should(fault, scene):
    bad = damaged(scene, fault, 1, "a")
    assert bad.dtype == np.uint8
    assert bad.shape == scene.shape
    assert np.array_equal(bad, damaged(scene, fault, 1, "a"))
    if fault is CLEAN:
        assert np.array_equal(bad, scene)
    else:
        assert 12 < psnr(bad, scene) < 48


def test_random_faults_differ_by_photo_and_seed(scene):
    for name in ("noise .02", "motion 7", "uneven haze .25"):
        one, other_photo, other_seed = (damaged(scene, BY_NAME[name], *key) for key in ((1, "a"), (1, "b"), (2, "a")))
        assert not np.array_equal(one, other_photo)
        assert not np.array_equal(one, other_seed)


def test_faults_have_the_strength_in_their_name():
    grey = np.full((96, 96, 3), 128, np.uint8)
    assert damaged(grey, BY_NAME["noise .04"], 1).std() / 255 == pytest.approx(0.04, rel=0.05)
    for name in ("blur 1.0", "blur 1.6", "disk 2.4", "motion 7", "JPEG 40"):
        assert np.abs(damaged(grey, BY_NAME[name], 1).astype(int) - 128).max() <= 1
    assert np.unique(damaged(grey, BY_NAME["haze .25"], 1)) == pytest.approx(
        round(0.75 * 128 + 0.25 * 0.7 * 255), abs=1
    )
    point = np.zeros((33, 33, 3), np.uint8)
    point[16, 16] = 255
    for sigma in (1.0, 1.6):
        spread = damaged(point, BY_NAME[f"blur {sigma}"], 1)[..., 0].astype(float)
        rows = np.arange(33) - 16
        assert (spread.sum(1) @ rows**2 / spread.sum()) ** 0.5 == pytest.approx(sigma, rel=0.1)


def test_darkening_scales_the_light_and_not_the_file():
    white = np.full((8, 8, 3), 255, np.uint8)
    assert damaged(white, BY_NAME["light x .55"], 1)[0, 0, 0] == 196  # sRGB of 0.55 linear


def test_the_best_filter_denoises_noise_and_sharpens_blur(scene):
    for name, kind in (("noise .04", ("bilateral", "non-local", "Gaussian", "median")), ("blur 1.6", ("unsharp",))):
        bad = damaged(scene, BY_NAME[name], 1)
        best = best_filter(bad, scene, BY_NAME[name])
        assert best.name.startswith(kind)
        assert best.psnr_db > psnr(bad, scene)


def test_a_model_that_does_nothing_is_behind_and_one_that_knows_the_truth_is_not(throat):
    faults = faults_named(("clean", "blur 1.6", "noise .04"))
    methods = [Method("idle", identity), _oracle(throat)]
    results = FaultResults(tuple(run_trials(methods, [throat], faults)))
    assert results.models() == [INPUT, "idle", "oracle"]
    assert [cell.is_behind for cell in results.of("idle")] == [False, True, True]
    assert [cell.is_behind for cell in results.of("oracle")] == [False, False, False]
    assert behind_filters(results.of("oracle")) == []
    assert behind_filters(results.of("idle"))[0].startswith("blur 1.6, throat: +0.0 dB")
    idle = results.of("idle")[1]
    assert (idle.gain_db, idle.worst_db, idle.lassim_input, idle.photos) == (0, 0, 1, 2)
    assert results.of("oracle")[1].ssim == 1
    assert "**" in "".join(fault_table(results.of("idle")))
    assert "**" not in "".join(fault_table(results.of("oracle")))
    assert "idle is behind a one-line filter in 2 of 2 cells" in results.summary()


def test_light_and_haze_are_asked_of_throats_larynges_and_mucosa_alone(scene):
    for name in DOMAINS:
        domain = Domain(name, (Photo("a", scene),))
        assert domain.asks(BY_NAME["noise .02"])
        assert domain.asks(BY_NAME["haze .25"]) == (name in ("throat", "larynx", "mucosa"))


def test_redness_is_kept_by_light_and_lost_by_paling(scene):
    darker = (scene * 0.8).round().astype(np.uint8)
    assert redness_kept(scene, scene) == (pytest.approx(1), 0)
    assert redness_kept(darker, scene) == (pytest.approx(1, abs=0.01), pytest.approx(0, abs=0.01))
    paler = scene.copy()
    paler[..., 0] = (scene[..., 0] * 0.9).astype(np.uint8)
    assert redness_kept(paler, scene).shift == pytest.approx(np.log(0.9), abs=0.01)
    assert redness_kept(np.ascontiguousarray(scene[:, ::-1]), scene).rank < 0.9
    assert np.isnan(redness_kept(np.zeros_like(scene), np.zeros_like(scene)).rank)


def test_photos_are_mirrored_out_to_a_native_size_or_cut_and_never_enlarged(scene):
    wide = at_native_size(scene, (400, 300))
    assert wide.shape == (300, 400, 3)
    top, left = (300 - SIZE[1]) // 2, (400 - SIZE[0]) // 2
    assert np.array_equal(wide[top : top + SIZE[1], left : left + SIZE[0]], scene)
    assert np.array_equal(at_native_size(scene, (96, 80)), scene[32:112, 40:136])


def test_the_whole_service_is_measured_at_native_scale(tmp_path, throat):
    models.install(tmp_path, models.identity(), "idle")
    folder = model_folder(tmp_path / "idle" / "1.0.0" / "model.onnx")
    found = run_native({"idle": folder}, [throat], faults_named(("clean", "noise .02")), sizes=[(256, 192)])
    assert [(trial.fault, trial.size, trial.photo) for trial in found] == [
        ("noise .02", WORKING, "a.png"),
        ("noise .02", "256x192", "a.png"),
    ]
    assert all(abs(trial.gain_db) < 0.01 for trial in found)
    with served(folder) as enhance:
        assert np.array_equal(enhance(throat.photos[0].pixels), throat.photos[0].pixels)


def test_a_model_without_a_card_cannot_go_through_the_service(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"")
    with pytest.raises(DataError, match="card"):
        model_folder(tmp_path)


def test_the_share_of_a_gain_that_is_left_is_that_of_the_same_fault():
    trials = [
        NativeTrial("m", "throat", "noise .02", "a", size, 30, 30 + gain)
        for size, gain in ((WORKING, 4.0), ("1280x720", 3.0))
    ]
    native = FaultResults((), tuple(trials)).native
    assert share_kept(native, "m", "noise .02", "1280x720") == pytest.approx(0.75)
    assert share_kept(native, "m", "blur 1.0", "1280x720") is None


def test_a_card_gets_the_gains_and_where_the_model_is_behind_and_the_older_ones_go(tmp_path, throat):
    card = models.install(tmp_path, models.identity(), "idle")
    assert card.behind_filters is None
    cells = FaultResults(tuple(run_trials([], [throat], faults_named(("clean", "noise .04"))))).of(INPUT)
    once = with_faults(card, cells)
    assert [figure.metric for figure in once.evaluation] == [figure.metric for figure in card_figures(cells)]
    assert once.evaluation[1].value == 0
    assert len(once.behind_filters or ()) == 1
    assert with_faults(once, cells) == once


def test_the_command_writes_tables_a_heat_map_and_the_card(tmp_path):
    models.install(tmp_path, models.identity(), "idle")
    write_photos(tmp_path / "photos", 2, size=SIZE)
    folder = tmp_path / "idle" / "1.0.0"
    asked = ["--domain", f"throat={tmp_path / 'photos'}", "--domain", f"natural={tmp_path / 'photos'}", "--record"]
    chosen = ["--fault", "noise .04", "--fault", "haze .25", "--fault", "clean"]
    out = tmp_path / "report"
    ran = CliRunner().invoke(
        app,
        ["evaluate", "--faults", *asked, *chosen, "--method", str(folder), "--out", str(out)],
        env={"COLUMNS": "200"},
    )
    assert ran.exit_code == 0, ran.output
    assert sorted(path.name for path in out.iterdir()) == sorted(FILES)
    told = json.loads((out / "faults.json").read_text())
    assert {(cell["domain"], cell["fault"]) for cell in told["cells"]} == {
        *(("throat", name) for name in ("clean", "noise .04", "haze .25")),
        *(("natural", name) for name in ("clean", "noise .04")),
    }
    assert len(told["behind_filters"]["idle/1.0.0"]) >= 2
    with (out / "faults.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 2 * (3 + 2) * 2
    assert cv2.imread(str(out / "faults.png")) is not None
    assert read_card(folder / "card.json").behind_filters == told["behind_filters"]["idle/1.0.0"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "No domain"),
        (["--domain", "nose=photos"], "NAME=PATH"),
        (["--domain", "larynx"], "needs the path"),
        (["--domain", "larynx=gone"], "no folder or list"),
        (["--domain", "phantoms", "--domain", "phantoms"], "given twice"),
        (["--domain", "phantoms", "--fault", "rust"], "no fault"),
        (["--domain", "phantoms", "--method", "gone"], "not a method"),
        (["--domain", "phantoms", "--size", "96x96"], "cannot go with --faults"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_any_work(options, words, tmp_path):
    ran = CliRunner().invoke(app, ["evaluate", "--faults", *options, "--out", str(tmp_path / "out")])
    assert words in str(ran.exception)
    assert isinstance(ran.exception, InvalidParameter | DataError)


def test_options_of_the_faults_and_no_photos_are_refused_without_them(tmp_path):
    for options in (["--domain", "phantoms"], []):
        ran = CliRunner().invoke(app, ["evaluate", *options, "--out", str(tmp_path / "out")])
        assert isinstance(ran.exception, InvalidParameter)
        assert "--faults" in str(ran.exception)


def test_a_report_among_the_photos_is_refused(tmp_path):
    photos = write_photos(tmp_path / "photos", 1, size=SIZE)
    with pytest.raises(CommandError, match="searched for photos"):
        evaluate_faults(FaultRequest((f"throat={photos}",), (), photos / "out"))


def test_the_help_names_the_domains():
    assert ", ".join(DOMAINS) == HELP_DOMAINS


def test_a_limit_is_spread_over_the_photos_and_unusable_ones_are_named(tmp_path):
    photos = write_photos(tmp_path / "photos", 4, size=SIZE)
    (photos / "000.png").write_text("not an image")
    skipped: list[str] = []
    domain = load_domain(parse_source(f"larynx={photos}"), 3, held_out=False, skip=skipped.append)
    assert [photo.name for photo in domain.photos] == ["001.png", "003.png"]
    assert len(skipped) == 1


def test_phantoms_are_drawn_where_no_folder_is_given():
    domain = load_domain(parse_source("phantoms"), 1, held_out=True, skip=lambda sentence: None)
    assert [photo.pixels.shape for photo in domain.photos] == [(272, 480, 3)]


def test_only_the_photos_listed_are_held_out(tmp_path):
    write_photos(tmp_path / "patient1" / "seq1", 1)
    with pytest.raises(DataError, match="kept out of training"):
        held_out_photos("larynx", tmp_path)
    (tmp_path / "patient1" / "seq1" / "000.png").rename(tmp_path / "patient1" / "seq1" / "0001.webp")
    assert [path.name for path in held_out_photos("larynx", tmp_path)] == ["0001.webp"]


def test_the_held_out_photos_are_where_the_shared_data_is(shared_data):
    for name, count in (("throat", 1), ("larynx", 76), ("mucosa", 51), ("natural", 21)):
        assert len(held_out_photos(name, shared_data / "data" / name)) == count


def test_numbers_that_are_none_are_null_and_dashes():
    flat = Domain("throat", (Photo("flat", np.full((144, 176, 3), 3, np.uint8)),))
    results = FaultResults(tuple(run_trials([Method("idle", identity)], [flat], faults_named(("clean",)))))
    assert json.loads(as_json(results))["cells"][0]["redness_rank"] is None
    assert "| – → – |" in as_markdown(results)


def test_tables_with_no_model_but_the_input_are_written(tmp_path):
    photos = write_photos(Path(tmp_path) / "photos", 1, size=SIZE)
    results = evaluate_faults(FaultRequest((f"throat={photos}",), (), tmp_path / "out", faults=("blur 1.0",)))
    assert results.models() == [INPUT]
    assert (tmp_path / "out" / "faults.png").is_file()
