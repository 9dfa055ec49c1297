"""Takes the choices out of a model file: where an option is fixed, only the branch that it chooses is left.

Graphs on a GPU hold no node with branches, and whatever reads an option of a photo's run cannot be folded into
constants. A file is edited field by field, without a library for it: everything that is not touched stays as it is.

Source: Protocol Buffers, "Encoding"; the field numbers are those of onnx.proto (IR version 8).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

VARINT, FIXED_64, BYTES, FIXED_32 = 0, 1, 2, 5
"""Wire types."""

MODEL_GRAPH = 7
GRAPH_NODE, GRAPH_INITIALIZER, GRAPH_INPUT, GRAPH_OUTPUT, GRAPH_VALUE = 1, 5, 11, 12, 13
NODE_INPUT, NODE_OUTPUT, NODE_TYPE, NODE_ATTRIBUTE = 1, 2, 4, 5
ATTRIBUTE_NAME, ATTRIBUTE_GRAPH = 1, 6
VALUE_NAME, TENSOR_NAME = 1, 8


@dataclass(frozen=True, slots=True)
class _Field:
    """A field of a message: its number, its content, and both as they stand in the file."""

    number: int
    content: bytes
    raw: bytes


def with_choices(model: bytes, choices: Mapping[str, bool]) -> bytes:
    """The ONNX file `model` whose optional boolean inputs `choices` are fixed; those it does not have are ignored.

    Of a node that one of them decides, the nodes and weights of the branch it chooses take the place.

    Raises:
        ValueError: these are not the bytes of a message.
    """
    return b"".join(
        _packed(MODEL_GRAPH, _chosen(field.content, choices)) if field.number == MODEL_GRAPH else field.raw
        for field in _fields(model)
    )


def _chosen(graph: bytes, choices: Mapping[str, bool]) -> bytes:
    named = {GRAPH_INPUT: VALUE_NAME, GRAPH_INITIALIZER: TENSOR_NAME}
    parts = []
    for field in _fields(graph):
        if field.number == GRAPH_NODE:
            parts.append(_inlined(field.content, choices) or field.raw)
        elif field.number not in named or _text(field.content, named[field.number]) not in choices:
            parts.append(field.raw)
    return b"".join(parts)


def _inlined(node: bytes, choices: Mapping[str, bool]) -> bytes:
    """What takes the place of a node that a choice decides; empty for another node."""
    inputs = _texts(node, NODE_INPUT)
    if _text(node, NODE_TYPE) != "If" or inputs[0] not in choices:
        return b""
    name = "then_branch" if choices[inputs[0]] else "else_branch"
    attributes = [field.content for field in _fields(node) if field.number == NODE_ATTRIBUTE]
    (attribute,) = [content for content in attributes if _text(content, ATTRIBUTE_NAME) == name]
    (branch,) = [field.content for field in _fields(attribute) if field.number == ATTRIBUTE_GRAPH]
    branch = _chosen(branch, choices)
    fields = list(_fields(branch))
    moved = [one.raw for one in fields if one.number in (GRAPH_NODE, GRAPH_INITIALIZER, GRAPH_VALUE)]
    made = [_text(one.content, VALUE_NAME) for one in fields if one.number == GRAPH_OUTPUT]
    ends = [_identity(*names) for names in zip(made, _texts(node, NODE_OUTPUT), strict=True)]
    return b"".join([*moved, *ends])


def _identity(given: str, made: str) -> bytes:
    ends = _packed(NODE_INPUT, given.encode()) + _packed(NODE_OUTPUT, made.encode())
    return _packed(GRAPH_NODE, ends + _packed(NODE_TYPE, b"Identity"))


def _text(message: bytes, number: int) -> str:
    return next(iter(_texts(message, number)), "")


def _texts(message: bytes, number: int) -> list[str]:
    return [field.content.decode() for field in _fields(message) if field.number == number]


def _fields(message: bytes) -> Iterator[_Field]:
    at = 0
    while at < len(message):
        start = at
        key, at = _varint(message, at)
        if key & 7 == VARINT:
            end = content = _varint(message, at)[1]
        elif key & 7 == BYTES:
            length, content = _varint(message, at)
            end = content + length
        elif key & 7 in (FIXED_64, FIXED_32):
            content, end = at, at + (8 if key & 7 == FIXED_64 else 4)
        else:
            raise ValueError("an unknown wire type")
        if end > len(message):
            raise ValueError("a field is longer than its message")
        yield _Field(key >> 3, message[content:end], message[start:end])
        at = end


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, the least first, and where it ends."""
    value = shift = 0
    while at < len(message):
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
    raise ValueError("a number is cut off")


def _packed(number: int, content: bytes) -> bytes:
    return _as_varint(number << 3 | BYTES) + _as_varint(len(content)) + content


def _as_varint(value: int) -> bytes:
    made = bytearray()
    while value > 0x7F:
        made.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*made, value])
