"""Makes an exported graph of two stages skip its second where only the first is asked for.

ONNX Runtime runs every node of a graph, whichever outputs are fetched. At a photo's own size the second stage, whose
result nobody wants there, took a third of the time. It is moved into a branch that an optional input turns off.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from service.vocabulary import DETAIL_ONLY


def skip_second_stage_on_request(model: onnx.ModelProto) -> onnx.ModelProto:
    """A model with the same inputs and outputs, and the optional input `DETAIL_ONLY`.

    Where that is true, `enhanced` is `detail` itself.

    Args:
        model: gives `enhanced` and `detail`; what `detail` needs is its first stage.

    Returns:
        The model with the nodes that only `enhanced` needs, and their weights, in the branch of an `If`.
    """
    graph = model.graph
    first = _needed(graph.node, "detail")
    later = [node for index, node in enumerate(graph.node) if index not in first]
    kept = [node for index, node in enumerate(graph.node) if index in first]
    of_first = {name for node in kept for name in node.input}
    moved = [weights for weights in graph.initializer if weights.name not in of_first]
    enhanced, detail = graph.output

    both = helper.make_graph(later, "colour", [], [enhanced], initializer=moved)
    alone = helper.make_graph(
        [helper.make_node("Identity", [detail.name], ["unchanged"], "unchanged")],
        "unchanged",
        [],
        [helper.make_value_info("unchanged", enhanced.type)],
    )
    choice = helper.make_node(
        "If", [DETAIL_ONLY], [enhanced.name], "second_stage", then_branch=alone, else_branch=_renamed(both)
    )
    weights = [item for item in graph.initializer if item.name in of_first]
    default = numpy_helper.from_array(np.array(False), DETAIL_ONLY)
    whole = helper.make_graph(
        [*kept, choice],
        graph.name,
        [*graph.input, helper.make_tensor_value_info(DETAIL_ONLY, TensorProto.BOOL, [])],
        list(graph.output),
        initializer=[*weights, default],
    )
    return helper.make_model(
        whole, opset_imports=model.opset_import, ir_version=model.ir_version, producer_name=model.producer_name
    )


def _needed(nodes: Iterable[onnx.NodeProto], output: str) -> set[int]:
    """Which nodes, by index, `output` needs; they come in an order in which they can be run."""
    wanted, found = {output}, set()
    for index, node in reversed(list(enumerate(nodes))):
        if wanted.intersection(node.output):
            found.add(index)
            wanted.update(node.input)
    return found


def _renamed(branch: onnx.GraphProto) -> onnx.GraphProto:
    """`branch` with an output of its own name: the `If` gives the outer one."""
    outer, own = branch.output[0].name, "coloured"
    for node in branch.node:
        node.output[:] = [own if name == outer else name for name in node.output]
        node.input[:] = [own if name == outer else name for name in node.input]
    branch.output[0].name = own
    return branch
