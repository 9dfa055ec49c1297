"""Choices taken out of model files, compared with what the onnx library and the runtime say of the result."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from model_training.export.stages import branches, skip_first_stage_on_request, skip_second_stage_on_request
from service.engine.graph_file import with_choices
from service.vocabulary import COLOUR_ONLY, DETAIL_ONLY
from tests import models
from tests.conftest import ROOT

SHIPPED = (ROOT / "models" / "lamegan-fast" / "1.4.0" / "model.onnx").read_bytes()
STAGES = [(False, False, "enhanced"), (True, False, "detail"), (False, True, "enhanced")]
ON_SHAPES = {"Shape", "Range", "ConstantOfShape", "If"}
"""Nodes of which none is left once the shape is fixed; the runtime would keep them, or what follows, on the CPU."""


def session(model: bytes, **options: object) -> onnxruntime.InferenceSession:
    native = onnxruntime.SessionOptions()
    native.log_severity_level = 4
    for name, value in options.items():
        setattr(native, name, value)
    return onnxruntime.InferenceSession(model, native, providers=["CPUExecutionProvider"])


def traced() -> bytes:
    return bytes(skip_second_stage_on_request(skip_first_stage_on_request(models.traced())).SerializeToString())


@pytest.mark.parametrize("model", [SHIPPED, traced()], ids=["shipped", "tiny"])
@pytest.mark.parametrize(("detail", "colour", "output"), STAGES)
def test_what_is_left_is_a_valid_model_without_branches_that_gives_the_same_pixels(
    model: bytes, detail: bool, colour: bool, output: str
) -> None:
    fixed = with_choices(model, {DETAIL_ONLY: detail, COLOUR_ONLY: colour})
    parsed = onnx.load_from_string(fixed)
    onnx.checker.check_model(parsed, full_check=True)
    assert not any(branches(node) for node in parsed.graph.node)
    assert [given.name for given in parsed.graph.input] == ["image"]
    image = np.random.default_rng(0).integers(0, 256, (2, 64, 80, 3), dtype=np.uint8)
    asked = {name: np.array(True) for name, chosen in ((DETAIL_ONLY, detail), (COLOUR_ONLY, colour)) if chosen}
    (expected,) = session(model).run([output], {"image": image, **asked})
    assert np.array_equal(session(fixed).run([output], {"image": image})[0], expected)


def test_the_stage_that_does_not_run_leaves_its_weights_out() -> None:
    alone = [with_choices(SHIPPED, {DETAIL_ONLY: detail, COLOUR_ONLY: not detail}) for detail in (True, False)]
    assert all(len(one) < 0.8 * len(SHIPPED) for one in alone)


@pytest.mark.parametrize("choices", [{}, {"another": True}])
def test_a_file_without_such_a_choice_stays_as_it_is(choices: dict[str, bool]) -> None:
    assert with_choices(SHIPPED, choices) == SHIPPED


@pytest.mark.parametrize("broken", [b"\x3a\x7f", b"\xff", b"\x3b\x00", SHIPPED[:-1]])
def test_what_is_not_a_message_is_an_error(broken: bytes) -> None:
    with pytest.raises(ValueError, match=r"a field|a number|wire type"):
        with_choices(broken, {DETAIL_ONLY: True})


@pytest.mark.parametrize(("detail", "colour", "output"), STAGES)
@pytest.mark.parametrize("size", [(272, 480), (361, 361)])
def test_for_one_shape_nothing_of_the_shipped_model_is_left_that_a_gpu_would_leave_to_the_cpu(
    tmp_path: Path, size: tuple[int, int], detail: bool, colour: bool, output: str
) -> None:
    native = onnxruntime.SessionOptions()
    native.log_severity_level = 4
    native.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    native.optimized_model_filepath = str(tmp_path / "folded.onnx")
    for axis, length in zip("BHW", (1, *size), strict=True):
        native.add_free_dimension_override_by_name(axis, length)
    fixed = with_choices(SHIPPED, {DETAIL_ONLY: detail, COLOUR_ONLY: colour})
    onnxruntime.InferenceSession(fixed, native, providers=["CPUExecutionProvider"])
    kinds = {node.op_type for node in onnx.load(tmp_path / "folded.onnx").graph.node}
    assert "Conv" in kinds
    assert not kinds & ON_SHAPES
    whole = {node.op_type for node in onnx.load_from_string(fixed).graph.node}
    assert "Shape" in whole, "it is the shape that folds them"
