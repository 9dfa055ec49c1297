"""Rewrites a detail stage's convolutions in integers: eight bits for weights and features, sums in 32.

The graph keeps its inputs, outputs and branches. Before and after each convolution stand `QuantizeLinear` and
`DequantizeLinear`, from which the runtime makes integer convolutions (ONNX Runtime's "QDQ" format); a feature map is
padded after it was made bytes. Features have one range each, weights one scale for each output channel.

Source: Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference"
(arXiv 1712.05877). Written here since `onnxruntime.quantization` does not reach into the branches of an `If`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper

from model_training.export.stages import branches
from service.errors import ExportError
from service.pixels import Pixels
from service.vocabulary import COLOUR_ONLY, DETAIL_ONLY

BLOCK = 8
"""Only convolutions from and to multiples of so many channels are rewritten: those of the trunk. First looks at pixels
and strengths, and what mixes, need more than eight bits."""

LEAST_SCALE = 1e-8

UNCLIPPED = 0.95
"""Share of the calibration photos whose largest features fit, for each feature map. The last few have several times the
range of the rest and would make coarse steps for all: 1.3.0 then mends noise 0.14 dB less, with this share 0.01 dB."""

Integers = NDArray[np.int8] | NDArray[np.int32]

Ranges = Mapping[str, tuple[float, float]]
"""Least and largest value of each feature map that becomes bytes."""


@dataclass(frozen=True, slots=True)
class Convolution:
    """A convolution to be rewritten, by the names of what it reads and gives.

    Attributes:
        node: its own.
        source: the features that it reads, before they are padded.
        padding: the node that pads them; None: nothing does.
        result: the features that it gives, after their ReLU.
    """

    node: NodeProto
    source: str
    padding: NodeProto | None
    result: str


def in_eight_bits(model: onnx.ModelProto, ranges: Ranges) -> onnx.ModelProto:
    """`model`, with the convolutions of its detail stage in integers; `ranges` are those of `measured_ranges`."""
    rewritten = onnx.ModelProto()
    rewritten.CopyFrom(model)
    for graph in _first_stage(rewritten.graph):
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


def convolutions(graph: GraphProto) -> list[Convolution]:
    """Those of `graph`, its branches aside, that are to be rewritten."""
    makers = {name: node for node in graph.node for name in node.output}
    readers = _readers(graph)
    weights = {item.name: item for item in graph.initializer}
    found = []
    for node in graph.node:
        if not _suits(node, weights):
            continue
        maker, (after, *others) = makers.get(node.input[0]), readers[node.output[0]]
        padded = maker is not None and maker.op_type == "Pad" and len(readers[node.input[0]]) == 1
        result = after.output[0] if after.op_type == "Relu" and not others else node.output[0]
        source = maker.input[0] if maker is not None and padded else node.input[0]
        found.append(Convolution(node, source, maker if padded else None, result))
    return found


def _suits(node: NodeProto, weights: Mapping[str, TensorProto]) -> bool:
    if node.op_type != "Conv" or len(node.input) != 3 or not weights.keys() >= {node.input[1], node.input[2]}:
        return False
    outputs, inputs = weights[node.input[1]].dims[:2]
    groups = next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)
    return groups == 1 and inputs % BLOCK == 0 and outputs % BLOCK == 0


def _first_stage(graph: GraphProto) -> Iterator[GraphProto]:
    """The graph itself and its branches, but for what `DETAIL_ONLY` turns off."""
    yield graph
    for node in graph.node:
        if DETAIL_ONLY not in node.input:
            for branch in branches(node):
                yield from _first_stage(branch)


def _readers(graph: GraphProto) -> dict[str, list[NodeProto]]:
    found: dict[str, list[NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            found.setdefault(name, []).append(node)
    return found


class _Rewriting:
    """One graph on its way to integers."""

    def __init__(self, graph: GraphProto, found: Sequence[Convolution], ranges: Ranges) -> None:
        self._graph = graph
        self._found = {one.node.name: one for one in found}
        self._scales = {name: _scale(*ranges[name]) for one in found for name in (one.source, one.result)}
        self._results = {one.result for one in found}
        self._paddings = {one.padding.name for one in found if one.padding is not None}
        self._floats = {name for one in found for name in one.node.input[1:]}

    def rewrite(self) -> None:
        """Do it."""
        nodes: list[NodeProto] = []
        for node in self._graph.node:
            if node.name in self._paddings:
                continue
            if one := self._found.get(node.name):
                nodes += self._convolution(one)
            else:
                node.input[:] = [f"{name}_rounded" if name in self._results else name for name in node.input]
                nodes.append(node)
            for name in node.output:
                nodes += self._bytes_of(name)
        del self._graph.node[:]
        self._graph.node.extend(nodes)
        read = {name for node in nodes for name in node.input}
        kept = [item for item in self._graph.initializer if item.name not in self._floats - read]
        del self._graph.initializer[:]
        self._graph.initializer.extend(kept)

    def _bytes_of(self, name: str) -> Iterator[NodeProto]:
        """What makes bytes of a feature map, and floats again where others read what a convolution gave."""
        if name not in self._scales:
            return
        scale, zero = self._scales[name]
        ends = [self._constant(f"{name}_scale", np.float32(scale)), self._constant(f"{name}_zero", np.uint8(zero))]
        yield helper.make_node("QuantizeLinear", [name, *ends], [f"{name}_bytes"], f"{name}_bytes")
        if name in self._results:
            yield helper.make_node("DequantizeLinear", [f"{name}_bytes", *ends], [f"{name}_rounded"], f"{name}_rounded")

    def _convolution(self, one: Convolution) -> Iterator[NodeProto]:
        node, given = one.node, f"{one.source}_bytes"
        if one.padding is not None:
            given = f"{one.padding.output[0]}_bytes"
            padding = NodeProto()
            padding.CopyFrom(one.padding)
            padding.input[0], padding.output[0] = f"{one.source}_bytes", given
            yield padding
        floats, ends = f"{node.name}_given", [f"{one.source}_scale", f"{one.source}_zero"]
        yield helper.make_node("DequantizeLinear", [given, *ends], [floats], floats)
        weights = {item.name: numpy_helper.to_array(item) for item in self._graph.initializer}
        kernel, bias = weights[node.input[1]], weights[node.input[2]]
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
        names = [self._constant(f"{name}_{part}", value) for part, value in constants.items()]
        return helper.make_node("DequantizeLinear", names, [name], name, axis=0)

    def _constant(self, name: str, value: NDArray[np.generic] | np.generic) -> str:
        self._graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
        return name


def _scale(least: float, largest: float) -> tuple[float, int]:
    """Scale and zero of bytes that hold `least` to `largest`, and 0 exactly."""
    least, largest = min(least, 0.0), max(largest, 0.0)
    scale = max((largest - least) / 255, LEAST_SCALE)
    return scale, int(np.clip(np.rint(-least / scale), 0, 255))


def _measuring(model: onnx.ModelProto) -> tuple[onnx.ModelProto, list[str]]:
    """The first stage alone, which gives the ends of each feature map that becomes bytes, and their names."""
    flat = onnx.ModelProto()
    flat.CopyFrom(model)
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
