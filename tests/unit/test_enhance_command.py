"""`lamegan enhance`: which files, where to, what is said, and which exit code."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from model_training.data.phantom import phantom
from service.commands import EXIT_INTERRUPTED
from service.commands.console import EXIT_DONE, EXIT_PARTLY, EXIT_REFUSED, EXIT_WITHHELD
from service.commands.enhance import CSV_COLUMNS
from service.commands.enhance_plan import plan
from service.commands.main import app, main
from service.errors import CommandError
from service.imaging.codecs import decode, encode
from service.imaging.headers import SourceFormat
from service.registry.store import ModelStore
from tests import models
from tests.hostile import case


@pytest.fixture(scope="module")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    models.install(root, models.brighten(10), name="lamegan-fast")
    models.install(root, models.noise(), name="noise", floors=models.STRICT)
    return root


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return cv2.resize(phantom(480, 272, 5), (240, 136), interpolation=cv2.INTER_AREA).astype(np.uint8)


@pytest.fixture
def folder(tmp_path: Path, photo: np.ndarray, models_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LAMEGAN_MODELS_DIR", str(models_dir))
    monkeypatch.chdir(tmp_path)
    put(tmp_path / "in" / "one.png", photo)
    put(tmp_path / "in" / "two.jpg", photo, "jpeg")
    put(tmp_path / "in" / "deeper" / "three.webp", photo, "webp")
    (tmp_path / "in" / ".hidden.png").write_bytes(b"no image")
    return tmp_path


def put(path: Path, pixels: np.ndarray, form: SourceFormat = "png") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode(pixels, form))


def lamegan(*arguments: str | Path) -> Result:
    """The command as the shell runs it, errors included."""
    return CliRunner().invoke(app, ["enhance", *map(str, arguments)])


def refused(*arguments: str | Path) -> str:
    result = lamegan(*arguments)
    assert isinstance(result.exception, CommandError)
    return result.exception.detail


def test_one_file_is_answered_beside_it(folder: Path, photo: np.ndarray) -> None:
    result = lamegan("in/one.png")
    assert result.exit_code == EXIT_DONE
    made = decode((folder / "in" / "one.enhanced.png").read_bytes()).pixels
    assert np.array_equal(made, np.minimum(photo.astype(int) + 10, 255))
    assert "in/one.png -> in/one.enhanced.png  LaSSIM 0.9" in result.stdout
    assert result.stdout.rstrip().endswith("pass")


@pytest.mark.parametrize(
    ("name", "form"), [("o.jpg", "jpeg"), ("o.jpeg", "jpeg"), ("o.png", "png"), ("o.webp", "webp")]
)
def test_the_output_files_ending_names_its_format(folder: Path, name: str, form: str) -> None:
    assert lamegan("in/one.png", name).exit_code == EXIT_DONE
    assert decode((folder / name).read_bytes()).format == form


def test_a_folder_is_answered_in_the_same_shape(folder: Path) -> None:
    assert lamegan("in", "out", "--format", "jpeg", "--map", "maps").exit_code == EXIT_DONE
    assert answers(folder / "out") == ["deeper/three.jpg", "one.jpg", "two.jpg"]
    assert found(folder / "maps") == ["deeper/three.png", "one.png", "two.png"]


def answers(folder: Path) -> list[str]:
    return [name for name in found(folder) if "journal" not in name]


def found(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_bad_files_are_listed_and_the_rest_is_done(folder: Path) -> None:
    (folder / "in" / "notes.txt").write_text("not an image")
    (folder / "in" / "cut.png").write_bytes((folder / "in" / "one.png").read_bytes()[:500])
    (folder / "in" / "empty.jpg").write_bytes(b"")
    result = lamegan("in", "out", "--csv", "scores.csv")
    assert result.exit_code == EXIT_PARTLY
    assert answers(folder / "out") == ["deeper/three.webp", "one.png", "two.jpg"]
    for name in ("cut.png", "empty.jpg"):
        assert f"Not enhanced: in/{name}: " in result.stderr
    assert "notes.txt" not in result.stderr
    assert "Passed over: 1 files that are not images." in result.stderr
    assert "Not enhanced: in/empty.jpg: The image is empty." in result.stderr
    rows = list(csv.DictReader(io.StringIO((folder / "scores.csv").read_text(encoding="utf-8"))))
    assert [row["input"] for row in rows] == sorted(
        f"in/{name}" for name in found(folder / "in") if "hidden" not in name and name != "notes.txt"
    )
    assert tuple(rows[0]) == CSV_COLUMNS
    assert {row["verdict"] for row in rows if row["output"]} == {"pass"}
    assert all(bool(row["error"]) != bool(row["output"]) for row in rows)


def test_a_run_in_which_nothing_could_be_done_is_refused(folder: Path) -> None:
    (folder / "bad.png").write_bytes(b"\xff\xd8\xff")
    result = lamegan("bad.png")
    assert isinstance(result.exception, CommandError)
    assert "Not enhanced: bad.png: The image's header is cut off." in result.stderr


def test_nothing_is_overwritten_unless_told_to(folder: Path) -> None:
    (folder / "out.png").write_bytes(b"mine")
    assert isinstance(lamegan("in/one.png", "-o", "out.png").exception, CommandError)
    assert (folder / "out.png").read_bytes() == b"mine"
    assert lamegan("in/one.png", "-o", "out.png", "--overwrite").exit_code == EXIT_DONE
    assert decode((folder / "out.png").read_bytes()).format == "png"


def test_an_input_is_never_replaced_even_when_told_to_overwrite(folder: Path) -> None:
    before = (folder / "in" / "one.png").read_bytes()
    for out in ("in/one.png", "in"):
        assert isinstance(lamegan("in/one.png", "-o", out, "--overwrite").exception, CommandError)
    assert (folder / "in" / "one.png").read_bytes() == before


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_no_answer_replaces_another_input_and_the_rest_is_done(folder: Path, photo: np.ndarray) -> None:
    put(folder / "in" / "one.jpg", photo, "jpeg")
    before = contents(folder)
    result = lamegan("in", "-o", "in", "--format", "png", "--overwrite")
    assert result.exit_code == EXIT_PARTLY
    for name in ("one.jpg", "one.png"):
        assert f"Not enhanced: in/{name}: in/one.png would replace an input of this run." in result.stderr
    assert {name: contents(folder)[name] for name in before} == before
    made = {"in/two.png", "in/deeper/three.png", "in/.lamegan-journal.jsonl"}
    assert set(contents(folder)) - set(before) == made


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_an_input_is_known_through_links(folder: Path, link: Callable[[str, str], None]) -> None:
    link(str(folder / "in" / "one.png"), "other.png")
    before = contents(folder)
    assert isinstance(lamegan("in/one.png", "-o", "other.png", "--overwrite").exception, CommandError)
    assert refused("in/one.png", "o.png", "--map", "other.png", "--overwrite").startswith("other.png would replace")
    assert refused("in/one.png", "o.png", "--csv", "other.png").startswith("other.png would replace")
    assert contents(folder) == before


@pytest.mark.parametrize(
    "arguments",
    [
        ["in/one.png", "o.png", "--map", "in/../in/one.png", "--overwrite"],
        ["in/one.png", "in/two.jpg", "-o", "out", "--csv", "in/two.jpg"],
        ["in", "out", "--csv", "in/deeper/three.webp"],
        ["in", "-o", "out", "--map", "in", "--overwrite"],
    ],
)
def test_a_heat_map_or_table_that_would_replace_an_input_stops_the_run(folder: Path, arguments: list[str]) -> None:
    before = contents(folder)
    assert refused(*arguments).endswith(" would replace an input of this run.")
    assert contents(folder) == before


def test_answers_heat_maps_and_table_do_not_overwrite_each_other(folder: Path) -> None:
    for arguments in (["--map", "out.png"], ["--csv", "out.png"], ["--map", "m.png", "--csv", "./m.png"]):
        result = lamegan("in/one.png", "-o", "out.png", "--overwrite", *arguments)
        assert "would be written twice in this run." in result.stderr
        assert not (folder / "out.png").is_file() or (folder / "out.png").read_text().startswith("input,")
    (folder / "alias").symlink_to("out", target_is_directory=True)
    (folder / "out").mkdir()
    result = lamegan("in", "-o", "out", "--format", "png", "--map", "alias", "--overwrite")
    assert result.stderr.count("would be written twice in this run.") == 3
    assert found(folder / "out") == []


def test_two_inputs_of_one_name_do_not_overwrite_each_other(folder: Path, photo: np.ndarray) -> None:
    put(folder / "in" / "one.jpg", photo, "jpeg")
    result = lamegan("in", "out", "--format", "png", "--overwrite")
    assert result.exit_code == EXIT_PARTLY
    assert "would be written twice" in result.stderr
    assert answers(folder / "out") == ["deeper/three.png", "one.png", "two.png"]


def test_a_second_run_over_a_folder_leaves_its_own_answers_alone(folder: Path) -> None:
    assert lamegan("in").exit_code == EXIT_DONE
    assert lamegan("in", "--overwrite").exit_code == EXIT_DONE
    assert not [name for name in found(folder / "in") if name.count("enhanced") > 1]


def test_answers_below_the_input_folder_are_not_taken_for_inputs(folder: Path) -> None:
    assert lamegan("in", "in/out").exit_code == EXIT_DONE
    assert lamegan("in", "-o", "in/out", "--overwrite").exit_code == EXIT_DONE
    assert answers(folder / "in" / "out") == ["deeper/three.webp", "one.png", "two.jpg"]


def test_answers_below_the_input_folder_are_known_however_the_two_are_spelled(folder: Path) -> None:
    for spelled in ((folder / "in", "in/out"), ("in", folder / "in" / "out"), ("in/../in", "in/out")):
        assert lamegan(spelled[0], "-o", spelled[1], "--overwrite").exit_code == EXIT_DONE
    assert answers(folder / "in" / "out") == ["deeper/three.webp", "one.png", "two.jpg"]


def test_a_pattern_is_expanded_where_the_shell_has_not(folder: Path) -> None:
    assert lamegan("in/*.p*g", "out").exit_code == EXIT_DONE
    assert answers(folder / "out") == ["one.png"]


def test_a_pattern_passes_over_earlier_answers_as_a_folder_does(folder: Path) -> None:
    assert lamegan("in/*.png").exit_code == EXIT_DONE
    assert lamegan("in/*.png", "--overwrite").exit_code == EXIT_DONE
    assert answers(folder / "in") == [".hidden.png", "deeper/three.webp", "one.enhanced.png", "one.png", "two.jpg"]


@pytest.mark.parametrize("meant", [["in"], ["in/*.jpg", "in/*.png"], ["in/dead.jpg", "in/pipe.jpg", "in/one.png"]])
def test_broken_links_and_pipes_are_listed_and_the_rest_is_done(folder: Path, meant: list[str]) -> None:
    (folder / "in" / "dead.jpg").symlink_to("nowhere")
    os.mkfifo(folder / "in" / "pipe.jpg")
    result = lamegan(*meant, "-o", "out")
    assert result.exit_code == EXIT_PARTLY
    assert "Not enhanced: in/dead.jpg: in/dead.jpg is a broken link.\n" in result.stderr
    assert "Not enhanced: in/pipe.jpg: in/pipe.jpg is not a regular file.\n" in result.stderr
    assert "one.png" in found(folder / "out")


def test_links_in_a_ring_are_listed_with_their_reason(folder: Path) -> None:
    (folder / "in" / "ring.png").symlink_to("ring.png")
    result = lamegan("in", "out")
    assert result.exit_code == EXIT_PARTLY
    assert "Not enhanced: in/ring.png: in/ring.png cannot be read: " in result.stderr


def test_a_broken_link_alone_is_refused_whatever_out_is(folder: Path) -> None:
    (folder / "dead.jpg").symlink_to("nowhere")
    for out in ("o.png", "in/one.png"):
        result = lamegan("dead.jpg", "-o", out)
        assert isinstance(result.exception, CommandError)
        assert "Not enhanced: dead.jpg: dead.jpg is a broken link." in result.stderr
    assert not (folder / "o.png").exists()


def test_a_name_too_long_to_be_written_fails_alone(folder: Path, photo: np.ndarray) -> None:
    put(folder / "in" / f"{'n' * 245}.png", photo)
    result = lamegan("in")
    assert result.exit_code == EXIT_PARTLY
    assert "cannot be written: File name too long." in result.stderr
    assert "n" * 300 in refused("n" * 300)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("in", "in is a folder."),
        ("in/one.txt/scores.csv", "in/one.txt/scores.csv cannot be written: "),
        (f"{'n' * 300}/scores.csv", "File name too long."),
    ],
)
def test_a_table_that_cannot_be_written_is_told_before_the_work(folder: Path, table: str, said: str) -> None:
    (folder / "in" / "one.txt").write_text("no folder")
    assert said in refused("in/one.png", "o.png", "--csv", table)
    assert not (folder / "o.png").exists()


def test_a_table_that_may_not_be_written_is_told_before_the_work(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # root, who runs this in containers, may write anywhere
    assert "scores.csv cannot be written: " in refused("in/one.png", "o.png", "--csv", "new/scores.csv")
    assert not (folder / "o.png").exists()


def test_the_tables_folder_is_made(folder: Path) -> None:
    assert lamegan("in/one.png", "o.png", "--csv", "new/er/scores.csv").exit_code == EXIT_DONE
    assert (folder / "new" / "er" / "scores.csv").read_text(encoding="utf-8").count("\n") == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full")
def test_results_are_told_even_if_the_table_cannot_be_written_in_the_end(folder: Path) -> None:
    result = lamegan("in/one.png", "o.png", "--csv", "/dev/full")
    assert result.exit_code == EXIT_PARTLY
    assert "in/one.png -> o.png" in result.stdout
    assert "/dev/full cannot be written: No space left on device.\n" in result.stderr


def test_json_holds_every_file_with_its_facts(folder: Path) -> None:
    (folder / "in" / "bad.png").write_bytes(b"BM")
    result = lamegan("in", "out", "--json")
    assert result.exit_code == EXIT_PARTLY
    images = {image["input"]: image for image in json.loads(result.stdout)["images"]}
    assert len(images) == 4
    assert set(images["in/bad.png"]) == {"input", "error"}
    good = images["in/one.png"]
    assert good["output"] == "out/one.png"
    assert good["model"] == "lamegan-fast/1.0.0"
    assert 0.9 < good["lassim"] <= 1
    assert (good["width"], good["height"], good["missed"]) == (240, 136, [])


def test_csv_may_go_to_standard_output_alone(folder: Path) -> None:
    result = lamegan("in", "out", "--csv", "-")
    assert len(list(csv.DictReader(io.StringIO(result.stdout)))) == 3


def test_standard_output_takes_one_of_json_and_csv(folder: Path) -> None:
    assert "not both" in refused("in", "out", "--csv", "-", "--json")
    assert not (folder / "out").exists()


def test_a_name_that_is_no_utf8_is_told_as_it_is(folder: Path, photo: np.ndarray) -> None:
    name = os.fsdecode(b"k\xe4se.png")
    try:
        put(folder / "old" / name, photo)
    except OSError:
        pytest.skip("this file system takes UTF-8 names alone")
    ran = subprocess.run(
        [
            sys.executable,
            "-m",
            "service.commands.main",
            "enhance",
            folder / "old",
            folder / "out",
            "--csv",
            folder / "t.csv",
        ],
        capture_output=True,
        check=False,
        cwd=Path(__file__).resolve().parents[2],
        env=os.environ | {"PYTHONIOENCODING": "utf-8:strict"},
    )
    assert ran.returncode == EXIT_DONE
    assert b"k\xe4se.png" in ran.stdout
    assert b"k\xe4se.png" in (folder / "t.csv").read_bytes()


def test_without_a_model_it_is_the_one_that_a_service_would_serve(folder: Path, models_dir: Path) -> None:
    store = ModelStore(models_dir)
    store.activate("noise/1.0.0", "lamegan-fast")
    try:
        used = [json.loads(lamegan("in/one.png", out, "--overwrite", "--json", *given).stdout)["images"][0]["model"]
                for out, given in (("a.png", ()), ("b.png", ("--model", "lamegan-fast")))]  # fmt: skip
    finally:
        store.state_file.unlink()
    assert used == ["noise/1.0.0", "lamegan-fast/1.0.0"]


def test_a_withheld_enhancement_shows_in_the_exit_code(folder: Path, photo: np.ndarray) -> None:
    result = lamegan("in/one.png", "out.png", "--model", "noise", "--policy", "withhold")
    assert result.exit_code == EXIT_WITHHELD
    assert np.array_equal(decode((folder / "out.png").read_bytes()).pixels, photo)
    assert "withheld, missed: " in result.stdout


def test_the_operators_own_policy_may_be_the_mildest(folder: Path, photo: np.ndarray) -> None:
    lamegan("in/one.png", "out.png", "--model", "noise", "--policy", "annotate")
    assert not np.array_equal(decode((folder / "out.png").read_bytes()).pixels, photo)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], "nowhere does not exist."),
        (
            ["in/one.png", "out.gif"],
            "out.gif does not end in the name of a format that is written, such as .png or .jpg.",
        ),
        (["in", "-o", "in/one.png"], "in/one.png is a file; for several inputs the results go to a folder."),
        (
            ["in", "in/deeper", "--overwrite"],
            "To replace files in in/deeper, say that the results go there: -o in/deeper --overwrite.",
        ),
        (["in/*.nothing", "out"], "There is nothing to enhance: no files are there."),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_sentence(folder: Path, arguments: list[str], said: str) -> None:
    assert refused(*arguments) == said


def test_an_ending_that_contradicts_the_format_is_refused(folder: Path) -> None:
    result = lamegan("in/one.png", "out.png", "--format", "jpeg")
    assert "The output is to be jpeg, but its name ends in .png." in result.stderr
    result = lamegan("in/one.png", "out.tif")
    assert "TIFF is written only for TIFF inputs" in result.stderr


def test_an_unknown_model_is_told_before_any_file_is_read(folder: Path) -> None:
    result = lamegan("in", "out", "--model", "other")
    assert result.exception is not None
    assert "No model other is installed. Models were looked for in /" in str(result.exception)
    assert not (folder / "out").exists()


def test_an_answer_that_cannot_be_written_leaves_no_trace(folder: Path) -> None:
    (folder / "out").write_bytes(b"a file where a folder should be")
    result = lamegan("in/one.png", "out/one.png")
    assert "out/one.png cannot be written" in result.stderr
    assert not list(folder.rglob("*.partial"))


def test_a_trailing_slash_means_a_folder_that_is_made(folder: Path) -> None:
    assert [job.folder for job in plan(["in/one.png", "new/"]).jobs] == [Path("new")]
    assert lamegan("in/one.png", "new/").exit_code == EXIT_DONE
    assert found(folder / "new") == ["one.png"]


def test_the_installed_command_ends_with_its_code_and_one_sentence(folder: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "service.commands.main", "enhance", "nowhere"],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).resolve().parents[2],
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (EXIT_REFUSED, "", "lamegan: nowhere does not exist.\n")
    assert callable(main)


def test_several_files_are_all_inputs_and_none_is_replaced(folder: Path) -> None:
    before = contents(folder)
    assert lamegan("in/one.png", "in/two.jpg", "--overwrite").exit_code == EXIT_DONE
    assert {name: contents(folder)[name] for name in before} == before
    assert {"in/one.enhanced.png", "in/two.enhanced.jpg"} <= set(contents(folder))


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_an_earlier_run_is_gone_on_with_and_the_table_is_whole(folder: Path, photo: np.ndarray) -> None:
    first = lamegan("in", "-o", "out", "--csv", "-")
    put(folder / "in" / "new.png", photo)
    (folder / "out" / "two.jpg").unlink()
    before = (folder / "out" / "one.png").stat().st_mtime_ns
    result = lamegan("in", "-o", "out", "--skip-existing", "--csv", "-")
    assert result.exit_code == EXIT_DONE
    rows = {row["input"]: row for row in rows_of(result.stdout)}
    assert len(rows) == 4
    assert (folder / "out" / "one.png").stat().st_mtime_ns == before
    assert [row["skipped"] for _, row in sorted(rows.items())] == ["True", "", "True", ""]
    for row in rows_of(first.stdout):
        assert {**rows[row["input"]], "skipped": ""} == row


def test_an_answer_of_nobody_s_is_left_alone_and_one_of_other_options_is_told(folder: Path) -> None:
    (folder / "out").mkdir()
    (folder / "out" / "one.png").write_bytes(b"mine")
    assert lamegan("in/one.png", "in/two.jpg", "-o", "out", "--skip-existing").exit_code == EXIT_DONE
    assert (folder / "out" / "one.png").read_bytes() == b"mine"
    result = lamegan("in/one.png", "in/two.jpg", "-o", "out", "--skip-existing", "--policy", "annotate")
    assert result.exit_code == EXIT_PARTLY
    assert "out/two.jpg was made by other options; say --overwrite" in result.stderr


def test_a_photo_that_changed_since_is_answered_anew(folder: Path, photo: np.ndarray) -> None:
    lamegan("in", "-o", "out")
    put(folder / "in" / "one.png", 255 - photo)
    assert lamegan("in", "-o", "out", "--skip-existing").exit_code == EXIT_DONE
    assert decode((folder / "out" / "one.png").read_bytes()).pixels.mean() < 128


def run_lamegan(folder: Path, *arguments: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "service.commands.main", "enhance", *arguments],
        input=given,
        capture_output=True,
        check=False,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])},
    )


def test_standard_input_and_output_take_one_image(folder: Path, photo: np.ndarray) -> None:
    body = (folder / "in" / "one.png").read_bytes()
    ran = run_lamegan(folder, "-", given=body)
    assert ran.returncode == EXIT_DONE, ran.stderr
    assert np.array_equal(decode(ran.stdout).pixels, np.minimum(photo.astype(int) + 10, 255))
    ran = run_lamegan(folder, "-", "-o", "piped.jpg", given=body)
    assert b"LaSSIM" in ran.stdout
    assert decode((folder / "piped.jpg").read_bytes()).format == "jpeg"
    ran = run_lamegan(folder, "in/one.png", "-o", "-", "--json")
    assert (ran.returncode, ran.stdout) == (EXIT_REFUSED, b"")


def test_quiet_says_nothing_when_all_went_well(folder: Path) -> None:
    ran = run_lamegan(folder, "in", "-o", "out", "-q")
    assert (ran.returncode, ran.stdout, ran.stderr) == (EXIT_DONE, b"", b"")


def test_a_folder_without_images_says_how_many_files_it_has(folder: Path) -> None:
    (folder / "papers").mkdir()
    for name in ("a.txt", "b.pdf"):
        (folder / "papers" / name).write_text("words")
    assert refused("papers") == "There is nothing to enhance: none of the 2 files there is an image."


def test_a_raw_file_in_a_folder_is_named_not_passed_over(folder: Path) -> None:
    (folder / "in" / "scan.jp2").write_bytes(b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(64))
    result = lamegan("in", "-o", "out")
    assert "Not enhanced: in/scan.jp2: This is a JPEG 2000 file, which is not read" in result.stderr


def test_models_come_from_the_folder_named_or_with_the_program(
    folder: Path, models_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LAMEGAN_MODELS_DIR")
    shipped = json.loads(lamegan("in/one.png", "-o", "a.png", "--json").stdout)["images"][0]
    assert shipped["model"].startswith("lamegan-fast/")
    named = lamegan("in/one.png", "-o", "b.png", "--models-dir", models_dir, "--model", "noise", "--json")
    assert json.loads(named.stdout)["images"][0]["model"] == "noise/1.0.0"


def test_a_heic_is_answered_as_jpeg(folder: Path) -> None:
    (folder / "in" / "IMG_0001.HEIC").write_bytes(case("iphone.heic"))
    assert lamegan("in/IMG_0001.HEIC").exit_code == EXIT_DONE
    assert decode((folder / "in" / "IMG_0001.enhanced.jpg").read_bytes()).format == "jpeg"


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_and_version_are_short_flags_too(flag: str) -> None:
    assert "--skip-existing" in lamegan(flag).stdout
    told = CliRunner().invoke(app, ["--version"])
    assert told.stdout.startswith("lamegan ")


INTERRUPTIONS = 20

SAY_UP = "print('up', flush=True); from service.commands.__main__ import main; main()"
"""A first sign of life, so that a test can tell an interruption of `lamegan` from one of Python's own start."""


@contextmanager
def interruptible(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """`lamegan` in a process of its own, from the moment that its code runs."""
    root = str(Path(__file__).resolve().parents[2])
    with subprocess.Popen(
        [sys.executable, "-c", SAY_UP, *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": root},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as started:
        try:
            assert started.stdout is not None
            assert started.stdout.readline() == b"up\n"
            yield started
        finally:
            started.kill()


@pytest.mark.parametrize("after_s", [0.05, 0.1, 0.2, 0.3, 0.4, 0.5])
def test_ctrl_c_while_it_starts_is_an_exit_code_without_a_trace(folder: Path, after_s: float) -> None:
    with interruptible(folder, "enhance", "in", "-o", "out", "-q") as started:
        time.sleep(after_s)
        started.send_signal(signal.SIGINT)
        _, told = started.communicate(timeout=60)
    # -SIGINT, to a shell 130 as well: when all is done, Python gives the signal back to the system before it ends.
    assert started.returncode in (EXIT_INTERRUPTED, EXIT_DONE, -signal.SIGINT), told.decode()
    assert b"Traceback" not in told


def test_ctrl_c_in_the_start_of_an_extension_module_ends_without_a_trace(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(
        "import signal\ntry: signal.raise_signal(signal.SIGINT)\n"
        "except KeyboardInterrupt as error: raise ImportError('initialization failed') from error\n"
    )
    script = "import signal; from service.commands.__main__ import interrupt; signal.signal(signal.SIGINT, interrupt); "
    root = str(Path(__file__).resolve().parents[2])
    ended = subprocess.run(
        [sys.executable, "-c", script + "import slow"],
        env=os.environ | {"PYTHONPATH": f"{root}:{tmp_path}"},
        capture_output=True,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (EXIT_INTERRUPTED, b"")


def test_a_run_interrupted_again_and_again_answers_each_photo_once(folder: Path, photo: np.ndarray) -> None:
    """Ctrl-C at a random moment, twenty times over, then the run is ended in peace."""
    random = Random(16)
    for index in range(40):
        put(folder / "many" / f"{index:02}.png", np.roll(photo, index, axis=1))
    for _ in range(INTERRUPTIONS):
        enough = len(answers(folder / "out")) + random.randint(0, 2)
        with interruptible(folder, "enhance", "many", "-o", "out", "--skip-existing", "-q") as started:
            deadline = time.monotonic() + 60
            while started.poll() is None and len(answers(folder / "out")) < enough and time.monotonic() < deadline:
                time.sleep(random.uniform(0.001, 0.02))
            started.send_signal(signal.SIGINT if random.random() < 0.7 else signal.SIGKILL)
            _, told = started.communicate(timeout=60)
        # -SIGINT: before the handler of SIGINT was set, in the first instant
        assert started.returncode in (EXIT_INTERRUPTED, -signal.SIGINT, -signal.SIGKILL, EXIT_DONE), told.decode()
    ran = run_lamegan(folder, "many", "-o", "out", "--skip-existing", "--csv", "-")
    assert ran.returncode == EXIT_DONE, ran.stderr
    rows = rows_of(ran.stdout.decode())
    assert [row["input"] for row in rows] == [f"many/{index:02}.png" for index in range(40)]
    assert all(row["lassim"] and row["verdict"] == "pass" and not row["error"] for row in rows)
    assert answers(folder / "out") == [f"{index:02}.png" for index in range(40)]
    for index in range(40):
        expected = np.minimum(np.roll(photo, index, axis=1).astype(int) + 10, 255)
        assert np.array_equal(decode((folder / "out" / f"{index:02}.png").read_bytes()).pixels, expected)
    assert not list((folder / "out").glob("*.partial"))
