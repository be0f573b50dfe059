"""Every attention bias of a frozen model, as a few small factors or as large tables.

A bias depends only on weights, words and grid. As ``[H, T, S]`` constants the biases are the larger part of a graph, so
a graph can carry their factors instead:

* the absolute term is a product ``[H, T, d]`` times ``[H, d, S]`` (spec 5 and 7);
* the relative term is its table. Resampling a table of displacements over query and key axes is linear and separable,
  so for grid rows alone it is a matrix ``[h, h, 63]`` (row pair -> displacement) and for columns one of ``[w, w, 63]``;
  both are shared by all layers, and exact for every grid.

None of these operators has an input that depends on the picture. ONNX Runtime folds all of them into plain constants
when it opens a model (a test looks at the optimised graph), so nothing is paid per frame. But it keeps every
intermediate result until all are folded, about eight times the final tables. Sizes of all constants in MB:

| model, categories, input | factors | tables |
| micro, 11, 384x512 | 23.6 | 40.5 |
| micro, 11, 512x512 | 24.5 | 55.5 |
| tiny, 12, 512x512 | 72 | 196 |
| base, 12, 512x512 | 533 | 1076 |

Factors pay where the tables are small. Opening ``base`` took 5.2 GB of memory with factors and 1.4 GB with tables, and
several times as long: ``auto`` takes factors only up to 64 MB of tables.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from export.resampling import bilinear_matrix
from train.config import ModelConfig
from train.model import IFSegModel
from train.model.positions import Grid, token_buckets

# Causal queries are split into this many blocks, each of which sees only the keys up to its own end: 5/8 of the
# attention work and of the bias memory remain.
_CAUSAL_BLOCKS = 4
_LARGEST_FACTORED_BYTES = 64_000_000
_ROWS_PER_BLOCK = 32  # below this a block costs more in calls than it saves in work


BiasForm = Literal["auto", "factors", "tables"]


@dataclass(frozen=True)
class Block:
    """Queries ``start:stop`` of an attention and the number of leading ``keys`` they see."""

    start: int
    stop: int
    keys: int


def self_blocks(queries: int, first_row: int, rows: int, *, causal: bool) -> list[Block]:
    """Splits ``queries`` decoder rows, beginning at row ``first_row`` of ``rows``, into attention blocks."""
    if not causal:
        return [Block(0, queries, rows)]
    count = min(_CAUSAL_BLOCKS, max(1, queries // _ROWS_PER_BLOCK))
    edges = [queries * i // count for i in range(count + 1)]
    return [Block(start, stop, first_row + stop) for start, stop in pairwise(edges)]


class AbsoluteBias(nn.Module):
    """``(factor * d)^-0.5 <q_i, k_j>`` per head as two factors; forward gives ``[H, T, S]``."""

    queries: Tensor
    keys: Tensor

    def __init__(self, config: ModelConfig, queries: Tensor, keys: Tensor) -> None:
        super().__init__()
        scale = (config.attn_scale_factor * config.head_dim) ** -0.5
        heads = (-1, config.heads, config.head_dim)
        self.register_buffer("queries", (queries * scale).reshape(heads).transpose(0, 1).contiguous())
        self.register_buffer("keys", keys.reshape(heads).permute(1, 2, 0).contiguous())

    def forward(self) -> Tensor:
        return torch.matmul(self.queries, self.keys)


class RelativeGrid(nn.Module):
    """Displacement tables ``[H, 2 * side - 1, 2 * side - 1]`` -> biases ``[H, n, n]`` of a resampled grid."""

    rows: Tensor
    columns: Tensor

    def __init__(self, side: int, grid: Grid) -> None:
        super().__init__()
        self.grid = grid
        self.register_buffer("rows", _pair_weights(side, grid[0]).flatten(0, 1))
        self.register_buffer("columns", _pair_weights(side, grid[1]).transpose(1, 2).contiguous())

    def forward(self, table: Tensor) -> Tensor:
        h, w = self.grid
        by_rows = torch.matmul(self.rows, table).reshape(-1, h, 1, h, table.shape[-1])
        # [H, h, 1, h, 63] @ [w, 63, w]: the result [H, h, w, h, w] needs no turning, only another shape.
        return torch.matmul(by_rows, self.columns).reshape(-1, h * w, h * w)


class CompactBiases(nn.Module):
    """All biases of one model for one grid and prompt.

    ``forward()`` gives the encoder's per layer ``[H, n + L, n + L]``, the decoder's self-attention per layer and block
    ``[H, block, keys]`` with the causal mask, and the decoder's cross-attention ``[H, rows, n + L]``.

    Args:
        model: its vocabulary must be set.
        grid: patch rows and columns.
        rows: decoder rows that exist.
        blocks: attention blocks per decoder layer.
        first_rows: row of the first query per decoder layer.
        dtype: of the biases that come out; the factors stay float32, so that every bias is rounded once.
    """

    buckets: Tensor
    rows_index: Tensor

    def __init__(
        self,
        model: IFSegModel,
        grid: Grid,
        rows: int,
        blocks: list[list[Block]],
        first_rows: list[int],
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.dtype = dtype
        encoder, decoder, config = model.encoder, model.decoder, model.config
        self.text_len = len(model.prompt_ids)
        self.patches = grid[0] * grid[1]
        self.heads = config.heads
        self.causal = config.causal
        self.blocks = blocks
        self.first_rows = first_rows
        device = model.prompt_ids.device
        positions = encoder.positions(grid, self.text_len)
        targets = decoder.target_positions(grid)[:rows]
        self.relative = RelativeGrid(config.grid, grid)
        self.encoder_absolute = AbsoluteBias(config, encoder.pos_q_linear(positions), encoder.pos_k_linear(positions))
        self.self_absolute = AbsoluteBias(
            config, decoder.self_pos_q_linear(targets), decoder.self_pos_k_linear(targets)
        )
        self.cross_absolute = AbsoluteBias(
            config, decoder.cross_pos_q_linear(targets), decoder.cross_pos_k_linear(positions)
        )
        self.image_tables = _buffers(
            _displacements(table, config.image_bucket, config.grid)
            for table in _tables(encoder.image_rel_pos_table_list)
        )
        self.text_tables = _buffers(table.t() for table in _tables(encoder.token_rel_pos_table_list))
        self.register_buffer("buckets", token_buckets(self.text_len, config.token_bucket, device).int())
        tables = _tables(decoder.seg_rel_pos_table_list)
        self.target_tables = _buffers(_displacements(table, config.grid, config.grid) for table in tables)
        # Last rows of a table: bos as query, as key, as both (spec 7).
        self.target_corners = _buffers(table[-3:].t() for table in tables)
        self.register_buffer("rows_index", torch.arange(rows, device=device, dtype=torch.int32))

    @property
    def table_bytes(self) -> int:
        """What the biases take as tables."""
        keys = self.patches + self.text_len
        encoder = len(self.image_tables) * keys * keys
        decoder = sum((block.stop - block.start) * block.keys for blocks in self.blocks for block in blocks)
        return self.dtype.itemsize * self.heads * (encoder + decoder + len(self.rows_index) * keys)

    def forward(self) -> tuple[list[Tensor], list[list[Tensor]], Tensor]:
        encoder = [bias.to(self.dtype) for bias in self._encoder()]
        decoder = [[bias.to(self.dtype) for bias in blocks] for blocks in self._decoder_self()]
        return encoder, decoder, self.cross_absolute().to(self.dtype)

    def _encoder(self) -> list[Tensor]:
        shared = self.encoder_absolute()
        n, text_len = self.patches, self.text_len
        out = []
        for image_table, text_table in zip(self.image_tables, self.text_tables, strict=True):
            top = F.pad(self.relative(image_table), (0, text_len))
            rest = F.pad(text_table[:, self.buckets], (n, 0))
            out.append(shared + torch.cat([top, rest], dim=1))
        return out

    def _decoder_self(self) -> list[list[Tensor]]:
        shared = self.self_absolute()
        rows, n = len(self.rows_index), self.patches
        out = []
        for table, corner, blocks, first in zip(
            self.target_tables, self.target_corners, self.blocks, self.first_rows, strict=True
        ):
            body = self.relative(table)
            bos_to_patch, patch_to_bos, bos_to_bos = corner[:, 0], corner[:, 1], corner[:, 2]
            top = torch.cat([bos_to_bos[:, None, None], bos_to_patch[:, None, None].expand(-1, 1, n)], dim=2)
            rest = torch.cat([patch_to_bos[:, None, None].expand(-1, n, 1), body], dim=2)
            bias = shared + torch.cat([top, rest], dim=1)[:, :rows, :rows]
            if self.causal:
                seen = self.rows_index[:, None] >= self.rows_index[None, :]
                bias = torch.where(seen, bias, float("-inf"))
            out.append([bias[:, first + b.start : first + b.stop, : b.keys] for b in blocks])
        return out


class DenseBiases(nn.Module):
    """The same biases as plain constants: for large models, and builders that fold nothing by themselves."""

    def __init__(self, compact: CompactBiases) -> None:
        super().__init__()
        encoder, decoder, cross = compact()
        self.encoder = _buffers(encoder)
        self.decoder = _buffers(block for blocks in decoder for block in blocks)
        self.per_layer = [len(blocks) for blocks in decoder]
        self.cross = _buffers([cross])

    def forward(self) -> tuple[list[Tensor], list[list[Tensor]], Tensor]:
        blocks = iter(self.decoder)
        return list(self.encoder), [list(islice(blocks, count)) for count in self.per_layer], self.cross[0]


def choose_biases(compact: CompactBiases, form: BiasForm) -> CompactBiases | DenseBiases:
    """The biases in the form asked for; ``auto`` is explained at the top of this module."""
    if form == "auto":
        form = "factors" if compact.table_bytes <= _LARGEST_FACTORED_BYTES else "tables"
    return compact if form == "factors" else DenseBiases(compact)


def _buffers(tensors: Iterable[Tensor]) -> nn.ParameterList:
    """Frozen tensors that follow the module; a ParameterList, because modules have no list of buffers."""
    frozen = [nn.Parameter(t.detach().clone().contiguous(), requires_grad=False) for t in tensors]
    return nn.ParameterList(frozen)


def _displacements(table: Tensor, table_side: int, side: int) -> Tensor:
    """The part of a relative table that a ``side x side`` grid uses: ``[H, 2 * side - 1, 2 * side - 1]``."""
    span = 2 * table_side - 1
    square = table[: span * span].reshape(span, span, -1)
    edge = table_side - side
    return square[edge : span - edge, edge : span - edge].permute(2, 0, 1)


def _tables(embeddings: nn.ModuleList) -> list[Tensor]:
    return [table.weight for table in embeddings if isinstance(table, nn.Embedding)]


def _pair_weights(side: int, length: int) -> Tensor:
    """Weight of every displacement for every (query, key) pair of one axis, ``[length, length, 2 * side - 1]``.

    Query and key are each a bilinear mixture of two native cells, so a pair is a mixture of at most four displacements.
    """
    mixture = bilinear_matrix(side, length)
    weights = torch.zeros(length, length, 2 * side - 1, dtype=torch.float64)
    for query_cell in range(side):
        for key_cell in range(side):
            pair = mixture[:, query_cell, None] * mixture[None, :, key_cell]
            weights[:, :, query_cell - key_cell + side - 1] += pair
    return weights.float()
