"""How much arithmetic a model takes, counted in two ways.

``method_flops`` counts what the method asks for, from the model's configuration: every linear layer, convolution,
attention product and the cosine similarities; a product and a sum are two operations. It does not count what depends on
no picture (position biases), nor normalisation and activations. ``graph_flops`` counts what ONNX Runtime really
executes of a file, from its own profile: less where a causal attention skips what nobody sees.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from train.models.ofa.config import ModelConfig

_PATCH = 16
_ERRORS_ONLY = 3
_PRODUCTS = {
    "MatMul",
    "FusedMatMul",
    "Gemm",
    "FusedGemm",
    "GemmFloat8",
    "MatMulInteger",
    "MatMulIntegerToFloat",
    "DynamicQuantizeMatMul",
    "QLinearMatMul",
    "QGemm",
    "MatMulNBits",
}
_CONVOLUTIONS = {"Conv", "FusedConv", "NhwcFusedConv", "NhwcConv", "ConvInteger", "QLinearConv"}
_TURNED_CONVOLUTIONS = {"ConvTranspose"}
_ATTENTIONS = {"Attention", "MultiHeadAttention"}
_COUNTED = _PRODUCTS | _CONVOLUTIONS | _TURNED_CONVOLUTIONS | _ATTENTIONS


def method_flops(config: ModelConfig, size: tuple[int, int], prompt: int, categories: int) -> dict[str, float]:
    """Return the operations of one picture in GFLOP.

    Args:
        config: the model.
        size: input height and width.
        prompt: tokens of the prompt, beginning and end included.
        categories: number of categories.

    Returns:
        ``linear``, ``attention``, ``backbone``, ``cosine`` and their sum ``total``.
    """
    backbone, features = _backbone_flops(config, size)
    patches = math.ceil(size[0] / _PATCH) * math.ceil(size[1] / _PATCH)
    memory, rows, width = patches + prompt, patches + 1, config.d_model
    feed_forward = 2 * width * config.ffn_dim
    encoder = config.encoder_layers * memory * (4 * width**2 + feed_forward)
    decoder = config.decoder_layers * (rows * (6 * width**2 + feed_forward) + memory * 2 * width**2)
    ends = patches * width * (features + categories)
    seen = config.encoder_layers * memory**2 + config.decoder_layers * rows * (rows + memory)
    parts = {
        "linear": 2 * (encoder + decoder + ends),
        "attention": 4 * width * seen,
        "backbone": backbone,
        "cosine": 2 * patches**2 * features,
    }
    parts["total"] = sum(parts.values())
    return {name: round(value / 1e9, 4) for name, value in parts.items()}


def _backbone_flops(config: ModelConfig, size: tuple[int, int]) -> tuple[int, int]:
    """Operations of the image backbone, and how many features it gives, without computing anything."""
    import torch
    from torch import nn

    from train.models.ofa.backbone import build_backbone

    total = 0

    def count(module: nn.Module, inputs: object, output: torch.Tensor) -> None:
        nonlocal total
        weight = module.weight
        # Every element of the output is a product of one row of the weight: [out, in / groups, kh, kw] or [out, in].
        total += 2 * output.numel() * (weight.numel() // weight.shape[0])  # type: ignore[operator, union-attr]

    with torch.device("meta"):
        backbone = build_backbone(config)
        for module in backbone.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                module.register_forward_hook(count)
        with torch.no_grad():
            backbone(torch.zeros(1, 3, *size))
    return total, int(backbone.feature_dim)


def graph_flops(model: Path, threads: int | None = None) -> float | None:
    """Return the GFLOP that ONNX Runtime executes in one run of a model on the CPU, all outputs computed.

    ``None`` where its profile does not show enough. Channels that it adds to fill its vectors count, for they are
    computed.

    Args:
        model: the file; its inputs have fixed shapes.
        threads: of ONNX Runtime; ``None`` for its own choice.
    """
    import numpy as np
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    options.enable_profiling = True
    if threads is not None:
        options.intra_op_num_threads = threads
    types = {"tensor(float)": np.float32, "tensor(int64)": np.int64, "tensor(int32)": np.int32}
    with tempfile.TemporaryDirectory() as folder:
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        feeds = {node.name: np.zeros(node.shape, types[node.type]) for node in session.get_inputs()}
        session.run(None, feeds)
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    try:
        return round(sum(event_flops(event) for event in events) / 1e9, 4)
    except LookupError:
        return None


def event_flops(event: dict[str, Any]) -> int:
    """Return the operations of one event of ONNX Runtime's profile; 0 for what is no product of matrices.

    Raises:
        LookupError: the profile does not show the shapes that they follow from.
    """
    facts = event.get("args", {})
    kind = facts.get("op_name")
    if not str(event.get("name", "")).endswith("_kernel_time") or kind not in _COUNTED:
        return 0
    inputs = [next(iter(tensor.values())) for tensor in facts["input_type_shape"]]
    output = next(iter(facts["output_type_shape"][0].values()))
    if kind in _ATTENTIONS:
        return _attention_flops(inputs, output)
    if kind in _CONVOLUTIONS | _TURNED_CONVOLUTIONS:
        # Four dimensions, and not the image (the first): quantised operators have scales in between.
        weight = next((shape for shape in inputs[1:] if len(shape) > 2), None)
        if weight is None:
            raise LookupError(f"{kind}: the profile does not show its weights")
        # [out, in / groups, kh, kw] for every element that comes out; turned round, for every one that goes in.
        return 2 * math.prod(inputs[0] if kind in _TURNED_CONVOLUTIONS else output) * math.prod(weight[1:])
    # Weights that ONNX Runtime has packed are not shown, the first matrix always is. Some operators may read it turned
    # round: what they sum over follows from its size.
    summed = inputs[0][-1] if kind == "MatMul" else math.prod(inputs[0]) // math.prod(output[:-1])
    return 2 * math.prod(output) * summed


def _attention_flops(inputs: Sequence[Sequence[int]], output: Sequence[int]) -> int:
    """``[B, T, D]`` or ``[B, H, T, d]`` queries: two products over all keys."""
    return 2 * inputs[1][-2] * (math.prod(inputs[0]) + math.prod(output))
