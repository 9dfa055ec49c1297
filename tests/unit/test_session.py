"""Sessions on real, tiny ONNX models."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from model_training.export.stages import CHANGE, skip_first_stage_on_request, skip_second_stage_on_request
from service.engine.engine import Engine, EngineOptions
from service.engine.runtime import SessionOptions, gpu_count
from service.engine.session import Session
from service.errors import InferenceFailed, ModelInvalid, ProviderUnavailable
from tests import models
from tests.conftest import ROOT

needs_no_gpu = pytest.mark.skipif(gpu_count() > 0, reason="this machine has a GPU")


def saved(folder: Path, model: onnx.ModelProto) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize("shape", [(1, 64, 64, 3), (2, 65, 97, 3), (3, 272, 480, 3)])
def test_a_model_that_gives_back_its_input_gives_back_its_input(tmp_path: Path, shape: tuple[int, ...]) -> None:
    batch = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    session = Session(saved(tmp_path, models.identity()), SessionOptions(device="cpu"))
    assert session.provider == "cpu"
    np.testing.assert_array_equal(session.run(batch), batch)


def test_sessions_of_one_process_share_the_memory_of_their_tensors() -> None:
    program = """
import re
from pathlib import Path
import numpy as np
from service.engine.runtime import SessionOptions
from service.engine.session import Session
from service.engine.threads import settle_libraries

def memory_mb():
    return int(re.search(r"VmRSS:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1000

settle_libraries()
sessions = [Session(Path("models/lamegan-fast/1.0.0/model.onnx"), SessionOptions("cpu")) for _ in range(2)]
for session in sessions:
    before = memory_mb()
    session.run(np.full((1, 800, 800, 3), 99, np.uint8))
    print(memory_mb() - before)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    first, second = map(float, done.stdout.split())
    assert first > 50
    assert second < first / 3


def test_a_model_that_fails_raises_and_runs_again(tmp_path: Path) -> None:
    session = Session(saved(tmp_path, models.poisoned()), SessionOptions(device="cpu"))
    good = np.zeros((1, 64, 64, 3), np.uint8)
    with pytest.raises(InferenceFailed):
        session.run(np.broadcast_to(np.array(models.POISON, np.uint8), (1, 64, 64, 3)).copy())
    np.testing.assert_array_equal(session.run(good), good)


def test_bytes_that_are_no_model_are_refused(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"not a model")
    with pytest.raises(ModelInvalid):
        Session(tmp_path / "model.onnx", SessionOptions(device="cpu"))


def test_a_model_with_other_names_is_refused(tmp_path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("Identity", ["pixels"], ["enhanced"])],
        "other",
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["B", "H", "W", 3])],
        [helper.make_tensor_value_info("enhanced", TensorProto.UINT8, ["B", "H", "W", 3])],
    )
    other = helper.make_model(graph, opset_imports=[helper.make_opsetid("", models.OPSET)], ir_version=9)
    with pytest.raises(ModelInvalid):
        Session(saved(tmp_path, other), SessionOptions(device="cpu"))


@needs_no_gpu
def test_asking_for_an_absent_gpu_is_an_error_unless_fallback_is_allowed(tmp_path: Path) -> None:
    path = saved(tmp_path, models.identity())
    with pytest.raises(ProviderUnavailable):
        Session(path, SessionOptions(device="cuda"))
    assert Session(path, SessionOptions(device="cuda", allow_cpu_fallback=True)).provider == "cpu"
    assert Session(path, SessionOptions(device="auto")).provider == "cpu"


@needs_no_gpu
def test_a_gpu_that_cannot_be_used_is_told_in_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = saved(tmp_path, models.identity())
    assert Session(path, SessionOptions(device="auto")).provider == "cpu"
    assert not caplog.records
    monkeypatch.setattr("service.engine.runtime.gpu_count", lambda: 1)
    assert Session(path, SessionOptions(device="auto")).provider == "cpu"
    assert "A GPU is there, but the CUDA libraries could not be loaded: the CPU is used." in caplog.text


def test_an_engine_warms_answers_and_closes(tmp_path: Path) -> None:
    engine = Engine(saved(tmp_path, models.brighten(10)), EngineOptions(device="cpu"))
    engine.warm([(64, 64), (80, 64)])
    answer = engine.submit(np.full((64, 96, 3), 100, np.uint8)).result(20)
    assert (answer.image == 110).all()
    assert answer.queue_s >= 0
    assert answer.infer_s > 0
    engine.close(20)


def test_a_model_in_two_stages_gives_its_detail_alone(tmp_path: Path) -> None:
    engine = Engine(saved(tmp_path, models.staged()), EngineOptions(device="cpu"))
    grey = np.full((64, 96, 3), 101, np.uint8)
    engine.warm([(64, 64)])
    assert engine.gives_detail
    assert (engine.submit(grey, output="detail").result(20).image == 50).all()
    assert (engine.submit(grey).result(20).image == 70).all()
    assert (engine.submit(grey, output="colour").result(20).image == 70).all(), "this one can only be run whole"
    engine.close(20)


def test_a_model_in_one_stage_has_no_detail(tmp_path: Path) -> None:
    engine = Engine(saved(tmp_path, models.identity()), EngineOptions(device="cpu"))
    assert not engine.gives_detail
    engine.close(20)


def test_the_second_stage_of_an_exported_model_does_not_run_where_detail_alone_is_fetched(tmp_path: Path) -> None:
    path = saved(tmp_path, skip_second_stage_on_request(models.staged()))
    session = Session(path, SessionOptions(device="cpu"))
    given = np.full((1, 64, 96, 3), 101, np.uint8)
    assert session.gives_detail
    assert (session.run_detail(given) == 50).all()
    assert (session.run(given) == 70).all()

    plain = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    skipped = plain.run(["enhanced"], {"image": given, "detail_only": np.array(True)})[0]
    assert (skipped == 50).all(), "the second stage ran"


def test_the_first_stage_of_an_exported_model_does_not_run_where_colour_alone_is_asked_for(tmp_path: Path) -> None:
    model = skip_second_stage_on_request(skip_first_stage_on_request(models.traced()))
    onnx.checker.check_model(model, full_check=True)
    assert CHANGE not in {output.name for output in model.graph.output}
    assert "change_weights" not in {weights.name for weights in model.graph.initializer}, "they stay out of its branch"
    session = Session(saved(tmp_path, model), SessionOptions(device="cpu"))
    given = np.full((2, 64, 96, 3), 101, np.uint8)
    assert (session.run(given) == 81).all()
    assert (session.run_detail(given) == 61).all()
    assert (session.run_colour(given) == 121).all(), "the first stage ran"
