"""POST /assess, the same measures on /enhance, and `lamegan assess`."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests import models
from tests.live import LiveService, encoded, scene

NAMES = ["sharpness", "noise", "haze", "exposure", "glare", "content_area", "resolution"]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveService]:
    root = tmp_path_factory.mktemp("models")
    models.install(root, models.brighten(12))
    models.install(root, models.identity(), "same")
    with LiveService(root) as live:
        yield live


def sharp(width: int = 480, height: int = 272) -> np.ndarray:
    rng = np.random.default_rng(3)
    rough = rng.integers(40, 200, (height // 6 + 1, width // 6 + 1, 3), dtype=np.uint8)
    large = cv2.resize(rough, (width, height), interpolation=cv2.INTER_NEAREST)
    return np.asarray(cv2.GaussianBlur(large, (0, 0), 0.7))


def test_each_measure_comes_with_number_unit_verdict_and_words(service: LiveService) -> None:
    facts = service.http.post("/assess", content=encoded(sharp())).json()
    for name in NAMES:
        assert set(facts[name]) == {"value", "unit", "score", "verdict", "words"}
    assert facts["verdict"] in ("good", "usable", "retake")
    assert (facts["width"], facts["height"]) == (480, 272)
    assert 0 <= facts["score"] <= 1
    assert facts["request_id"]


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (lambda photo: cv2.GaussianBlur(photo, (0, 0), 7), "sharpness"),
        (lambda photo: np.clip(photo * 0.05, 0, 255).astype(np.uint8), "exposure"),
        (lambda photo: np.clip(photo * 5.0 + 80, 0, 255).astype(np.uint8), "exposure"),
        (lambda photo: (photo * 0.15 + 0.85 * 200).astype(np.uint8), "haze"),
        (lambda photo: cv2.copyMakeBorder(photo[::4, ::4], 150, 150, 260, 260, cv2.BORDER_CONSTANT), "content_area"),
        (lambda photo: photo[:100, :100], "resolution"),
    ],
    ids=["blur", "dark", "bright", "haze", "surround", "tiny"],
)
def test_a_photo_beyond_use_is_to_be_taken_again_for_its_reason(
    service: LiveService, fault: object, reason: str
) -> None:
    facts = service.http.post("/assess", content=encoded(fault(sharp()))).json()  # type: ignore[operator]
    assert facts["verdict"] == "retake"
    assert reason in facts["reasons"]
    assert facts["advice"].startswith("Take it again.")
    assert facts[reason]["verdict"] == "retake"


def test_grain_is_told(service: LiveService) -> None:
    noisy = np.clip(sharp() + np.random.default_rng(1).normal(0, 50, (272, 480, 3)), 0, 255).astype(np.uint8)
    facts = service.http.post("/assess", content=encoded(noisy)).json()
    assert facts["reasons"] == ["noise"]


def test_it_takes_what_enhance_takes_and_refuses_the_same(service: LiveService) -> None:
    assert service.http.post("/assess", files={"file": encoded(scene())}).status_code == 200
    assert service.http.post("/assess", content=b"words").json()["code"] == "unsupported-type"
    assert service.http.post("/assess", content=b"").json()["code"] == "missing-image"
    assert service.http.post("/assess?map=true", content=encoded(scene())).json()["code"] == "invalid-parameter"
    assert service.http.post("/assess", content=encoded(scene(20, 20))).json()["code"] == "image-dimensions"


def test_enhance_tells_the_same_of_the_photo_before_and_after(service: LiveService) -> None:
    body = encoded(sharp())
    alone = service.http.post("/assess", content=body).json()
    facts = service.http.post("/enhance", content=body, headers={"accept": "application/json"}).json()
    before, after = facts["quality"]["before"], facts["quality"]["after"]
    assert before == {name: alone[name] for name in before}
    assert after["exposure"]["value"] == pytest.approx(before["exposure"]["value"] + 12 / 255, abs=0.002)
    header = service.http.post("/enhance", content=body).headers["quality"]
    assert header == f"before={before['score']:.2f}, after={after['score']:.2f}"
    same = service.http.post("/enhance?model=same", content=body, headers={"accept": "application/json"}).json()
    assert same["quality"]["before"] == same["quality"]["after"]


def test_the_command_says_which_photos_to_take_again(tmp_path: Path) -> None:
    (tmp_path / "sharp.png").write_bytes(encoded(sharp()))
    (tmp_path / "dark.png").write_bytes(encoded((sharp() * 0.05).astype(np.uint8)))
    (tmp_path / "notes.txt").write_text("words")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "service.commands.main", "assess", *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])},
        )

    told = run(".", "--json")
    assert told.returncode == 3, told.stderr
    images = {image["input"]: image for image in json.loads(told.stdout)["images"]}
    assert images["dark.png"]["verdict"] == "retake"
    assert images["dark.png"]["reasons"] == ["exposure"]
    assert images["sharp.png"]["verdict"] != "retake"
    rows = list(csv.DictReader(io.StringIO(run("dark.png", "sharp.png", "--csv", "-").stdout)))
    assert [row["verdict"] for row in rows] == ["retake", images["sharp.png"]["verdict"]]


def test_the_rates_hold_on_photos_kept_out(shared_data: Path) -> None:
    from benchmarks.assessment import REASONS, rates

    found = rates(shared_data, held_out=True, most=8)
    assert found["clean_retake"] <= 0.05
    assert found["degraded_retake"] >= 0.95
    assert min(found["reason_right_by_fault"][fault] for fault in REASONS) >= 0.85
