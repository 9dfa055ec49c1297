"""Makes an exported graph of two stages skip the stage that is not asked for.

ONNX Runtime runs every node of a graph, whichever outputs are fetched. At a photo's own size the second stage, whose
result nobody wants there, took a third of the time; at the working size the first has nothing left to mend. Each is
moved into a branch that an optional input turns off.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from service.vocabulary import COLOUR_ONLY, DETAIL_ONLY

CHANGE = "change"
"""What the first stage adds to the image, as a traced graph's last output names it."""


def skip_first_stage_on_request(model: onnx.ModelProto) -> onnx.ModelProto:
    """A model with the same inputs, but for the last the same outputs, and the optional input `COLOUR_ONLY`.

    Where that is true, `detail` is `image` itself, and nothing is added to what the second stage sees.

    Args:
        model: gives `enhanced`, `detail` and `CHANGE`, through which alone the first stage acts upon the second.

    Returns:
        The model with the nodes that only `detail` and `CHANGE` need, and their weights, in the branch of an `If`.
    """
    graph = model.graph
    enhanced, detail, change = graph.output
    of_first = _needed(graph.node, {detail.name, CHANGE})
    second = [node for index, node in enumerate(graph.node) if index not in of_first]
    given_to_second = _read(second) - {CHANGE} - {name for node in second for name in node.output}
    shared = _needed(graph.node, given_to_second)
    moved = [node for index, node in enumerate(graph.node) if index in of_first - shared]
    common = [node for index, node in enumerate(graph.node) if index in of_first & shared]
    none = helper.make_node(
        "Constant", [], ["none"], "none", value=numpy_helper.from_array(np.zeros((1, 1, 1, 3), "f"))
    )
    skipped = [helper.make_node("Identity", ["image"], ["given"], "given"), none]
    choice = helper.make_node(
        "If",
        [COLOUR_ONLY],
        [detail.name, CHANGE],
        "first_stage",
        then_branch=helper.make_graph(
            skipped, "as_given", [], [_valued("given", detail), helper.make_tensor_value_info("none", 1, [1, 1, 1, 3])]
        ),
        else_branch=_branch("mended", moved, [detail, change], graph.initializer, _read([*common, *second])),
    )
    return _with_choice(model, [*common, choice, *second], [enhanced, detail], COLOUR_ONLY)


def skip_second_stage_on_request(model: onnx.ModelProto) -> onnx.ModelProto:
    """A model with the same inputs and outputs, and the optional input `DETAIL_ONLY`.

    Where that is true, `enhanced` is `detail` itself.

    Args:
        model: gives `enhanced` and `detail`; what `detail` needs is its first stage.

    Returns:
        The model with the nodes that only `enhanced` needs, and their weights, in the branch of an `If`.
    """
    graph = model.graph
    enhanced, detail = graph.output
    first = _needed(graph.node, {detail.name})
    later = [node for index, node in enumerate(graph.node) if index not in first]
    kept = [node for index, node in enumerate(graph.node) if index in first]
    alone = helper.make_graph(
        [helper.make_node("Identity", [detail.name], ["unchanged"], "unchanged")],
        "unchanged",
        [],
        [_valued("unchanged", enhanced)],
    )
    choice = helper.make_node(
        "If",
        [DETAIL_ONLY],
        [enhanced.name],
        "second_stage",
        then_branch=alone,
        else_branch=_branch("coloured", later, [enhanced], graph.initializer, _read(kept)),
    )
    return _with_choice(model, [*kept, choice], [enhanced, detail], DETAIL_ONLY)


def _with_choice(
    model: onnx.ModelProto, nodes: Sequence[NodeProto], outputs: Sequence[onnx.ValueInfoProto], option: str
) -> onnx.ModelProto:
    """`model` of these nodes, the weights that they read outside of branches, and a boolean `option`, by default false.

    Its initialisers that went into a branch are left out here.
    """
    inside = {weights.name for node in nodes for branch in branches(node) for weights in branch.initializer}
    default = numpy_helper.from_array(np.array(False), option)
    whole = helper.make_graph(
        nodes,
        model.graph.name,
        [*model.graph.input, helper.make_tensor_value_info(option, TensorProto.BOOL, [])],
        outputs,
        initializer=[*(weights for weights in model.graph.initializer if weights.name not in inside), default],
    )
    return helper.make_model(
        whole, opset_imports=model.opset_import, ir_version=model.ir_version, producer_name=model.producer_name
    )


def _branch(
    name: str,
    nodes: Sequence[NodeProto],
    outputs: Sequence[onnx.ValueInfoProto],
    weights: Iterable[TensorProto],
    kept: set[str],
) -> onnx.GraphProto:
    """A branch of `nodes` and of the `weights` that are not `kept` outside, with outputs of names of its own."""
    own = {value.name: f"{name}_{value.name}" for value in outputs}
    wanted = _read(nodes) - kept
    for node in nodes:
        node.output[:] = [own.get(value, value) for value in node.output]
        node.input[:] = [own.get(value, value) for value in node.input]
    named = [_valued(own[value.name], value) for value in outputs]
    return helper.make_graph(nodes, name, [], named, initializer=[item for item in weights if item.name in wanted])


def _valued(name: str, like: onnx.ValueInfoProto) -> onnx.ValueInfoProto:
    return helper.make_value_info(name, like.type)


def _needed(nodes: Sequence[NodeProto], outputs: set[str]) -> set[int]:
    """Which nodes, by index, the `outputs` need; they come in an order in which they can be run."""
    wanted, found = set(outputs), set()
    for index, node in reversed(list(enumerate(nodes))):
        if wanted.intersection(node.output):
            found.add(index)
            wanted |= _read([node])
    return found


def _read(nodes: Iterable[NodeProto]) -> set[str]:
    """What nodes read, and what the branches of nodes read."""
    return {
        name
        for node in nodes
        for name in (*node.input, *(read for branch in branches(node) for read in _read(branch.node)))
    }


def branches(node: NodeProto) -> list[onnx.GraphProto]:
    """The graphs that a node holds."""
    return [attribute.g for attribute in node.attribute if attribute.type == onnx.AttributeProto.GRAPH]
