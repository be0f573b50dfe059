"""What an ``.onnx`` file says before any run time sees it: its versions, and the files beside it that it refers to.

Only the outline of the protobuf message is walked: weights are stepped over, so that large files take milliseconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

LARGEST_GRAPH = (1 << 31) - 1  # of any protobuf message
_MOST_PARTS = 3_000_000  # fields that are looked at; the largest model that is exported here has some ten thousand
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

# What lies where in onnx.proto: message -> field -> kind of the message in it.
_INSIDE = {
    "model": {7: "graph", 8: "opset", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
}
_IR_VERSION, _OPERATOR, _ENTRY_KEY, _ENTRY_VALUE, _DOMAIN, _VERSION = 1, 4, 1, 2, 1, 2


class NoGraphError(ValueError):
    """The bytes are no ONNX model."""


@dataclass(frozen=True)
class GraphOutline:
    """The outline of a model.

    Attributes:
        ir_version: version of the file format.
        opset: version of ONNX's own operators, 0 where none is named.
        external: names of the files that weights are in, as they are written in the graph.
        operators: names of all operators.
    """

    ir_version: int
    opset: int
    external: frozenset[str]
    operators: frozenset[str]


def outline(data: bytes) -> GraphOutline:
    """The outline of a serialised model.

    Raises:
        NoGraphError: it is cut off, or something else.
    """
    ir_version, opset = 0, 0
    external: set[str] = set()
    operators: set[str] = set()
    waiting: list[tuple[str, memoryview]] = [("model", memoryview(data))]
    parts = 0
    while waiting:
        kind, message = waiting.pop()
        inside = _INSIDE.get(kind, {})
        texts: dict[int, str] = {}
        numbers: dict[int, int] = {}
        for field, value in _fields(message):
            parts += 1
            if parts > _MOST_PARTS:
                raise NoGraphError(f"it has more than {_MOST_PARTS} parts")
            if isinstance(value, int):
                numbers[field] = value
            elif field in inside:
                waiting.append((inside[field], value))
            elif (kind, field) == ("node", _OPERATOR):
                operators.add(_text(value))
            elif kind in ("entry", "opset") and field in (_ENTRY_KEY, _ENTRY_VALUE):
                texts[field] = _text(value)
        if kind == "model":
            ir_version = numbers.get(_IR_VERSION, 0)
        elif kind == "opset" and texts.get(_DOMAIN, "") in ("", "ai.onnx"):
            opset = numbers.get(_VERSION, 0)
        elif kind == "entry" and texts.get(_ENTRY_KEY) == "location":
            external.add(texts.get(_ENTRY_VALUE, ""))
    if ir_version == 0:
        raise NoGraphError("it names no version of the file format")
    return GraphOutline(ir_version, opset, frozenset(external), frozenset(operators))


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    position, end = 0, len(message)
    while position < end:
        tag, position = _varint(message, position)
        field, wire = tag >> 3, tag & 7
        if field == 0:
            raise NoGraphError("its fields make no sense")
        if wire == _VARINT:
            number, position = _varint(message, position)
            yield field, number
            continue
        if wire == _BYTES:
            length, position = _varint(message, position)
        elif wire in (_FIXED64, _FIXED32):
            length = 8 if wire == _FIXED64 else 4
        else:
            raise NoGraphError("its fields make no sense")
        if length > end - position:
            raise NoGraphError("it is cut off")
        if wire == _BYTES:
            yield field, message[position : position + length]
        position += length


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    value = shift = 0
    while position < len(message) and shift < 70:
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
    raise NoGraphError("it is cut off")


def _text(value: memoryview) -> str:
    return bytes(value[:4096]).decode("utf-8", errors="replace")
