"""The paper's table I: its protocol, its figures, and the command that runs it."""

import csv
import math
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from model_training.cli import app, main
from model_training.data.phantom import phantom
from model_training.evaluation.divergence import js_divergence
from model_training.evaluation.table1 import run_table1, score_pairs
from model_training.evaluation.table1_rows import PUBLISHED
from model_training.guardrail.faults import box_blur, warp


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for seed in range(2):
        cv2.imwrite(str(folder / f"{seed}.png"), phantom(160, 120, seed)[..., ::-1])
    return folder


def test_every_mean_on_the_authors_throat_lies_within_1_5_published_deviations(shared_data: Path) -> None:
    rows = run_table1([shared_data / "data/throat/image_original.png"], (480, 272), seed=0, seeds=4)
    assert len(rows) == 18
    worst = max(max(row.deviations()) for row in rows)
    assert worst < 1.5, f"{worst:.2f} published standard deviations off"


def test_lassim_separates_better_than_ssim_in_all_nine_pairs_on_larynx_images(shared_data: Path) -> None:
    paths = sorted((shared_data / "data/larynx").rglob("*.webp"))[::36]
    rows = run_table1(paths, (480, 272), seed=0, seeds=1)
    by_key = {(row.metric, row.deformation, row.blur): row.divergence for row in rows}
    for deformation in "LMH":
        for blur in "LMH":
            assert by_key["LaSSIM", deformation, blur] > by_key["SSIM", deformation, blur]


def test_a_warp_lowers_lassim_more_than_the_same_blur_alone() -> None:
    scores = score_pairs(phantom(480, 272, 1), np.random.default_rng(0))
    for (metric, *_), (blurred, warped) in scores.items():
        assert metric == "SSIM" or warped < blurred


def test_the_same_seed_gives_the_same_warp_and_another_seed_another() -> None:
    image = phantom(120, 90, 0)
    first, again, other = (warp(image, 25, np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_the_warp_field_has_the_papers_smoothness_and_strength() -> None:
    columns = np.broadcast_to(np.arange(200, dtype=np.uint8), (200, 200))
    image = np.stack([columns] * 3, axis=-1)
    shift = warp(image, 25, np.random.default_rng(0))[10:-10, 10:-10, 0].astype(float) - columns[10:-10, 10:-10]
    # A uniform field of variance 1/3, smoothed by a Gaussian of sigma s, keeps 1 / (4 pi s^2) of it.
    assert np.std(shift) == pytest.approx(25 * math.sqrt(1 / 3 / (4 * math.pi * 4)), rel=0.1)


def test_the_box_blur_averages_a_square_of_its_size() -> None:
    image = np.zeros((31, 31, 3), np.uint8)
    image[15, 15] = 243
    blurred = box_blur(image, 9)
    assert set(np.unique(blurred)) == {0, 3}
    assert np.count_nonzero(blurred[..., 0]) == 81


def test_the_divergence_of_equal_samples_is_0_of_disjoint_ones_1_and_symmetric() -> None:
    generator = np.random.default_rng(0)
    one, two = generator.normal(0, 1, 500), generator.normal(1, 1, 500)
    assert js_divergence(one, one) == 0
    assert js_divergence(one, one + 100) == pytest.approx(1)
    assert js_divergence([0.5, 0.5], [0.5]) == 0
    assert js_divergence(one, two) == pytest.approx(js_divergence(two, one))


def test_the_divergence_is_scipys_distance_squared_over_the_same_bins() -> None:
    from scipy.spatial.distance import jensenshannon

    generator = np.random.default_rng(1)
    one, two = generator.normal(0, 1, 300), generator.normal(0.7, 2, 400)
    joint = (min(one.min(), two.min()), max(one.max(), two.max()))
    shares = [np.histogram(sample, 50, joint)[0] for sample in (one, two)]
    assert js_divergence(one, two) == pytest.approx(jensenshannon(*shares, base=2) ** 2)


def test_the_papers_js_column_is_a_distance_in_nats() -> None:
    assert max(row.distance_nats for row in PUBLISHED.values()) == pytest.approx(math.sqrt(math.log(2)), abs=0.01)


def test_the_command_writes_table_csv_and_figure(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    options = ["--size", "160x120", "--seeds", "2", "--out", str(out)]
    result = CliRunner().invoke(app, ["validate-lassim", str(folder), *options])
    assert result.exit_code == 0, result.output
    with (out / "table.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 18
    assert all(0 <= float(row["js_bits"]) <= 1 for row in rows)
    assert "| L def, L blur | SSIM |" in (out / "table.md").read_text(encoding="utf-8")
    figure = cv2.imread(str(out / "distributions.png"))
    assert figure is not None
    assert figure.shape[0] > 500


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["{tmp}/absent"], "There is no folder or list"),
        (["{tmp}/empty"], "no images in"),
        (["{tmp}/text.png"], "cannot be read as an image"),
        (["{tmp}/text.png", "--size", "big"], "WIDTHxHEIGHT"),
        (["{tmp}/text.png", "--size", "40x30"], "too small"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_2(
    arguments: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if len(arguments) > 1 or "text" in arguments[0]:
        (tmp_path / "text.png").write_text("not an image", encoding="utf-8")
    (tmp_path / "empty").mkdir()
    command = [argument.format(tmp=tmp_path) for argument in arguments]
    with pytest.raises(SystemExit) as stopped:
        main(["validate-lassim", *command, "--out", str(tmp_path / "out")])
    assert stopped.value.code == 2
    shown = capsys.readouterr().err
    assert words in shown
    assert "Traceback" not in shown
