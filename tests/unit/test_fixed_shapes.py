"""Sessions for one shape: dry runs on the CPU of what is for GPUs. Those marked for a GPU have not run yet."""

from __future__ import annotations

import logging
import threading
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from service.composition import engine_options
from service.engine import engine as engine_module
from service.engine import fixed_shapes, runtime, session
from service.engine.engine import Engine, EngineOptions
from service.engine.fixed_shapes import FixedShapes
from service.engine.runtime import SessionOptions, gpu_count, nodes_on_cpu, providers_of
from service.engine.session import Session
from service.errors import ModelInvalid
from service.settings import read_settings
from service.vocabulary import Output
from tests.unit.test_graph_file import SHIPPED, traced

OUTPUTS: tuple[Output, ...] = ("enhanced", "detail", "colour")
GRAPHS = SessionOptions("cuda", cuda_graphs=True)
needs_gpu = pytest.mark.skipif(gpu_count() == 0, reason="this machine has no GPU")


def picture(height: int = 64, width: int = 96, seed: int = 0, images: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(60, 180, (images, height, width, 3), dtype=np.uint8)


@pytest.fixture
def plain() -> Session:
    return Session(traced(), SessionOptions("cpu"))


@pytest.fixture
def shapes() -> FixedShapes:
    return FixedShapes(traced(), OUTPUTS, GRAPHS, "cpu")


@pytest.mark.parametrize("output", OUTPUTS)
def test_a_prepared_size_gives_the_models_pixels_time_after_time(
    shapes: FixedShapes, plain: Session, output: Output
) -> None:
    shapes.prepare(64, 96, plain.run)
    made = [shapes.run(picture(seed=seed), output) for seed in range(3)]
    for seed, one in enumerate(made):
        assert one is not None
        assert np.array_equal(one, plain.run(picture(seed=seed), output)), "a later run wrote over it"


def test_the_shipped_model_gives_the_same_pixels_for_one_shape() -> None:
    whole = Session(SHIPPED, SessionOptions("cpu"))
    shapes = FixedShapes(SHIPPED, OUTPUTS, GRAPHS, "cpu")
    shapes.prepare(72, 96, whole.run)
    for output in OUTPUTS:
        made = shapes.run(picture(72, 96), output)
        assert made is not None
        assert np.abs(made.astype(int) - whole.run(picture(72, 96), output)).max() <= 1


def test_input_and_output_stay_at_their_addresses(shapes: FixedShapes, plain: Session) -> None:
    shapes.prepare(64, 96, plain.run)
    tensors = shapes._ready["enhanced", (1, 64, 96)]
    before = tensors.given.data_ptr(), tensors.made.data_ptr()
    for seed in range(3):
        shapes.run(picture(seed=seed), "enhanced")
    assert (tensors.given.data_ptr(), tensors.made.data_ptr()) == before


def test_batches_and_other_sizes_are_left_to_the_ordinary_session(shapes: FixedShapes, plain: Session) -> None:
    shapes.prepare(64, 96, plain.run)
    assert shapes.run(picture(images=2), "enhanced") is None
    assert shapes.run(picture(96, 64), "enhanced") is None


def test_a_size_beyond_the_bound_is_not_prepared(
    shapes: FixedShapes, plain: Session, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(fixed_shapes, "MOST_SIZES", 1)
    for height in (64, 64, 80):
        shapes.prepare(height, 96, plain.run)
    assert shapes.run(picture(64, 96), "enhanced") is not None
    assert shapes.run(picture(80, 96), "enhanced") is None
    assert caplog.text.count("96x80 runs as any other") == 1


def test_a_session_that_gives_other_pixels_is_not_used(
    shapes: FixedShapes, plain: Session, caplog: pytest.LogCaptureFixture
) -> None:
    shapes.prepare(64, 96, lambda batch, output: plain.run(batch, output) ^ np.uint8(4 * (output == "detail")))
    assert shapes.run(picture(), "detail") is None
    assert shapes.run(picture(), "enhanced") is not None
    assert "96x64 (detail) runs as any other size: its result differs by 4 grey levels." in caplog.text


def test_a_replay_that_does_not_read_its_input_is_not_used(
    shapes: FixedShapes, plain: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    first: dict[int, np.ndarray] = {}
    monkeypatch.setattr(
        runtime.FixedTensors, "run", lambda self, batch: first.setdefault(id(self), plain.run(batch, "enhanced"))
    )
    shapes.prepare(64, 96, plain.run)
    assert not shapes._ready


def test_what_the_runtime_refuses_is_told_and_left_out(
    shapes: FixedShapes, plain: Session, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise ModelInvalid("no") from RuntimeError("This session cannot use the graph capture feature\nas it is")

    monkeypatch.setattr(fixed_shapes, "load", refuse)
    shapes.prepare(64, 96, plain.run)
    assert shapes.run(picture(), "enhanced") is None
    assert "(colour) runs as any other size: This session cannot use the graph capture feature" in caplog.text
    assert "as it is" not in caplog.text


class OnTensorRT:
    """A session of the CPU that says TensorRT runs it, or one that cannot be had."""

    def __init__(self, there: bool) -> None:
        self.there = there
        self.asked: list[SessionOptions] = []

    def __call__(self, model: bytes, provider: Any, options: SessionOptions, shape: Any = None) -> Any:
        self.asked.append(options)
        if options.tensorrt_cache is not None and not self.there:
            raise ModelInvalid("no") from RuntimeError("Please install TensorRT libraries")
        made = runtime.load(model, "cpu", options, shape)
        if options.tensorrt_cache is not None:
            made.get_providers = lambda: [runtime.TENSORRT, runtime.CPU]
        return made


@pytest.mark.parametrize("graphs", [False, True])
def test_without_its_libraries_tensorrt_is_given_up_once_and_cuda_graphs_stay(
    tmp_path: Path, plain: Session, graphs: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    load = OnTensorRT(there=False)
    monkeypatch.setattr(fixed_shapes, "load", load)
    shapes = FixedShapes(traced(), OUTPUTS, SessionOptions(cuda_graphs=graphs, tensorrt_cache=tmp_path), "cpu")
    for height in (64, 80):
        shapes.prepare(height, 96, plain.run)
    assert caplog.text.count("TensorRT cannot be used, and CUDA runs without it: Please install") == 1
    assert (shapes.run(picture(80), "detail") is not None) is graphs
    assert shapes.accelerator == "cpu"
    assert sum(options.tensorrt_cache is not None for options in load.asked) == 1


def test_where_tensorrt_runs_the_model_says_so(tmp_path: Path, plain: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fixed_shapes, "load", OnTensorRT(there=True))
    shapes = FixedShapes(traced(), OUTPUTS, SessionOptions(tensorrt_cache=tmp_path), "cpu")
    assert shapes.accelerator == "cpu"
    shapes.prepare(64, 96, plain.run)
    assert shapes.accelerator == "tensorrt"


def test_what_each_provider_is_asked_for(tmp_path: Path) -> None:
    shape = (1, 64, 96)
    cuda = ("CUDAExecutionProvider", {"cudnn_conv_algo_search": "HEURISTIC"})
    cpu = ("CPUExecutionProvider", {})
    assert providers_of(b"", "cpu", GRAPHS, shape) == [cpu]
    assert providers_of(b"", "cuda", GRAPHS, None) == [cuda, cpu], "the ordinary session captures nothing"
    assert providers_of(b"", "cuda", SessionOptions(), shape) == [cuda, cpu]
    captured = ("CUDAExecutionProvider", {**cuda[1], "enable_cuda_graph": "1"})
    assert providers_of(b"", "cuda", GRAPHS, shape) == [captured, cpu]
    first, *rest = providers_of(b"", "cuda", SessionOptions(half=True, tensorrt_cache=tmp_path), shape)
    assert rest == [cuda, cpu]
    assert first[0] == "TensorrtExecutionProvider"
    assert first[1]["trt_fp16_enable"] == first[1]["trt_engine_cache_enable"] == "True"
    assert first[1]["trt_cuda_graph_enable"] == "False"


def test_float16_is_for_tensorrt_only_where_the_model_is_in_half_precision(tmp_path: Path) -> None:
    asked = providers_of(b"", "cuda", SessionOptions(tensorrt_cache=tmp_path, cuda_graphs=True), (1, 64, 96))
    assert asked[0][1]["trt_fp16_enable"] == "False"
    assert asked[0][1]["trt_cuda_graph_enable"] == "True"


def test_two_models_never_share_engines(tmp_path: Path) -> None:
    options = SessionOptions(tensorrt_cache=tmp_path / "kept")
    folders = [
        Path(providers_of(model, "cuda", options, (1, 64, 96))[0][1]["trt_engine_cache_path"])
        for model in (b"one", b"other", b"one")
    ]
    assert folders[0] == folders[2] != folders[1]
    assert all(folder.is_dir() and folder.parent == tmp_path / "kept" for folder in folders)


def test_nodes_on_the_cpu_are_counted_by_kind() -> None:
    native = onnxruntime.SessionOptions()
    native.log_severity_level = 4
    native.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    made = onnxruntime.InferenceSession(SHIPPED, native, providers=["CPUExecutionProvider"])
    counts = nodes_on_cpu(made)
    assert counts is not None
    assert counts["Conv"] == 74, "those within branches too"
    assert nodes_on_cpu(object()) is None
    assert fixed_shapes.as_list({"Add": 1, "Mul": 3}) == "Mul 3, Add 1"


@pytest.fixture
def on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The CPU stands in for a GPU: the ordinary session and those for one shape run there, by the GPU's ways."""
    monkeypatch.setattr(session, "planned_provider", lambda _options: "cuda")
    monkeypatch.setattr(engine_module, "planned_provider", lambda _options: "cuda")
    monkeypatch.setattr(session, "CUDA", "CPUExecutionProvider")
    monkeypatch.setattr(session, "load", lambda model, _provider, options: runtime.load(model, "cpu", options))
    monkeypatch.setattr(session, "nodes_on_cpu", lambda _session: {"Gather": 2})
    monkeypatch.setattr(
        session,
        "run_bound",
        lambda native, batch, options, output: native.run([output], {"image": batch, **dict(options)})[0],
    )
    monkeypatch.setattr(session, "FixedShapes", partial(FixedShapes, provider="cpu"))


@pytest.mark.usefixtures("on_a_gpu")
def test_a_session_on_a_gpu_works_there_from_one_thread_where_graphs_are_captured(
    plain: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[str] = []
    real = runtime.FixedTensors.run

    def run(self: runtime.FixedTensors, batch: np.ndarray) -> np.ndarray:
        threads.append(threading.current_thread().name)
        return real(self, batch)

    monkeypatch.setattr(runtime.FixedTensors, "run", run)
    fast = Session(traced(), GRAPHS)
    fast.warm(64, 96)
    del threads[:]
    for output in OUTPUTS:
        for given in (picture(), picture(80), picture(images=2)):
            assert np.array_equal(fast.run(given, output), plain.run(given, output))
    assert len(threads) == len(OUTPUTS), "only the size that was warmed, alone"
    assert {name.partition("_")[0] for name in threads} == {"gpu"}


@pytest.mark.usefixtures("on_a_gpu")
def test_tensorrt_alone_holds_up_no_thread_while_it_builds(
    tmp_path: Path, plain: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fixed_shapes, "load", OnTensorRT(there=True))
    monkeypatch.setattr(fixed_shapes, "run_alone", lambda *_: pytest.fail("one thread does it all"))
    fast = Session(traced(), SessionOptions("cuda", tensorrt_cache=tmp_path))
    fast.warm(64, 96)
    assert np.array_equal(fast.run(picture()), plain.run(picture()))
    assert fast.accelerator == "tensorrt"


@pytest.mark.usefixtures("on_a_gpu")
def test_what_was_prepared_is_freed_with_the_engine(plain: Session) -> None:
    engine = Engine(traced(), EngineOptions("cuda", cuda_graphs=True))
    engine.warm([(64, 96)])
    assert np.array_equal(engine.submit(picture()[0]).result(20).image, plain.run(picture())[0])
    fixed = engine._session._fixed
    assert fixed is not None
    assert fixed.run(picture(), "enhanced") is not None
    engine.close(20)
    assert fixed.run(picture(), "enhanced") is None


@pytest.mark.usefixtures("on_a_gpu")
def test_what_the_runtime_keeps_on_the_cpu_is_logged_once_a_session(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        ordinary = Session(traced(), SessionOptions("cuda"))
        ordinary.warm(64, 96)
    assert caplog.text.count("Nodes that the runtime keeps on the CPU: Gather 2") == 1
    assert ordinary.accelerator == "cuda"


def test_on_a_cpu_both_options_are_named_in_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    made = Session(traced(), SessionOptions("cpu", cuda_graphs=True))
    assert "LAMEGAN_CUDA_GRAPHS and LAMEGAN_TENSORRT are for a GPU" in caplog.text
    made.warm(64, 96)
    assert made.accelerator == "cpu"


def test_settings_reach_the_engine_and_engines_are_kept_in_the_state_folder(tmp_path: Path) -> None:
    options = engine_options(read_settings(cuda_graphs=True, tensorrt=True, state_dir=tmp_path))
    assert options.cuda_graphs
    assert options.tensorrt_cache == tmp_path / "tensorrt"
    assert engine_options(read_settings()).tensorrt_cache is None


@needs_gpu
def test_on_a_gpu_what_was_captured_gives_the_models_pixels(caplog: pytest.LogCaptureFixture) -> None:
    whole, fast = Session(SHIPPED, SessionOptions("cuda")), Session(SHIPPED, GRAPHS)
    fast.warm(272, 480)
    assert "runs as any other size" not in caplog.text
    assert "leaves nodes to the CPU" not in caplog.text
    for output in OUTPUTS:
        for seed in range(3):
            given = picture(272, 480, seed)
            assert np.abs(fast.run(given, output).astype(int) - whole.run(given, output)).max() <= 2
