"""The network that is exported: the image path alone, everything else folded into constants.

What depends only on weights, words and input size (prompt rows, position biases, BatchNorm, scales, head gains, the
category matrix) is computed here once. The stream runs as flat ``[B * rows, D]`` matrices, so that every linear layer
becomes one Gemm with its bias.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from export.frozen.attention import FrozenAttention, fold_input_shift
from export.frozen.backbone import feature_rows
from export.frozen.biases import BiasForm, Block, CompactBiases, choose_biases, self_blocks
from export.frozen.head import FrozenModel, per_picture
from export.frozen.precision import AttentionForm, Precision, WideLayerNorm, low_linear
from ifseg_rt.errors import VocabularyError
from train.models.ofa.decoder import DecoderLayer
from train.models.ofa.encoder import IMAGE_TYPE, EncoderLayer
from train.models.ofa.model import BOS_ID, IFSegModel

PATCH = 16


class FrozenFeedForward(nn.Module):
    """``fc2(ffn_layernorm(gelu(fc1(final_layer_norm(x)))))`` (spec 6)."""

    def __init__(self, layer: EncoderLayer | DecoderLayer, dtype: torch.dtype) -> None:
        super().__init__()
        self.steps = nn.Sequential(
            WideLayerNorm(layer.final_layer_norm, dtype),
            low_linear(layer.fc1, dtype),
            nn.GELU(),
            WideLayerNorm(layer.ffn_layernorm, dtype),
            low_linear(layer.fc2, dtype),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.steps(x)
        return out


class FrozenEncoderLayer(nn.Module):
    """Spec 6 on flat rows."""

    def __init__(self, layer: EncoderLayer, dtype: torch.dtype, form: AttentionForm) -> None:
        super().__init__()
        self.norm = WideLayerNorm(layer.self_attn_layer_norm, dtype)
        self.attention = FrozenAttention(layer.self_attn, dtype, form)
        self.norm_after = WideLayerNorm(layer.attn_ln)
        self.feed_forward = FrozenFeedForward(layer, dtype)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        normed = self.norm(x)
        blocks = [Block(0, bias.shape[1], bias.shape[2])]
        x = x + self.norm_after(self.attention(normed, normed, blocks, [bias]))
        out: Tensor = x + self.feed_forward(x)
        return out


class FrozenDecoderLayer(nn.Module):
    """Spec 7 on flat rows. ``first:first + queries`` are the rows whose result anybody reads; all rows are keys."""

    def __init__(
        self,
        layer: DecoderLayer,
        first: int,
        queries: int,
        blocks: list[Block],
        dtype: torch.dtype,
        form: AttentionForm,
    ) -> None:
        super().__init__()
        self.first, self.queries, self.blocks = first, queries, blocks
        self.self_norm = WideLayerNorm(layer.self_attn_layer_norm, dtype)
        self.self_attention = FrozenAttention(layer.self_attn, dtype, form)
        self.self_norm_after = WideLayerNorm(layer.self_attn_ln)
        self.cross_norm = WideLayerNorm(layer.encoder_attn_layer_norm, dtype)
        self.cross_attention = FrozenAttention(layer.encoder_attn, dtype, form)
        self.cross_norm_after = WideLayerNorm(layer.cross_attn_ln)
        self.feed_forward = FrozenFeedForward(layer, dtype)

    def forward(self, x: Tensor, memory: Tensor, self_biases: list[Tensor], cross_bias: Tensor) -> Tensor:
        keys = self.self_norm(x)
        x, queries = self._read(x), self._read(keys)
        x = x + self.self_norm_after(self.self_attention(queries, keys, self.blocks, self_biases))
        bias = cross_bias[:, self.first : self.first + self.queries]
        blocks = [Block(0, self.queries, cross_bias.shape[2])]
        x = x + self.cross_norm_after(self.cross_attention(self.cross_norm(x), memory, blocks, [bias]))
        out: Tensor = x + self.feed_forward(x)
        return out

    def _read(self, rows: Tensor) -> Tensor:
        count = self.blocks[-1].keys
        if count == self.queries:
            return rows
        return per_picture(rows, count)[:, self.first : self.first + self.queries].flatten(0, 1)


class FrozenSegmenter(FrozenModel):
    """A model of the OFA family, see :class:`export.frozen.head.FrozenModel`.

    Args:
        model: in evaluation mode with its vocabulary set; it is copied, never changed.
        size: input height and width in pixels.
        batch: pictures per call, at most.
        smallest_batch: the fewest, or ``None`` for exactly ``batch``.
        neighbours: neighbours per patch that the refinement averages.
        rounds: how often it averages.
        biases: form of the position biases, see :mod:`export.frozen.biases`.
        precision: of weights and matrix products.
        attention: how it is written, see :mod:`export.frozen.precision`.

    Raises:
        UsageError: settings that do not fit the grid, or a grid outside the model's position table.
        VocabularyError: the model has no categories.

    Example:
        >>> frozen = FrozenSegmenter(model, (384, 512))
        >>> probabilities, logits, neighbours = frozen(torch.zeros(1, 3, 384, 512))
    """

    text: Tensor
    bos: Tensor
    categories: Tensor

    @torch.no_grad()
    def __init__(
        self,
        model: IFSegModel,
        size: tuple[int, int],
        *,
        batch: int = 1,
        smallest_batch: int | None = None,
        neighbours: int = 3,
        rounds: int = 25,
        biases: BiasForm = "auto",
        precision: Precision = "fp32",
        attention: AttentionForm = "plain",
    ) -> None:
        if not len(model.category_embedding):
            raise VocabularyError("the model has no categories to export", hint="name them: --categories")
        averaging = (neighbours, rounds)
        super().__init__(
            size, patch=PATCH, batch=batch, smallest_batch=smallest_batch, averaging=averaging, precision=precision
        )
        config, encoder, decoder = model.config, model.encoder, model.decoder
        self.attention, dtype = attention, self.dtype

        self.features = feature_rows(encoder.embed_images, size, dtype)
        shifted = fold_input_shift(encoder.image_proj, encoder.type_embedding.weight[IMAGE_TYPE])
        self.project = low_linear(shifted, dtype)
        self.patch_norm = WideLayerNorm(encoder.patch_layernorm_embedding)
        text = encoder.layernorm_embedding(encoder.embed_tokens(model.prompt_ids) + encoder.type_embedding.weight[0])
        self.register_buffer("text", text.clone())
        self.encoder_layers = nn.ModuleList(FrozenEncoderLayer(layer, dtype, attention) for layer in encoder.layers)  # type: ignore[arg-type]
        self.encoder_norm = WideLayerNorm(encoder.layer_norm)

        # The row after the last patch is read by nobody: with a causal mask not even as a key.
        self.decoder_rows = self.patches + (0 if config.causal and config.readout_offset == 0 else 1)
        last = len(decoder.layers) - 1
        first_rows = [config.readout_offset if i == last else 0 for i in range(last + 1)]
        queries = [self.patches if i == last else self.decoder_rows for i in range(last + 1)]
        blocks = [
            self_blocks(count, first, self.decoder_rows, causal=config.causal)
            for count, first in zip(queries, first_rows, strict=True)
        ]
        self.embed_norm = WideLayerNorm(decoder.layernorm_embedding)
        self.register_buffer("bos", decoder.layernorm_embedding(encoder.embed_tokens.weight[BOS_ID])[None].clone())
        self.decoder_layers = nn.ModuleList(
            FrozenDecoderLayer(layer, first, count, layer_blocks, dtype, attention)  # type: ignore[arg-type]
            for layer, first, count, layer_blocks in zip(decoder.layers, first_rows, queries, blocks, strict=True)
        )
        self.decoder_norm = WideLayerNorm(decoder.layer_norm)
        self.register_buffer("categories", model.category_embedding.clone())

        compact = CompactBiases(model, self.grid, self.decoder_rows, blocks, first_rows, dtype)
        self.biases = choose_biases(compact, biases)
        self.finish()

    def score(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """See :meth:`export.frozen.head.FrozenModel.score`."""
        features = self.features(image.to(self.dtype))
        return self._logits(features), features

    def _logits(self, features: Tensor) -> Tensor:
        encoder_biases, self_biases, cross_bias = self.biases()
        patches = per_picture(self.patch_norm(self.project(features)), self.patches)
        batch, memory_rows = patches.shape[0], self.patches + self.text.shape[0]
        x = torch.cat([patches, self.text.expand(batch, -1, -1)], dim=1).flatten(0, 1)
        for layer, bias in zip(self.encoder_layers, encoder_biases, strict=True):
            x = layer(x, bias)
        memory = self.encoder_norm(x)
        used = per_picture(memory, memory_rows)[:, : self.decoder_rows - 1]
        rows = torch.cat([self.bos.expand(batch, -1, -1), self.embed_norm(used)], dim=1).flatten(0, 1)
        memory = memory.to(self.dtype)
        for layer, biases in zip(self.decoder_layers, self_biases, strict=True):
            rows = layer(rows, memory, biases, cross_bias)
        return F.linear(self.decoder_norm(rows), self.categories)
