"""Attention and projections with everything constant folded into their matrices; the arithmetic is float64."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from export.frozen.biases import Block
from export.frozen.precision import AttentionForm, LowLinear
from train.models.ofa.attention import BiasedAttention


class FrozenAttention(nn.Module):
    """Attention over flattened rows with scale, head gains and dead biases folded into its four matrices.

    A key bias shifts a whole row of logits, which the softmax undoes (spec 14, surprise 19): dropped. The attention
    weights of a row sum to one, so a value bias reaches every row unchanged: moved into the output bias.
    """

    def __init__(self, attention: BiasedAttention, dtype: torch.dtype, form: AttentionForm = "plain") -> None:
        super().__init__()
        self.form = form
        self.heads, self.head_dim = attention.heads, attention.head_dim
        width = self.heads * self.head_dim
        self.q = LowLinear(width, width, dtype=dtype)
        self.k = LowLinear(width, width, bias=False, dtype=dtype)
        self.v = LowLinear(width, width, bias=False, dtype=dtype)
        self.out = LowLinear(width, width, dtype=dtype)
        set_weight(self.q.weight, attention.q_proj.weight.double() * attention.scale)
        set_weight(self.q.bias, attention.q_proj.bias.double() * attention.scale)
        set_weight(self.k.weight, attention.k_proj.weight)
        set_weight(self.v.weight, attention.v_proj.weight)
        gains = attention.c_attn.double().repeat_interleave(self.head_dim)
        mixed = attention.out_proj.weight.double() * gains[None, :]
        set_weight(self.out.weight, mixed)
        set_weight(self.out.bias, attention.out_proj.bias.double() + mixed @ attention.v_proj.bias.double())

    def forward(self, query: Tensor, memory: Tensor, blocks: list[Block], biases: list[Tensor]) -> Tensor:
        """``query [B * T, D]``, ``memory [B * S, D]``, one ``[H, rows, keys]`` bias per block -> ``[B * T, D]``.

        The last block ends at query T and sees all S keys. B is never named: a graph may leave it open.
        """
        if self.form == "fused":
            return self._fused(query, memory, blocks, biases)
        queries, keys = blocks[-1].stop, blocks[-1].keys
        heads_of = (self.heads, self.head_dim)
        q = self.q(query).reshape(-1, queries, *heads_of).permute(0, 2, 1, 3)
        k = self.k(memory).reshape(-1, keys, *heads_of).permute(0, 2, 3, 1)
        v = self.v(memory).reshape(-1, keys, *heads_of).permute(0, 2, 1, 3)
        parts = []
        for block, bias in zip(blocks, biases, strict=True):
            logits = torch.matmul(q[:, :, block.start : block.stop], k[..., : block.keys]) + bias
            weights = F.softmax(logits.float(), dim=-1).to(v.dtype)
            parts.append(torch.matmul(weights, v[:, :, : block.keys]))
        heads = parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)
        out: Tensor = self.out(heads.permute(0, 2, 1, 3).reshape(-1, self.heads * self.head_dim))
        return out

    def _fused(self, query: Tensor, memory: Tensor, blocks: list[Block], biases: list[Tensor]) -> Tensor:
        width = self.heads * self.head_dim
        q = self.q(query).reshape(-1, blocks[-1].stop, width)
        k, v = (rows.reshape(-1, blocks[-1].keys, width) for rows in (self.k(memory), self.v(memory)))
        parts = [
            torch.onnx.ops.attention(
                q[:, block.start : block.stop],
                k[:, : block.keys],
                v[:, : block.keys],
                bias[None],
                q_num_heads=self.heads,
                kv_num_heads=self.heads,
                scale=1.0,
            )[0]
            for block, bias in zip(blocks, biases, strict=True)
        ]
        heads = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
        out: Tensor = self.out(heads.flatten(0, 1))
        return out


def fold_input_shift(projection: nn.Linear, shift: Tensor) -> nn.Linear:
    """A projection whose bias includes a constant that is added to its output (type embedding, spec 4.3)."""
    folded = nn.Linear(projection.in_features, projection.out_features)
    set_weight(folded.weight, projection.weight)
    set_weight(folded.bias, projection.bias.double() + shift.double())
    return folded


def set_weight(target: Tensor | None, value: Tensor) -> None:
    """Overwrites a parameter with a float64 result, rounded once to the parameter's own type."""
    if target is not None:
        target.data = value.detach().to(target.dtype).clone()
