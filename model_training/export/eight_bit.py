"""Rewrites a detail stage's convolutions in integers: eight bits for weights and features, sums in 32.

The graph keeps its inputs, outputs and branches. Before and after each convolution stand `QuantizeLinear` and
`DequantizeLinear`, from which the runtime makes integer convolutions (ONNX Runtime's "QDQ" format); a feature map is
padded after it was made bytes. Features have one range each, weights one scale for each output channel.

Source: Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference"
(arXiv 1712.05877). Written here since `onnxruntime.quantization` does not reach into the branches of an `If`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import GraphProto, NodeProto, TensorProto, helper

from model_training.export.trunk import Convolution, Rewriting, convolutions, copied, first_stage, widened
from service.errors import ExportError
from service.pixels import Pixels
from service.vocabulary import COLOUR_ONLY, DETAIL_ONLY

LEAST_SCALE = 1e-8

UNCLIPPED = 0.95
"""Share of the calibration photos whose largest features fit, for each feature map. The last few have several times the
range of the rest and would make coarse steps for all: 1.3.0 then mends noise 0.14 dB less, with this share 0.01 dB."""

Integers = NDArray[np.int8] | NDArray[np.int32]

Ranges = Mapping[str, tuple[float, float]]
"""Least and largest value of each feature map that becomes bytes."""


def in_eight_bits(model: onnx.ModelProto, ranges: Ranges) -> onnx.ModelProto:
    """`model`, with the convolutions of its detail stage in integers; `ranges` are those of `measured_ranges`."""
    rewritten = copied(model)
    for graph in first_stage(rewritten.graph):
        if found := convolutions(graph):
            _Rewriting(graph, found, ranges).rewrite()
    onnx.checker.check_model(rewritten, full_check=True)
    return rewritten


def measured_ranges(model: onnx.ModelProto, photos: Iterable[Pixels]) -> dict[str, tuple[float, float]]:
    """The range of each feature map that `in_eight_bits` makes bytes of: it holds all its values in `UNCLIPPED` photos.

    Raises:
        ExportError: the model has no detail stage with convolutions that can be rewritten, or no photo was given.
    """
    flat, names = _measuring(model)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(flat.SerializeToString(), options, providers=["CPUExecutionProvider"])
    found = [session.run(None, {"image": photo[None]}) for photo in photos]
    if not found:
        raise ExportError("There is no photo to calibrate the eight-bit model on.")
    ends = np.array(found, np.float64).reshape(len(found), len(names), 2)
    least, largest = np.quantile(ends[..., 0], 1 - UNCLIPPED, 0), np.quantile(ends[..., 1], UNCLIPPED, 0)
    return {name: (float(low), float(high)) for name, low, high in zip(names, least, largest, strict=True)}


class _Rewriting(Rewriting):
    """One graph on its way to integers."""

    def __init__(self, graph: GraphProto, found: Sequence[Convolution], ranges: Ranges) -> None:
        super().__init__(graph, found)
        self._scales = {name: _scale(*ranges[name]) for name in self.features}

    def narrow(self, name: str) -> str:
        """Its bytes."""
        return f"{name}_bytes"

    def conversions(self, name: str) -> Iterator[NodeProto]:
        """What makes bytes of a feature map, and floats again where others read what a convolution gave."""
        scale, zero = self._scales[name]
        ends = [self.constant(f"{name}_scale", np.float32(scale)), self.constant(f"{name}_zero", np.uint8(zero))]
        given, back = self.narrow(name), widened(name)
        yield helper.make_node("QuantizeLinear", [name, *ends], [given], given)
        if name in self.results:
            yield helper.make_node("DequantizeLinear", [given, *ends], [back], back)

    def convolution(self, one: Convolution) -> Iterator[NodeProto]:
        """It, of features and weights that were integers."""
        given, padding = self.padded(one)
        yield from padding
        node, floats = one.node, f"{one.node.name}_given"
        ends = [f"{one.source}_scale", f"{one.source}_zero"]
        yield helper.make_node("DequantizeLinear", [given, *ends], [floats], floats)
        kernel, bias = self.weights(one)
        scales = np.maximum(np.abs(kernel).reshape(len(kernel), -1).max(1) / 127, LEAST_SCALE).astype(np.float32)
        whole = np.clip(np.rint(kernel / scales[:, None, None, None]), -127, 127).astype(np.int8)
        of_sums = (np.float32(self._scales[one.source][0]) * scales).astype(np.float32)
        sums = np.rint(bias / of_sums.astype(np.float64)).astype(np.int32)
        kernel_name, bias_name = f"{node.name}_kernel", f"{node.name}_bias"
        yield self._restored(kernel_name, whole, scales)
        yield self._restored(bias_name, sums, of_sums)
        node.input[:] = [floats, kernel_name, bias_name]
        yield node

    def _restored(self, name: str, whole: Integers, scales: NDArray[np.float32]) -> NodeProto:
        """What makes floats of constants in integers, with a scale for each output channel."""
        constants = {"whole": whole, "scales": scales, "zeros": np.zeros(scales.shape, whole.dtype)}
        names = [self.constant(f"{name}_{part}", value) for part, value in constants.items()]
        return helper.make_node("DequantizeLinear", names, [name], name, axis=0)


def _scale(least: float, largest: float) -> tuple[float, int]:
    """Scale and zero of bytes that hold `least` to `largest`, and 0 exactly."""
    least, largest = min(least, 0.0), max(largest, 0.0)
    scale = max((largest - least) / 255, LEAST_SCALE)
    return scale, int(np.clip(np.rint(-least / scale), 0, 255))


def _measuring(model: onnx.ModelProto) -> tuple[onnx.ModelProto, list[str]]:
    """The first stage alone, which gives the ends of each feature map that becomes bytes, and their names."""
    flat = copied(model)
    graph, options = flat.graph, {COLOUR_ONLY, DETAIL_ONLY}
    nodes: list[NodeProto] = []
    for node in graph.node:
        if COLOUR_ONLY in node.input:
            branch = next(item.g for item in node.attribute if item.name == "else_branch")
            graph.initializer.extend(branch.initializer)
            nodes += branch.node
        elif DETAIL_ONLY not in node.input:
            nodes.append(node)
    for unused, kept in ((graph.input, [i for i in graph.input if i.name not in options]), (graph.node, nodes)):
        copies = [type(item).FromString(item.SerializeToString()) for item in kept]
        del unused[:]
        unused.extend(copies)
    names = list(dict.fromkeys(name for one in convolutions(graph) for name in (one.source, one.result)))
    if not names:
        raise ExportError("The model has no detail stage with convolutions that can be rewritten in eight bits.")
    del graph.output[:]
    for name in names:
        for kind in ("Min", "Max"):
            graph.node.append(helper.make_node(f"Reduce{kind}", [name], [f"{name}_{kind}"], keepdims=0))
            graph.output.append(helper.make_tensor_value_info(f"{name}_{kind}", TensorProto.FLOAT, []))
    return flat, names
