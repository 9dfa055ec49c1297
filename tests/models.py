"""Tiny real ONNX models under the export contract (uint8 NHWC in and out, opset 18), with valid cards.

Each builder returns an `onnx.ModelProto` whose graph does one plain thing to the pixels, so that a test knows what the
service must answer: `identity`, `brighten`, `warp`, `lesion`, `colour_shift`, `noise`, `poisoned` (fails on one
image), `busy` (slow in native code). `install` writes one as models/<name>/<version>/{model.onnx, card.json}.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper
from PIL import Image

from service.drift.measures import LASSIM_BUCKETS
from service.registry.card import (
    Golden,
    Guard,
    GuardFloors,
    LassimDefinition,
    ModelCard,
    Network,
    Objective,
    ReferenceHistogram,
    Training,
    write_card,
)
from service.registry.model_file import ModelFile

OPSET = 18
IR_VERSION = 9
LOOSE = GuardFloors(lassim=-1, worst=-1, delta_e_mean=1000, delta_e_p95=1000, redder_share=1)
"""Thresholds that any image keeps: whatever the model paints is delivered."""
STRICT = GuardFloors(lassim=0.9, worst=0.6, delta_e_mean=8.0, delta_e_p95=16.0, redder_share=0.05)
"""Thresholds of about the size that calibration gives."""

POISON = (255, 0, 0)
"""An image all of this colour makes the `poisoned` model fail."""


def _constant(name: str, value: NDArray[np.generic] | float | Sequence[float] | Sequence[int]) -> TensorProto:
    array = np.asarray(value)
    if array.dtype == np.float64:
        array = array.astype(np.float32)
    return numpy_helper.from_array(array, name)


def _model(nodes: Sequence[NodeProto], constants: Sequence[TensorProto] = ()) -> onnx.ModelProto:
    """A checked model from `image` to `enhanced`, both uint8 (B, H, W, 3) with free B, H and W."""
    shape = ["B", "H", "W", 3]
    graph = helper.make_graph(
        list(nodes),
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, shape)],
        [helper.make_tensor_value_info("enhanced", TensorProto.UINT8, shape)],
        list(constants),
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    onnx.checker.check_model(model)
    return model


_TO_FLOAT = helper.make_node("Cast", ["image"], ["x"], to=TensorProto.FLOAT)
_TO_UINT8 = [
    helper.make_node("Round", ["y"], ["rounded"]),
    helper.make_node("Clip", ["rounded", "zero", "white"], ["clipped"]),
    helper.make_node("Cast", ["clipped"], ["enhanced"], to=TensorProto.UINT8),
]
_RANGE = [_constant("zero", np.float32(0)), _constant("white", np.float32(255))]

_COORDINATES = [  # "rows" (H, 1) and "columns" (1, W), float32 pixel indices of the image at hand
    helper.make_node("Shape", ["image"], ["shape"]),
    helper.make_node("Gather", ["shape", "one_index"], ["h"]),
    helper.make_node("Gather", ["shape", "two_index"], ["w"]),
    helper.make_node("Range", ["zero_index", "h", "one_index"], ["row_index"]),
    helper.make_node("Range", ["zero_index", "w", "one_index"], ["column_index"]),
    helper.make_node("Cast", ["row_index"], ["row_line"], to=TensorProto.FLOAT),
    helper.make_node("Cast", ["column_index"], ["column_line"], to=TensorProto.FLOAT),
    helper.make_node("Unsqueeze", ["row_line", "axis_1"], ["rows"]),
    helper.make_node("Unsqueeze", ["column_line", "axis_0"], ["columns"]),
    helper.make_node("Cast", ["h"], ["h_float"], to=TensorProto.FLOAT),
    helper.make_node("Cast", ["w"], ["w_float"], to=TensorProto.FLOAT),
]
_INDICES = [
    _constant("zero_index", np.int64(0)),
    _constant("one_index", np.int64(1)),
    _constant("two_index", np.int64(2)),
    _constant("axis_0", np.array([0], np.int64)),
    _constant("axis_1", np.array([1], np.int64)),
]


def identity() -> onnx.ModelProto:
    """Gives back its input."""
    return _model([helper.make_node("Identity", ["image"], ["enhanced"])])


def brighten(levels: float = 12.0, contrast: float = 1.0) -> onnx.ModelProto:
    """Each value times `contrast` plus `levels` grey levels, clipped."""
    return colour_shift((levels, levels, levels), contrast)


def colour_shift(shift: tuple[float, float, float] = (60.0, -30.0, -30.0), contrast: float = 1.0) -> onnx.ModelProto:
    """Adds `shift` (R, G, B grey levels) to every pixel: by default everything turns red."""
    return _model(
        [
            _TO_FLOAT,
            helper.make_node("Mul", ["x", "contrast"], ["scaled"]),
            helper.make_node("Add", ["scaled", "shift"], ["y"]),
            *_TO_UINT8,
        ],
        [*_RANGE, _constant("contrast", np.float32(contrast)), _constant("shift", np.array(shift, np.float32))],
    )


def staged(darken: float = 0.5, lighten: float = 20.0) -> onnx.ModelProto:
    """Two stages: `detail` is each value times `darken`, rounded down; `enhanced` is that plus `lighten`."""
    model = _model(
        [
            _TO_FLOAT,
            helper.make_node("Mul", ["x", "darken"], ["dark"]),
            helper.make_node("Floor", ["dark"], ["whole"]),
            helper.make_node("Cast", ["whole"], ["detail"], to=TensorProto.UINT8),
            helper.make_node("Add", ["whole", "lighten"], ["y"]),
            *_TO_UINT8,
        ],
        [*_RANGE, _constant("darken", np.float32(darken)), _constant("lighten", np.float32(lighten))],
    )
    model.graph.output.append(helper.make_tensor_value_info("detail", TensorProto.UINT8, ["B", "H", "W", 3]))
    return model


def traced(darken: float = 40.0, lighten: float = 20.0) -> onnx.ModelProto:
    """Two stages as they are traced: `detail` is the image plus `change`, -`darken`, and `enhanced` adds `lighten`."""
    model = _model(
        [
            _TO_FLOAT,
            helper.make_node("Mul", ["x", "zero"], ["nothing"]),
            helper.make_node("Sub", ["nothing", "change_weights"], ["change"]),
            helper.make_node("Add", ["x", "change"], ["mended"]),
            helper.make_node("Cast", ["mended"], ["detail"], to=TensorProto.UINT8),
            helper.make_node("Add", ["x", "change"], ["first"]),
            helper.make_node("Add", ["first", "lighten"], ["y"]),
            *_TO_UINT8,
        ],
        [*_RANGE, _constant("change_weights", np.float32(darken)), _constant("lighten", np.float32(lighten))],
    )
    for name, kind in (("detail", TensorProto.UINT8), ("change", TensorProto.FLOAT)):
        model.graph.output.append(helper.make_tensor_value_info(name, kind, ["B", "H", "W", 3]))
    return model


def warp(amplitude: float = 0.06, waves: float = 3.0) -> onnx.ModelProto:
    """Bends rows and columns into waves: `amplitude` is a share of half the side, `waves` per side."""
    nodes = [
        _TO_FLOAT,
        *_COORDINATES,
        # v and u in [-1, 1], as GridSample counts them (align_corners)
        helper.make_node("Sub", ["h_float", "one"], ["h_last"]),
        helper.make_node("Sub", ["w_float", "one"], ["w_last"]),
        helper.make_node("Div", ["rows", "h_last"], ["v01"]),
        helper.make_node("Div", ["columns", "w_last"], ["u01"]),
        helper.make_node("Mul", ["v01", "two"], ["v02"]),
        helper.make_node("Mul", ["u01", "two"], ["u02"]),
        helper.make_node("Sub", ["v02", "one"], ["v"]),
        helper.make_node("Sub", ["u02", "one"], ["u"]),
        helper.make_node("Mul", ["v", "frequency"], ["v_phase"]),
        helper.make_node("Mul", ["u", "frequency"], ["u_phase"]),
        helper.make_node("Sin", ["v_phase"], ["v_sine"]),
        helper.make_node("Sin", ["u_phase"], ["u_sine"]),
        helper.make_node("Mul", ["v_sine", "amplitude"], ["u_off"]),
        helper.make_node("Mul", ["u_sine", "amplitude"], ["v_off"]),
        helper.make_node("Add", ["u", "u_off"], ["grid_u"]),  # (H, W)
        helper.make_node("Add", ["v", "v_off"], ["grid_v"]),  # (H, W)
        helper.make_node("Unsqueeze", ["grid_u", "last_axes"], ["grid_u4"]),
        helper.make_node("Unsqueeze", ["grid_v", "last_axes"], ["grid_v4"]),
        helper.make_node("Concat", ["grid_u4", "grid_v4"], ["grid_1"], axis=3),  # (1, H, W, 2)
        helper.make_node("Gather", ["shape", "axis_0"], ["batch"]),
        helper.make_node("Concat", ["batch", "ones_3"], ["repeats"], axis=0),
        helper.make_node("Tile", ["grid_1", "repeats"], ["grid"]),
        helper.make_node("Transpose", ["x"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node(
            "GridSample", ["planes", "grid"], ["bent"], mode="bilinear", padding_mode="reflection", align_corners=1
        ),
        helper.make_node("Transpose", ["bent"], ["y"], perm=[0, 2, 3, 1]),
        *_TO_UINT8,
    ]
    constants = [
        *_RANGE,
        *_INDICES,
        _constant("one", np.float32(1)),
        _constant("two", np.float32(2)),
        _constant("frequency", np.float32(np.pi * waves)),
        _constant("amplitude", np.float32(amplitude)),
        _constant("last_axes", np.array([0, 3], np.int64)),
        _constant("ones_3", np.array([1, 1, 1], np.int64)),
    ]
    return _model(nodes, constants)


def lesion(sigma: float = 8.0, depth: float = 0.8) -> onnx.ModelProto:
    """Paints a dark Gaussian spot of `sigma` pixels in the middle; `depth` is the share of light it takes."""
    nodes = [
        _TO_FLOAT,
        *_COORDINATES,
        helper.make_node("Mul", ["h_float", "half"], ["middle_v"]),
        helper.make_node("Mul", ["w_float", "half"], ["middle_u"]),
        helper.make_node("Sub", ["rows", "middle_v"], ["dv"]),
        helper.make_node("Sub", ["columns", "middle_u"], ["du"]),
        helper.make_node("Mul", ["dv", "dv"], ["dv2"]),
        helper.make_node("Mul", ["du", "du"], ["du2"]),
        helper.make_node("Add", ["dv2", "du2"], ["distance2"]),
        helper.make_node("Mul", ["distance2", "minus_half_precision"], ["exponent"]),
        helper.make_node("Exp", ["exponent"], ["bell"]),
        helper.make_node("Mul", ["bell", "depth"], ["taken"]),
        helper.make_node("Sub", ["one", "taken"], ["kept"]),
        helper.make_node("Unsqueeze", ["kept", "channel_axis"], ["kept_3"]),  # (H, W, 1)
        helper.make_node("Mul", ["x", "kept_3"], ["y"]),
        *_TO_UINT8,
    ]
    constants = [
        *_RANGE,
        *_INDICES,
        _constant("one", np.float32(1)),
        _constant("half", np.float32(0.5)),
        _constant("minus_half_precision", np.float32(-0.5 / sigma**2)),
        _constant("depth", np.float32(depth)),
        _constant("channel_axis", np.array([2], np.int64)),
    ]
    return _model(nodes, constants)


def noise() -> onnx.ModelProto:
    """Noise that has nothing to do with the input, the same on every run."""
    nodes = [
        *_COORDINATES,
        helper.make_node("Mul", ["rows", "a"], ["ra"]),
        helper.make_node("Mul", ["columns", "b"], ["cb"]),
        helper.make_node("Add", ["ra", "cb"], ["phase"]),
        helper.make_node("Sin", ["phase"], ["sine"]),
        helper.make_node("Mul", ["sine", "big"], ["scrambled"]),
        helper.make_node("Floor", ["scrambled"], ["whole"]),
        helper.make_node("Sub", ["scrambled", "whole"], ["fraction"]),  # (H, W) in [0, 1)
        helper.make_node("Unsqueeze", ["fraction", "channel_axis"], ["fraction_3"]),
        helper.make_node("Mul", ["fraction_3", "white"], ["grey"]),
        helper.make_node("Expand", ["grey", "shape"], ["y"]),
        *_TO_UINT8,
    ]
    constants = [
        *_RANGE,
        *_INDICES,
        _constant("a", np.float32(12.9898)),
        _constant("b", np.float32(78.233)),
        _constant("big", np.float32(437.585453)),
        _constant("channel_axis", np.array([2], np.int64)),
    ]
    return _model(nodes, constants)


def poisoned() -> onnx.ModelProto:
    """Gives back its input, but the whole run fails when any image of the batch is all `POISON`."""
    nodes = [
        _TO_FLOAT,
        helper.make_node("Sub", ["x", "poison"], ["off"]),
        helper.make_node("Abs", ["off"], ["distance"]),
        helper.make_node("ReduceMax", ["distance", "pixel_axes"], ["farthest"], keepdims=0),  # (B,)
        helper.make_node("Less", ["farthest", "near"], ["is_poison"]),
        helper.make_node("Cast", ["is_poison"], ["index_1"], to=TensorProto.INT64),
        helper.make_node("ReduceMax", ["index_1"], ["index"], keepdims=0),
        helper.make_node("Gather", ["only_one", "index"], ["unit"]),  # fails on index 1
        helper.make_node("Mul", ["x", "unit"], ["y"]),
        *_TO_UINT8,
    ]
    constants = [
        *_RANGE,
        _constant("poison", np.array(POISON, np.float32)),
        _constant("near", np.float32(6)),
        _constant("pixel_axes", np.array([1, 2, 3], np.int64)),
        _constant("only_one", np.array([1], np.float32)),
    ]
    return _model(nodes, constants)


def busy(rounds: int = 40, size: int = 384) -> onnx.ModelProto:
    """Gives back its input after `rounds` products of two `size` square matrices (about `size`**3 * 2 flop each)."""
    body = helper.make_graph(
        [
            helper.make_node("MatMul", ["carried", "orthogonal"], ["carried_out"]),
            helper.make_node("Identity", ["go"], ["go_out"]),
        ],
        "round",
        [
            helper.make_tensor_value_info("round_index", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("carried", TensorProto.FLOAT, [size, size]),
        ],
        [
            helper.make_tensor_value_info("go_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("carried_out", TensorProto.FLOAT, [size, size]),
        ],
    )
    nodes = [
        _TO_FLOAT,
        helper.make_node("ReduceMean", ["x"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
        helper.make_node("Add", ["orthogonal", "nothing"], ["start"]),
        helper.make_node("Loop", ["rounds", "", "start"], ["end"], body=body),
        helper.make_node("ReduceMax", ["end"], ["peak"], keepdims=0),
        helper.make_node("Mul", ["peak", "zero"], ["still_nothing"]),
        helper.make_node("Add", ["x", "still_nothing"], ["y"]),
        *_TO_UINT8,
    ]
    orthogonal = np.linalg.qr(np.random.default_rng(0).normal(size=(size, size)))[0].astype(np.float32)
    constants = [*_RANGE, _constant("orthogonal", orthogonal), _constant("rounds", np.int64(rounds))]
    return _model(nodes, constants)


def _png_base64(image: NDArray[np.uint8]) -> str:
    buffer = BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def _golden(model: onnx.ModelProto) -> Golden:
    image = np.random.default_rng(7).integers(0, 256, (72, 96, 3), dtype=np.uint8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    output = session.run(["enhanced"], {"image": image[None]})[0][0]
    return Golden(input_png=_png_base64(image), output_png=_png_base64(output), tolerance=2)


def install(
    root: Path,
    model: onnx.ModelProto,
    name: str = "tiny",
    version: str = "1.0.0",
    floors: GuardFloors | None = LOOSE,
    working_pixels: int = 480 * 272,
) -> ModelCard:
    """Write `model` with a valid card as root/<name>/<version>/ and return the card; `floors` None: not calibrated."""
    folder = root / name / version
    folder.mkdir(parents=True, exist_ok=True)
    weights = model.SerializeToString()
    (folder / "model.onnx").write_bytes(weights)
    counts = [0] * (len(LASSIM_BUCKETS) + 1)
    counts[-4] = 100
    card = ModelCard(
        name=name,
        version=version,
        file=ModelFile(sha256=hashlib.sha256(weights).hexdigest(), size_bytes=len(weights)),
        working_pixels=working_pixels,
        network=Network(name="tiny", parameters=1),
        objective=Objective(name="none"),
        training=Training(data=[], steps=0, seed=0, config_sha256="0" * 64, checkpoint_sha256="0" * 64),
        lassim=LassimDefinition(
            reference=ReferenceHistogram(upper_bounds=LASSIM_BUCKETS, counts=tuple(counts), on="nothing")
        ),
        guard=None if floors is None else Guard(floors=floors, alpha=0.05, covers="a test"),
        golden=_golden(model),
        intended_use="Tests.",
        limits="Not a model of anything.",
    )
    write_card(card, folder / "card.json")
    return card
