"""The plan of threads: container limits are read as Linux writes them, and the libraries keep to it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import sleep

import cv2
import numpy as np
import psutil
import pytest
from numpy.typing import NDArray
from threadpoolctl import threadpool_info

from service.engine.engine import Engine, EngineOptions
from service.engine.runtime import SessionOptions
from service.engine.session import Session
from service.engine.thread_trial import TRIALS, Run, RunsWith, ThreadTrial, fewest_worthwhile
from service.engine.threads import ThreadPlan, cpu_limit, plan_threads, settle_libraries
from tests import models
from tests.conftest import ROOT

CORES = float(len(os.sched_getaffinity(0)))


def still(counts: Sequence[int]) -> dict[int, Run]:
    """Runs that do nothing."""
    return {threads: lambda image: image for threads in counts}


def groups(folder: Path, own: str, files: dict[str, str]) -> tuple[Path, Path]:
    """Control groups as they are mounted: `own` is /proc/self/cgroup, `files` lie below the mount."""
    for name, text in files.items():
        (folder / "sys" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "sys" / name).write_text(text)
    (folder / "own").write_text(own)
    return folder / "sys", folder / "own"


@pytest.mark.parametrize(
    ("own", "files", "limit"),
    [
        ("0::/\n", {"cpu.max": "50000 100000\n"}, 0.5),
        ("0::/\n", {"cpu.max": "max 100000\n"}, CORES),
        ("0::/a/b\n", {"a/cpu.max": "25000 100000\n", "a/b/cpu.max": "max 100000\n"}, 0.25),
        ("0::/elsewhere/of/the/host\n", {"cpu.max": "75000 100000\n"}, 0.75),
        ("0::/../..\n", {"cpu.max": "75000 100000\n"}, 0.75),
        (
            "3:cpu,cpuacct:/x\n",
            {"cpu,cpuacct/x/cpu.cfs_quota_us": "50000", "cpu,cpuacct/x/cpu.cfs_period_us": "100000"},
            0.5,
        ),
        ("1:cpu:/docker/1\n", {"cpu/cpu.cfs_quota_us": "10000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 0.1),
        ("1:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, CORES),
        ("1:cpuset:/\n0::/\n", {}, CORES),
        ("0::/\n", {"cpu.max": "nonsense\n"}, CORES),
    ],
)
def test_the_least_quota_of_all_groups_one_lies_in_is_the_limit(
    own: str, files: dict[str, str], limit: float, tmp_path: Path
) -> None:
    assert cpu_limit(*groups(tmp_path, own, files)) == pytest.approx(limit)


def test_a_trial_that_cannot_be_remembered_is_told_and_its_answer_taken(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    told: list[OSError] = []
    trial = ThreadTrial(tmp_path / "file" / "threads.json", told.append)
    assert trial.choose(b"model", 2, still) in (1, 2)
    assert len(told) == 1


def test_without_control_groups_the_cores_are_the_limit(tmp_path: Path) -> None:
    assert cpu_limit(tmp_path / "none", tmp_path / "nor this") == CORES


@pytest.mark.parametrize(
    ("limit", "plan"),
    [(0.5, ThreadPlan(1, 1)), (1, ThreadPlan(1, 1)), (1.5, ThreadPlan(2, 1)), (16, ThreadPlan(16, 16))],
)
def test_workers_fill_begun_processors_and_threads_within_a_photo_whole_ones(limit: float, plan: ThreadPlan) -> None:
    assert plan_threads(limit) == plan


def test_once_an_engine_is_loaded_opencv_and_blas_have_one_thread() -> None:
    settle_libraries.cache_clear()
    cv2.setNumThreads(2)
    engine = Engine(models.identity().SerializeToString(), EngineOptions("cpu"))
    engine.close()
    assert cv2.getNumThreads() == 1
    assert {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"} == {1}


@pytest.mark.parametrize("lone", [1, 2, 3])
def test_an_image_alone_gets_the_same_answer_as_one_in_a_crowd(lone: int) -> None:
    model = models.lesion().SerializeToString()
    image = np.random.default_rng(0).integers(0, 256, (97, 131, 3), dtype=np.uint8)
    engine = Engine(model, EngineOptions("cpu", trial=FixedTrial(threads=lone)))
    try:
        alone, crowded = (engine.submit(image, alone=one).result(20).image for one in (True, False))
    finally:
        engine.close()
    assert np.array_equal(alone, crowded)


def test_the_memory_that_a_large_image_took_is_given_back_when_asked() -> None:
    shipped = max((ROOT / "models" / "lamegan-fast").glob("*/model.onnx"))
    session, own = Session(shipped, SessionOptions("cpu")), psutil.Process()
    session.run(np.zeros((1, 720, 1280, 3), np.uint8))
    held = own.memory_info().rss
    session.free_memory()
    assert held - own.memory_info().rss > 100e6


@dataclass(frozen=True)
class FixedTrial(ThreadTrial):
    """Its result is known before."""

    threads: int = 1

    def choose(self, weights: bytes, most: int, runs_with: RunsWith) -> int:
        return self.threads


def test_more_threads_must_be_worth_their_cores() -> None:
    assert fewest_worthwhile({1: 1.0, 2: 0.92}) == 1
    assert fewest_worthwhile({1: 1.0, 2: 0.8, 4: 0.79}) == 2
    assert fewest_worthwhile({1: 1.0, 2: 0.97, 4: 0.6, 8: 0.9}) == 4


def test_the_trial_is_made_at_the_first_starts_and_remembered_for_the_model_and_the_machine(tmp_path: Path) -> None:
    tried: list[int] = []

    def runs_with(counts: Sequence[int]) -> dict[int, Run]:
        tried.extend(counts)
        return still(counts)

    for _ in range(TRIALS + 2):
        ThreadTrial(tmp_path / "state" / "threads.json").choose(b"weights", 4, runs_with)
    assert tried == TRIALS * [1, 2, 4]
    ThreadTrial(tmp_path / "state" / "threads.json").choose(b"other weights", 4, runs_with)
    assert tried == (TRIALS + 1) * [1, 2, 4]


def test_a_trial_that_other_work_slowed_is_set_right_by_the_next(tmp_path: Path) -> None:
    def lasting(seconds: dict[int, float]) -> RunsWith:
        def run(threads: int, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
            sleep(seconds[threads])
            return image

        return lambda counts: {threads: partial(run, threads) for threads in counts}

    trial = ThreadTrial(tmp_path / "threads.json")
    assert trial.choose(b"weights", 2, lasting({1: 0.03, 2: 0.06})) == 1
    assert trial.choose(b"weights", 2, lasting({1: 0.03, 2: 0.01})) == 2
    assert trial.choose(b"weights", 2, lasting({1: 0.06, 2: 0.06})) == 2


@pytest.mark.parametrize("content", ["", "[]", '{"a": 3', "\x00"])
def test_a_damaged_memory_of_the_trial_is_written_anew(content: str, tmp_path: Path) -> None:
    file = tmp_path / "threads.json"
    file.write_text(content)
    assert ThreadTrial(file).choose(b"weights", 2, still) in (1, 2)
    assert file.read_text().startswith("{")


def test_a_place_that_cannot_be_written_is_no_fault(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    trial = ThreadTrial(tmp_path / "file" / "threads.json")
    assert trial.choose(b"weights", 2, still) in (1, 2)


def test_one_processor_asks_for_no_trial() -> None:
    def never(_counts: Sequence[int]) -> dict[int, Run]:
        raise AssertionError

    assert ThreadTrial().choose(b"weights", 1, never) == 1


@pytest.mark.skipif(not os.access("/sys/fs/cgroup", os.W_OK), reason="control groups can be made by root alone")
@pytest.mark.parametrize("quota_us", [50_000, 100_000])
def test_a_real_control_group_limits_the_plan(quota_us: int) -> None:
    version_2 = Path("/sys/fs/cgroup/cgroup.controllers").exists()
    group = Path("/sys/fs/cgroup" if version_2 else "/sys/fs/cgroup/cpu") / f"lamegan-test-{os.getpid()}"
    try:
        group.mkdir()
        if version_2:
            (group / "cpu.max").write_text(f"{quota_us} 100000")
        else:
            (group / "cpu.cfs_quota_us").write_text(str(quota_us))
    except OSError as error:
        group.rmdir() if group.exists() else None
        pytest.skip(f"no CPU quota can be set here: {error.strerror}")
    join = f"echo $$ > {group}/cgroup.procs && exec {sys.executable} -c "
    program = "'from service.engine.threads import *; print(cpu_limit(), plan_threads(cpu_limit()))'"
    try:
        done = subprocess.run(["sh", "-c", join + program], capture_output=True, text=True, check=False)
    finally:
        group.rmdir()
    assert done.stdout == f"{quota_us / 100_000} ThreadPlan(workers=1, lone=1)\n", done.stderr
