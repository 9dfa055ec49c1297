"""Rewrites a detail stage's convolutions in float16, for GPUs: half the bytes, and what tensor cores are for.

The same convolutions as in eight bits; their paddings and ReLUs too, and the features between two of them. Statistics,
spectrum, quantiles, mixes and all arithmetic on pixels stay float32. Nothing is calibrated: float16 holds 11 bits of
every value up to 65,504, and features are far below that, which the figures that are measured would show.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper

from model_training.export.trunk import Convolution, Rewriting, convolutions, copied, first_stage, widened
from service.errors import ExportError


def in_half_precision(model: onnx.ModelProto) -> onnx.ModelProto:
    """`model`, with the convolutions of its detail stage in float16.

    Raises:
        ExportError: the model has no detail stage with convolutions that can be rewritten.
    """
    rewritten, graphs = copied(model), 0
    for graph in first_stage(rewritten.graph):
        if found := convolutions(graph):
            _Rewriting(graph, found).rewrite()
            graphs += 1
    if not graphs:
        raise ExportError("The model has no detail stage with convolutions that can be rewritten in half precision.")
    onnx.checker.check_model(rewritten, full_check=True)
    return rewritten


class _Rewriting(Rewriting):
    """One graph on its way to float16."""

    def narrow(self, name: str) -> str:
        """Itself, where a convolution in float16 gave it."""
        return name if name in self.results else f"{name}_half"

    def conversions(self, name: str) -> Iterator[NodeProto]:
        """What makes float16 of a feature map, or float32 of what a convolution gave."""
        made, to = (
            (widened(name), TensorProto.FLOAT) if name in self.results else (self.narrow(name), TensorProto.FLOAT16)
        )
        yield helper.make_node("Cast", [name], [made], made, to=to)

    def convolution(self, one: Convolution) -> Iterator[NodeProto]:
        """It, of features and weights in float16; the ReLU after it follows by its type."""
        given, padding = self.padded(one)
        yield from padding
        names = (f"{one.node.name}_kernel", f"{one.node.name}_bias")
        weights = zip(names, self.weights(one), strict=True)
        one.node.input[:] = [given, *(self.constant(name, value.astype(np.float16)) for name, value in weights)]
        yield one.node
