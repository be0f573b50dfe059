"""Multi-head attention with an additive bias and learned head gains, and the blocks both stacks share (spec 6)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from train.models.ofa.config import ModelConfig


class BiasedAttention(nn.Module):
    """Scaled dot-product attention; head outputs are multiplied by ``c_attn`` before ``out_proj``.

    ``query [B, T, D]``, ``memory [B, S, D]``, ``bias [H, T, S]`` (added to the logits of every batch element,
    ``-inf`` masks) -> ``[B, T, D]``. Softmax runs in float32.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.head_dim = config.head_dim
        self.scale = (config.attn_scale_factor * config.head_dim) ** -0.5
        self.q_proj = nn.Linear(config.d_model, config.d_model)
        self.k_proj = nn.Linear(config.d_model, config.d_model)
        self.v_proj = nn.Linear(config.d_model, config.d_model)
        self.out_proj = nn.Linear(config.d_model, config.d_model)
        self.c_attn = nn.Parameter(torch.ones(config.heads))

    def _split(self, x: Tensor) -> Tensor:
        split: Tensor = x.unflatten(-1, (self.heads, self.head_dim)).transpose(1, 2)
        return split

    def forward(self, query: Tensor, memory: Tensor, bias: Tensor) -> Tensor:
        q = self._split(self.q_proj(query) * self.scale)
        k = self._split(self.k_proj(memory))
        v = self._split(self.v_proj(memory))
        if q.requires_grad and q.device.type == "cpu" and q.dtype == bias.dtype:
            # Training on a CPU: the logits of one sample (9 MB for two heads of 1040 rows) stay in the cache and
            # their memory is reused, those of a batch of 16 are fetched from new pages at every operation. Forward
            # and backward of an attention of micro: 0.36 s instead of 0.69 s, the same values.
            # Mixed precision adds the float32 bias to the logits before anything is rounded, which baddbmm does not.
            heads = torch.stack([_attend_sample(*sample, bias) for sample in zip(q, k, v, strict=True)])
        else:
            logits = torch.matmul(q, k.transpose(-1, -2)) + bias
            heads = torch.matmul(F.softmax(logits.float(), dim=-1).to(v.dtype), v)
        out: Tensor = self.out_proj((heads * self.c_attn[:, None, None]).transpose(1, 2).flatten(2))
        return out


def _attend_sample(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    """``[H, T, d]``, ``[H, S, d]`` twice, ``[H, T, S]`` -> ``[H, T, d]``."""
    logits = torch.baddbmm(bias, q, k.transpose(-1, -2))
    return torch.bmm(F.softmax(logits.float(), dim=-1).to(v.dtype), v)


class Residual(nn.Module):
    """Dropout, then stochastic depth per sample with survivors scaled up; the identity when not training."""

    def __init__(self, dropout: float, drop_path: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.drop_path = drop_path

    def forward(self, branch: Tensor) -> Tensor:
        if not self.training:
            return branch
        branch = F.dropout(branch, self.dropout)
        if self.drop_path > 0:
            keep = 1.0 - self.drop_path
            mask = torch.rand(branch.shape[0], 1, 1, device=branch.device) < keep
            branch = branch * (mask.to(branch.dtype) / keep)
        return branch


def feed_forward(layer: nn.Module, x: Tensor) -> Tensor:
    """``fc2(ffn_layernorm(gelu(fc1(final_layer_norm(x)))))`` with exact GELU in float32."""
    hidden = layer.fc1(layer.final_layer_norm(x))  # type: ignore[operator]
    activated = F.gelu(hidden.float()).to(hidden.dtype)
    out: Tensor = layer.fc2(layer.ffn_layernorm(activated))  # type: ignore[operator]
    return out


def drop_path_rates(largest: float, layers: int) -> list[float]:
    """Rates from 0 at the first layer to ``largest`` at the last."""
    return [largest * i / max(layers - 1, 1) for i in range(layers)]
