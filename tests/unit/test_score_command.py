"""`lamegan score` as a user meets it: the real program, real files."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from service.quality.lassim import lassim, ssim


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "service.commands.main", "score", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    photo = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    paths = tmp_path / "output.png", tmp_path / "input.png"
    for path, image in zip(paths, (cv2.GaussianBlur(photo, (0, 0), 2), photo), strict=True):
        Image.fromarray(image).save(path)
    return paths


def refused(result: subprocess.CompletedProcess[str]) -> str:
    assert result.returncode == 2
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    return result.stderr


def test_people_get_text(pair: tuple[Path, Path]) -> None:
    result = run(*pair)
    assert result.returncode == 0
    assert result.stdout.splitlines()[0].startswith("LaSSIM  0.")
    assert "Lowest" in result.stdout


def test_programs_get_one_object_with_the_functions_own_numbers(pair: tuple[Path, Path]) -> None:
    output, input = (np.asarray(Image.open(path)) for path in pair)
    facts = json.loads(run(*pair, "--json", "--level", 2).stdout)
    assert facts["lassim"] == lassim(output, input, level=2)
    assert facts["ssim"] == ssim(output, input)
    assert (facts["level"], facts["scale"]) == (2, "native")
    assert set(facts["worst"]) == {"value", "box"}
    assert set(facts["worst"]["box"]) == {"left", "top", "right", "bottom"}


def test_a_heat_map_of_the_photos_size_is_written(pair: tuple[Path, Path], tmp_path: Path) -> None:
    assert run(*pair, "--map", tmp_path / "heat.png").returncode == 0
    with Image.open(tmp_path / "heat.png") as drawn:
        assert drawn.size == (160, 120)


def test_sizes_that_differ_are_refused(pair: tuple[Path, Path], tmp_path: Path) -> None:
    other = tmp_path / "other.png"
    Image.new("RGB", (160, 121)).save(other)
    assert "160x121 px" in refused(run(other, pair[1]))


def test_too_small_an_image_is_refused(tmp_path: Path) -> None:
    small = tmp_path / "small.png"
    Image.new("RGB", (48, 60)).save(small)
    assert "each side needs 49 px" in refused(run(small, small))


def test_a_level_the_image_lacks_is_refused(pair: tuple[Path, Path]) -> None:
    assert "too small for level 6" in refused(run(*pair, "--level", 6))


def test_an_absent_file_is_refused(pair: tuple[Path, Path], tmp_path: Path) -> None:
    assert "cannot be read: No such file" in refused(run(pair[0], tmp_path / "absent.png"))


def test_what_is_no_image_is_refused(pair: tuple[Path, Path], tmp_path: Path) -> None:
    text = tmp_path / "text.png"
    text.write_text("no picture")
    assert "text.png" in refused(run(pair[0], text))


def test_a_truncated_image_is_refused(pair: tuple[Path, Path], tmp_path: Path) -> None:
    cut = tmp_path / "cut.png"
    cut.write_bytes(pair[0].read_bytes()[:5000])
    assert "damaged or cut off" in refused(run(pair[0], cut))


def test_an_unwritable_map_is_refused(pair: tuple[Path, Path], tmp_path: Path) -> None:
    assert "cannot be written" in refused(run(*pair, "--map", tmp_path / "absent" / "heat.png"))


def test_a_file_against_a_folder_is_refused(pair: tuple[Path, Path], tmp_path: Path) -> None:
    assert "Both must be files, or both folders" in refused(run(pair[0], tmp_path))


@pytest.fixture
def folders(tmp_path: Path, pair: tuple[Path, Path]) -> tuple[Path, Path]:
    outputs, inputs = tmp_path / "outputs", tmp_path / "inputs"
    for folder, source in ((outputs, pair[0]), (inputs, pair[1])):
        (folder / "ward").mkdir(parents=True)
        for name in ("one", "two", "ward/three"):
            (folder / f"{name}.png").write_bytes(source.read_bytes())
    return outputs, inputs


def test_folders_are_paired_by_name_and_summed_up(folders: tuple[Path, Path], tmp_path: Path) -> None:
    table = tmp_path / "scores.csv"
    result = run(*folders, "--csv", table, "--map", tmp_path / "maps")
    assert result.returncode == 0
    assert "(3 pairs)" in result.stdout
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert [row["name"] for row in rows] == ["one", "two", "ward/three"]
    assert len({row["lassim"] for row in rows}) == 1
    assert (tmp_path / "maps" / "ward" / "three.png").is_file()


def test_csv_goes_to_standard_output_alone_if_asked(folders: tuple[Path, Path]) -> None:
    result = run(*folders, "--csv", "-")
    assert len(list(csv.DictReader(result.stdout.splitlines()))) == 3


def test_standard_output_takes_one_of_json_and_csv(folders: tuple[Path, Path]) -> None:
    assert "not both" in refused(run(*folders, "--csv", "-", "--json"))


def test_the_pixel_limit_is_the_settings(pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAMEGAN_MAX_PIXELS", str(120 * 160 - 1))
    assert "too many pixels" in refused(run(*pair))


def test_unpaired_and_unscorable_names_are_listed(folders: tuple[Path, Path]) -> None:
    outputs, inputs = folders
    (outputs / "alone.png").write_bytes((outputs / "one.png").read_bytes())
    (inputs / "left.png").write_bytes((inputs / "one.png").read_bytes())
    (inputs / "two.png").write_bytes(b"no picture")
    result = run(outputs, inputs, "--json")
    assert result.returncode == 1
    for said in ("alone is only among the outputs", "left is only among the inputs", "Not scored: two"):
        assert said in result.stderr
    facts = json.loads(result.stdout)
    assert facts["unpaired"] == {"outputs": ["alone"], "inputs": ["left"]}
    assert [one["name"] for one in facts["pairs"] if "error" in one] == ["two"]
    assert facts["summary"]["lassim"]["count"] == 2


def test_two_files_of_one_name_are_refused(folders: tuple[Path, Path]) -> None:
    outputs, inputs = folders
    (outputs / "one.jpg").write_bytes(b"")
    assert "two files named one" in refused(run(outputs, inputs))


def test_an_empty_folder_is_refused(folders: tuple[Path, Path], tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "holds no files" in refused(run(empty, folders[1]))


def test_a_heat_map_never_replaces_what_is_scored(pair: tuple[Path, Path], tmp_path: Path) -> None:
    link = tmp_path / "link.png"
    link.symlink_to(pair[1])
    before = [path.read_bytes() for path in pair]
    for target in (*pair, link):
        assert "would replace an input of this run." in refused(run(*pair, "--map", target))
    assert [path.read_bytes() for path in pair] == before


def test_maps_and_tables_of_folders_never_replace_what_they_hold(folders: tuple[Path, Path]) -> None:
    outputs, inputs = folders
    alone = inputs / "alone.png"
    alone.write_bytes(b"mine")
    for arguments in (["--map", inputs], ["--map", outputs], ["--csv", inputs / "one.png"], ["--csv", alone]):
        before = {path: path.read_bytes() for path in inputs.parent.rglob("*.png")}
        assert "would replace an input of this run." in refused(run(*folders, *arguments))
        assert {path: path.read_bytes() for path in inputs.parent.rglob("*.png")} == before


def test_a_heat_map_and_the_table_do_not_overwrite_each_other(folders: tuple[Path, Path], tmp_path: Path) -> None:
    table = tmp_path / "maps" / "one.png"
    result = run(*folders, "--map", tmp_path / "maps", "--csv", table)
    assert result.returncode == 1
    assert "Not scored: one: " in result.stderr
    assert table.read_text().startswith("name,")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full")
def test_scores_are_told_even_if_the_table_cannot_be_written_in_the_end(folders: tuple[Path, Path]) -> None:
    result = run(*folders, "--csv", "/dev/full")
    assert result.returncode == 1
    assert "(3 pairs)" in result.stdout
    assert "/dev/full cannot be written: No space left on device." in result.stderr
