"""Edits of an exported graph before it is written: which layers are meant, new operators, new constants."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ifseg_rt.errors import ExportError

if TYPE_CHECKING:
    import onnx_ir
    from numpy.typing import NDArray

_STACKS = ("encoder_layers.", "decoder_layers.", "project.")


def linear_layers(graph: onnx_ir.Graph) -> list[onnx_ir.Node]:
    """The linear layers of both stacks and the projection before them, ``rows @ weight.T + bias``, in order.

    Raises:
        ExportError: there are none, or one is written in another way.
    """
    layers = [node for node in graph if node.op_type == "Gemm" and str(input_of(node, 1).name).startswith(_STACKS)]
    if not layers:
        raise ExportError("the graph has no linear layers to quantise")
    for node in layers:
        if node.attributes["transB"].as_int() != 1:
            raise ExportError(f"the linear layer {node.name} is not written as expected")
    return layers


def input_of(node: onnx_ir.Node, index: int) -> onnx_ir.Value:
    """An input that must be there."""
    value = node.inputs[index]
    if value is None:
        raise ExportError(f"the operator {node.name} lacks an input")
    return value


def insert_before(
    graph: onnx_ir.Graph,
    before: onnx_ir.Node,
    operator: str,
    inputs: Sequence[onnx_ir.Value],
    outputs: Sequence[str],
    **attributes: int,
) -> Sequence[onnx_ir.Value]:
    """Puts an operator in front of ``before`` and returns its outputs."""
    import onnx_ir

    values = [onnx_ir.Value(name=name) for name in outputs]
    graph.insert_before(before, onnx_ir.node(operator, inputs, attributes, outputs=values, name=outputs[0]))
    return values


def add_constant(graph: onnx_ir.Graph, name: str, array: NDArray[Any]) -> onnx_ir.Value:
    """A new initialiser."""
    import onnx_ir

    tensor = onnx_ir.tensor(array, name=name)
    kind = onnx_ir.TensorType(tensor.dtype)
    value = onnx_ir.Value(name=name, shape=onnx_ir.Shape(array.shape), type=kind, const_value=tensor)
    graph.register_initializer(value)
    return value
