"""Decoder in one parallel pass over the encoder's patch states (spec 7)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from train.models.ofa.attention import BiasedAttention, Residual, drop_path_rates, feed_forward
from train.models.ofa.config import ModelConfig
from train.models.ofa.encoder import pair_bias
from train.models.ofa.positions import Grid, grid_offsets, resample_grid, resample_pairs


class DecoderLayer(nn.Module):
    """Pre-norm self-attention, cross-attention and feed-forward."""

    def __init__(self, config: ModelConfig, drop_path: float) -> None:
        super().__init__()
        d = config.d_model
        self.self_attn = BiasedAttention(config)
        self.self_attn_layer_norm = nn.LayerNorm(d)
        self.self_attn_ln = nn.LayerNorm(d)
        self.encoder_attn = BiasedAttention(config)
        self.encoder_attn_layer_norm = nn.LayerNorm(d)
        self.cross_attn_ln = nn.LayerNorm(d)
        self.fc1 = nn.Linear(d, config.ffn_dim)
        self.fc2 = nn.Linear(config.ffn_dim, d)
        self.ffn_layernorm = nn.LayerNorm(config.ffn_dim)
        self.final_layer_norm = nn.LayerNorm(d)
        self.residual = Residual(config.dropout, drop_path)

    def forward(self, x: Tensor, memory: Tensor, self_bias: Tensor, cross_bias: Tensor) -> Tensor:
        normed = self.self_attn_layer_norm(x)
        x = x + self.residual(self.self_attn_ln(self.self_attn(normed, normed, self_bias)))
        normed = self.encoder_attn_layer_norm(x)
        x = x + self.residual(self.cross_attn_ln(self.encoder_attn(normed, memory, cross_bias)))
        out: Tensor = x + self.residual(feed_forward(self, x))
        return out


class Decoder(nn.Module):
    """Rows ``[bos, patch 0, ..., patch n-1]``; see ``ModelConfig.readout_offset`` for which row is which patch."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        d = config.d_model
        self.config = config
        self.layernorm_embedding = nn.LayerNorm(d)
        self.embed_seg_positions = nn.Embedding(config.grid**2 + 1, d)
        self.seg_pos_ln = nn.LayerNorm(d)
        self.self_pos_q_linear = nn.Linear(d, d)
        self.self_pos_k_linear = nn.Linear(d, d)
        self.cross_pos_q_linear = nn.Linear(d, d)
        self.cross_pos_k_linear = nn.Linear(d, d)
        rates = drop_path_rates(config.drop_path, config.decoder_layers)
        self.layers = nn.ModuleList(DecoderLayer(config, rate) for rate in rates)
        self.layer_norm = nn.LayerNorm(d)
        rows = (2 * config.grid - 1) ** 2 + 3
        self.seg_rel_pos_table_list = nn.ModuleList(
            nn.Embedding(rows, config.heads) for _ in range(config.decoder_layers)
        )

    def target_positions(self, grid: Grid) -> Tensor:
        """Normalised position codes of ``[bos, patches]``, ``[n + 1, D]``."""
        table = self.embed_seg_positions.weight
        patches = resample_grid(table[1:], self.config.grid, grid)
        out: Tensor = self.seg_pos_ln(torch.cat([table[:1], patches]))
        return out

    def relative_bias(self, layer: int, grid: Grid) -> Tensor:
        """Relative bias of one layer over ``[bos, patches]``, ``[H, n + 1, n + 1]``."""
        c = self.config
        table: Tensor = self.seg_rel_pos_table_list[layer].get_parameter("weight")
        native = table[grid_offsets(c.grid, c.grid, table.device)].permute(2, 0, 1)
        body = resample_pairs(native, c.grid, grid)
        n = body.shape[-1]
        bos_to_patch, patch_to_bos, bos_to_bos = table[-3], table[-2], table[-1]
        left = torch.cat([bos_to_bos[:, None], patch_to_bos[:, None].expand(-1, n)], dim=1)
        top = bos_to_patch[:, None, None].expand(-1, 1, n)
        return torch.cat([left[:, :, None], torch.cat([top, body], dim=1)], dim=2)

    def self_biases(self, grid: Grid) -> list[Tensor]:
        """Whole self-attention bias of every layer ``[H, n + 1, n + 1]``, without the causal mask."""
        t = self.target_positions(grid)
        shared = pair_bias(self.config, self.self_pos_q_linear(t), self.self_pos_k_linear(t))
        return [shared + self.relative_bias(layer, grid) for layer in range(self.config.decoder_layers)]

    def causal_mask(self, grid: Grid) -> Tensor | None:
        """``-inf`` above the diagonal ``[n + 1, n + 1]``, or ``None`` for a model that sees everything."""
        if not self.config.causal:
            return None
        rows = grid[0] * grid[1] + 1
        device = self.embed_seg_positions.weight.device
        return torch.full((rows, rows), float("-inf"), device=device).triu(1)

    def cross_bias(self, grid: Grid, positions: Tensor) -> Tensor:
        """Cross-attention bias ``[H, n + 1, n + L]``, shared by all layers; ``positions`` is the encoder's."""
        t = self.target_positions(grid)
        return pair_bias(self.config, self.cross_pos_q_linear(t), self.cross_pos_k_linear(positions))

    def forward(
        self, bos: Tensor, memory: Tensor, patches: int, self_biases: list[Tensor], cross_bias: Tensor
    ) -> Tensor:
        """``bos [D]``, encoder states ``[B, n + L, D]`` -> states ``[B, n + 1, D]``.

        ``self_biases`` include the causal mask where the model has one.
        """
        rows = torch.cat([bos.expand(memory.shape[0], 1, -1), memory[:, :patches]], dim=1)
        x = F.dropout(self.layernorm_embedding(rows), self.config.dropout, self.training)
        for layer, bias in zip(self.layers, self_biases, strict=True):
            x = layer(x, memory, bias, cross_bias)
        out: Tensor = self.layer_norm(x)
        return out
