"""Linear layers in 8-bit integers, for ONNX Runtime on a CPU: rewrites a graph; needs no picture.

Weights are quantised once, symmetrically, each output column with a scale of its own. Activations are quantised while
the network runs, each matrix with the range that it has (``DynamicQuantizeLinear``), so that nothing has to be
calibrated. ONNX Runtime fuses the five operators of a layer into one. All of them are standard ONNX.

Weights use 7 of their 8 bits. A processor without VNNI instructions adds pairs of products in 16 bits, which
255 * 63 * 2 just does not overflow: labels are the same on every machine, and what the export measures holds there.

What stays float32, and why:

* convolutions, and ``micro``'s layer after them. 8-bit convolutions changed 16% of its labels before any refinement.
  They also exchange the nearest patches that the refinement averages: with the layer after them quantised too, that is
  nearly all of the loss;
* attention's products: their operands differ from picture to picture and would have to be quantised on both sides;
* the product with the category matrix: its result decides the label, and it is small.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from export.graph.edit import add_constant, input_of, insert_before, linear_layers
from ifseg_rt.errors import ExportError

if TYPE_CHECKING:
    import onnx_ir
    from numpy.typing import NDArray

LARGEST_WEIGHT = 63
_FLOAT32 = 1  # as in onnx.TensorProto


def quantise_linears(model: onnx_ir.Model) -> int:
    """Rewrites the linear layers of both stacks in place and returns how many they were.

    Raises:
        ExportError: the graph has no linear layer where they are expected, or one of another kind.
    """
    graph = model.graph
    layers = linear_layers(graph)
    quantised: dict[onnx_ir.Value, Sequence[onnx_ir.Value]] = {}
    for node in layers:
        rows = input_of(node, 0)
        if rows not in quantised:
            # Once for all layers that read the same rows: queries, keys and values.
            names = [f"{rows.name}_{part}" for part in ("int8", "scale", "zero")]
            quantised[rows] = insert_before(graph, node, "DynamicQuantizeLinear", [rows], names)
        _rewrite(graph, node, *quantised[rows])
    return len(layers)


def quantise_weights(weights: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """``[out, in]`` -> int8 ``[in, out]`` and one float32 scale per output."""
    largest = np.abs(weights).max(axis=1)
    scales = (np.where(largest > 0, largest, 1.0) / LARGEST_WEIGHT).astype(np.float32)
    rounded = np.rint(weights / scales[:, None]).clip(-LARGEST_WEIGHT, LARGEST_WEIGHT)
    return np.ascontiguousarray(rounded.T.astype(np.int8)), scales


def _rewrite(
    graph: onnx_ir.Graph, gemm: onnx_ir.Node, rows: onnx_ir.Value, scale: onnx_ir.Value, zero: onnx_ir.Value
) -> None:
    weight, result = input_of(gemm, 1), gemm.outputs[0]
    if weight.const_value is None:
        raise ExportError(f"the weights of the linear layer {gemm.name} are not in the graph")
    integers, scales = quantise_weights(weight.const_value.numpy())
    matrix = add_constant(graph, f"{weight.name}_int8", integers)
    columns = add_constant(graph, f"{weight.name}_scale", scales)
    name = str(result.name)

    # Exactly the pattern that ONNX Runtime fuses into DynamicQuantizeMatMul or MatMulIntegerToFloat.
    (sums,) = insert_before(graph, gemm, "MatMulInteger", [rows, matrix, zero], [f"{name}_sums"])
    (wide,) = insert_before(graph, gemm, "Cast", [sums], [f"{name}_wide"], to=_FLOAT32)
    (both,) = insert_before(graph, gemm, "Mul", [scale, columns], [f"{name}_scale"])
    (out,) = insert_before(graph, gemm, "Mul", [wide, both], [f"{name}_product"])
    if len(gemm.inputs) > 2:
        (out,) = insert_before(graph, gemm, "Add", [out, input_of(gemm, 2)], [f"{name}_biased"])
    out.shape, out.type = result.shape, result.type
    result.replace_all_uses_with(out)
    graph.remove(gemm, safe=True)
    if not weight.uses():
        del graph.initializers[str(weight.name)]
