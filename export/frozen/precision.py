"""Where a frozen graph computes in low precision, and where it must not.

Strongly typed TensorRT builders take every type from the graph, so precision is written here and nowhere else.
Weights, convolutions and matrix products of the network are low; these stay float32 by construction:

* LayerNorm and the residual stream: sums over many layers, cheap to compute;
* softmax: ``exp`` of sums that reach tens;
* cosine similarities and with them the choice of neighbours: they lie close to 1, where float16 has steps of 0.0005
  and most of the eight nearest patches would tie;
* the product with the category matrix: its result decides the label.

In float32 every cast below is the identity and leaves no trace in the graph.

``int8`` is frozen as float32, ``int8_fp16`` as float16; their linear layers are quantised in the written graph, for
ONNX Runtime on a CPU (see :mod:`export.graph.dynamic_int8`) and for TensorRT (see :mod:`export.graph.static_int8`).
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Precision = Literal["fp32", "fp16", "bf16", "int8", "int8_fp16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
DTYPES = {
    "fp32": torch.float32,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
    "int8": torch.float32,
    "int8_fp16": torch.float16,
}

# How attention is written. plain: two products, an addition and a softmax, which every run time knows. fused: one
# Attention operator (operator set 23), which ONNX Runtime's CPU provider runs 12% faster and without copies.
AttentionForm = Literal["plain", "fused"]


class LowLinear(nn.Linear):
    """A linear layer that computes in the type of its weights, whatever comes in."""

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x.to(self.weight.dtype), self.weight, self.bias)


class WideLayerNorm(nn.LayerNorm):
    """A LayerNorm in float32; the result is ``out_dtype``, for what reads it."""

    def __init__(self, norm: nn.LayerNorm, out_dtype: torch.dtype = torch.float32) -> None:
        super().__init__(norm.normalized_shape, eps=norm.eps)
        self.load_state_dict(norm.state_dict())
        self.out_dtype = out_dtype

    def forward(self, x: Tensor) -> Tensor:
        wide = F.layer_norm(x.float(), self.normalized_shape, self.weight, self.bias, self.eps)
        return wide.to(self.out_dtype)


def low_linear(linear: nn.Linear, dtype: torch.dtype) -> LowLinear:
    """A copy of ``linear`` with its weights rounded to ``dtype``."""
    low = LowLinear(linear.in_features, linear.out_features, bias=linear.bias is not None)
    low.load_state_dict(linear.state_dict())
    return low.to(dtype)
