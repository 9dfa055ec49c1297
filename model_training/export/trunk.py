"""The convolutions of a detail stage's trunk, and how they are rewritten in other numbers than float32.

The graph keeps its inputs, outputs and branches. Features are made narrow before a convolution and float32 again for
whatever else reads them; what narrow means (`eight_bit`, `half_precision`) is up to the kind of rewriting.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import GraphProto, NodeProto, TensorProto, numpy_helper

from model_training.export.stages import branches
from service.vocabulary import DETAIL_ONLY

BLOCK = 8
"""Only convolutions from and to multiples of so many channels are rewritten: those of the trunk. First looks at pixels
and strengths, and what mixes, need more than eight bits."""


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


def first_stage(graph: GraphProto) -> Iterator[GraphProto]:
    """The graph itself and its branches, but for what `DETAIL_ONLY` turns off."""
    yield graph
    for node in graph.node:
        if DETAIL_ONLY not in node.input:
            for branch in branches(node):
                yield from first_stage(branch)


def _readers(graph: GraphProto) -> dict[str, list[NodeProto]]:
    found: dict[str, list[NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            found.setdefault(name, []).append(node)
    return found


class Rewriting(ABC):
    """One graph on its way to narrow numbers in the convolutions that were found in it."""

    def __init__(self, graph: GraphProto, found: Sequence[Convolution]) -> None:
        self._graph = graph
        self._found = {one.node.name: one for one in found}
        self.features = {name for one in found for name in (one.source, one.result)}
        self.results = {one.result for one in found}
        self._paddings = {one.padding.name for one in found if one.padding is not None}
        self._floats = {name for one in found for name in one.node.input[1:]}

    def rewrite(self) -> None:
        """Do it."""
        nodes: list[NodeProto] = []
        for node in self._graph.node:
            if node.name in self._paddings:
                continue
            if one := self._found.get(node.name):
                nodes += self.convolution(one)
            else:
                node.input[:] = [widened(name) if name in self.results else name for name in node.input]
                nodes.append(node)
            for name in node.output:
                if name in self.features:
                    nodes += self.conversions(name)
        del self._graph.node[:]
        self._graph.node.extend(nodes)
        read = {name for node in nodes for name in node.input}
        kept = [item for item in self._graph.initializer if item.name not in self._floats - read]
        del self._graph.initializer[:]
        self._graph.initializer.extend(kept)

    @abstractmethod
    def conversions(self, name: str) -> Iterator[NodeProto]:
        """What makes a feature map narrow, as `narrow` names it, and `widened` again where it is a result."""

    @abstractmethod
    def narrow(self, name: str) -> str:
        """The name of a feature map's narrow form."""

    @abstractmethod
    def convolution(self, one: Convolution) -> Iterator[NodeProto]:
        """What takes a convolution's place."""

    def padded(self, one: Convolution) -> tuple[str, list[NodeProto]]:
        """The name of the narrow features that a convolution reads, and the node that pads them, if one does."""
        if one.padding is None:
            return self.narrow(one.source), []
        padding = NodeProto()
        padding.CopyFrom(one.padding)
        padding.input[0], padding.output[0] = self.narrow(one.source), self.narrow(one.padding.output[0])
        return padding.output[0], [padding]

    def weights(self, one: Convolution) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Kernel and bias of a convolution."""
        values = {item.name: item for item in self._graph.initializer}
        kernel, bias = (numpy_helper.to_array(values[name]) for name in one.node.input[1:])
        return kernel, bias

    def constant(self, name: str, value: NDArray[np.generic] | np.generic) -> str:
        """Add a constant of this name to the graph."""
        self._graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
        return name


def widened(name: str) -> str:
    """The name of a result in float32, for whatever reads it beside convolutions."""
    return f"{name}_rounded"


def copied(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy to be rewritten."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy
