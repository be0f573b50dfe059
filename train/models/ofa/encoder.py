"""Encoder over patches and prompt, with positions as attention bias only (spec 4.3 to 6)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from train.models.ofa.attention import BiasedAttention, Residual, drop_path_rates, feed_forward
from train.models.ofa.backbone import build_backbone
from train.models.ofa.config import ModelConfig
from train.models.ofa.positions import Grid, grid_offsets, image_position_rows, resample_pairs, token_buckets

TEXT_TYPE, IMAGE_TYPE = 0, 1


class EncoderLayer(nn.Module):
    """Pre-norm self-attention and feed-forward with the extra norms of spec 6."""

    def __init__(self, config: ModelConfig, drop_path: float) -> None:
        super().__init__()
        d = config.d_model
        self.self_attn = BiasedAttention(config)
        self.self_attn_layer_norm = nn.LayerNorm(d)
        self.attn_ln = nn.LayerNorm(d)
        self.fc1 = nn.Linear(d, config.ffn_dim)
        self.fc2 = nn.Linear(config.ffn_dim, d)
        self.ffn_layernorm = nn.LayerNorm(config.ffn_dim)
        self.final_layer_norm = nn.LayerNorm(d)
        self.residual = Residual(config.dropout, drop_path)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        normed = self.self_attn_layer_norm(x)
        x = x + self.residual(self.attn_ln(self.self_attn(normed, normed, bias)))
        out: Tensor = x + self.residual(feed_forward(self, x))
        return out


class Encoder(nn.Module):
    """Embeds patches and prompt and runs the encoder stack over ``[patches, text]``."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        d = config.d_model
        self.config = config
        self.embed_tokens = nn.Embedding(config.vocab_size, d)
        self.layernorm_embedding = nn.LayerNorm(d)
        self.type_embedding = nn.Embedding(2, d)
        self.embed_images = build_backbone(config)
        self.image_proj = nn.Linear(self.embed_images.feature_dim, d)
        self.patch_layernorm_embedding = nn.LayerNorm(d)
        self.embed_positions = nn.Embedding(config.max_text_positions, d)
        self.embed_image_positions = nn.Embedding(config.image_bucket**2 + 1, d)
        self.pos_ln = nn.LayerNorm(d)
        self.image_pos_ln = nn.LayerNorm(d)
        self.pos_q_linear = nn.Linear(d, d)
        self.pos_k_linear = nn.Linear(d, d)
        rates = drop_path_rates(config.drop_path, config.encoder_layers)
        self.layers = nn.ModuleList(EncoderLayer(config, rate) for rate in rates)
        self.layer_norm = nn.LayerNorm(d)
        token_rows = 2 * config.token_bucket - 1
        image_rows = (2 * config.image_bucket - 1) ** 2 + 3
        layers = range(config.encoder_layers)
        self.token_rel_pos_table_list = nn.ModuleList(nn.Embedding(token_rows, config.heads) for _ in layers)
        self.image_rel_pos_table_list = nn.ModuleList(nn.Embedding(image_rows, config.heads) for _ in layers)

    def embed_patches(self, patches: Tensor) -> Tensor:
        """Projected features or word embeddings ``[B, n, D]`` -> encoder input rows (spec 4.3)."""
        x = self.patch_layernorm_embedding(patches + self.type_embedding.weight[IMAGE_TYPE])
        return F.dropout(x, self.config.dropout, self.training)

    def embed_text(self, prompt_ids: Tensor) -> Tensor:
        """Prompt ids ``[L]`` -> encoder input rows ``[L, D]`` (spec 4.4)."""
        x = self.layernorm_embedding(self.embed_tokens(prompt_ids) + self.type_embedding.weight[TEXT_TYPE])
        return F.dropout(x, self.config.dropout, self.training)

    def positions(self, grid: Grid, text_len: int) -> Tensor:
        """Normalised position codes of ``[patches, text]``, ``[n + L, D]`` (spec 5)."""
        c = self.config
        image = image_position_rows(
            self.embed_image_positions.weight, c.image_bucket, c.grid, grid,
            always_resample=c.resample_positions == "always",
        )  # fmt: skip
        text = self.embed_positions.weight[:text_len]
        return torch.cat([self.image_pos_ln(image), self.pos_ln(text)])

    def absolute_bias(self, positions: Tensor) -> Tensor:
        """The part of the bias that all layers share, ``[H, T, T]``."""
        return pair_bias(self.config, self.pos_q_linear(positions), self.pos_k_linear(positions))

    def relative_biases(self, layer: int, grid: Grid, text_len: int) -> tuple[Tensor, Tensor]:
        """Image-image ``[H, n, n]`` and text-text ``[H, L, L]`` bias of one layer."""
        c = self.config
        image_table: Tensor = self.image_rel_pos_table_list[layer].get_parameter("weight")
        native = image_table[grid_offsets(c.grid, c.image_bucket, image_table.device)].permute(2, 0, 1)
        text_table: Tensor = self.token_rel_pos_table_list[layer].get_parameter("weight")
        text = text_table[token_buckets(text_len, c.token_bucket, text_table.device)].permute(2, 0, 1)
        return resample_pairs(native, c.grid, grid), text

    def layer_biases(self, positions: Tensor, grid: Grid, text_len: int) -> list[Tensor]:
        """Whole bias of every layer, each ``[H, n + L, n + L]`` (queries, keys)."""
        shared = self.absolute_bias(positions)
        n = grid[0] * grid[1]
        biases = []
        for layer in range(self.config.encoder_layers):
            image, text = self.relative_biases(layer, grid, text_len)
            biases.append(shared + F.pad(image, (0, text_len, 0, text_len)) + F.pad(text, (n, 0, n, 0)))
        return biases

    def forward(self, patches: Tensor, prompt_ids: Tensor, biases: list[Tensor]) -> Tensor:
        """Patches ``[B, n, D]`` before type and norm, prompt ``[L]`` -> final states ``[B, n + L, D]``."""
        text = self.embed_text(prompt_ids.expand(patches.shape[0], -1))
        x = torch.cat([self.embed_patches(patches), text], dim=1)
        for layer, bias in zip(self.layers, biases, strict=True):
            x = layer(x, bias)
        out: Tensor = self.layer_norm(x)
        return out


def pair_bias(config: ModelConfig, q: Tensor, k: Tensor) -> Tensor:
    """``(factor * d)^-0.5 <q_i, k_j>`` per head: ``[T, D]``, ``[S, D]`` -> ``[H, T, S]``."""
    scale = (config.attn_scale_factor * config.head_dim) ** -0.5
    heads_q = (q * scale).unflatten(-1, (config.heads, config.head_dim)).transpose(0, 1)
    heads_k = k.unflatten(-1, (config.heads, config.head_dim)).transpose(0, 1)
    return torch.matmul(heads_q, heads_k.transpose(-1, -2))
