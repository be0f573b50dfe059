"""Every attention bias of a frozen model, as a few small factors instead of large tables.

A bias depends only on weights, words and grid, so a frozen graph could carry it as ``[H, T, S]`` constants; they would
be most of the file (``micro`` at 384x512: 20 of 43 MB; ``base`` at 512x512: 0.6 of 1.1 GB). Instead the graph carries

* the absolute term as its two factors: ``[H, T, d]`` times ``[H, d, S]`` (spec 5 and 7);
* the relative term as its table. Resampling a table of displacements over query and key axes is linear and separable,
  so for grid rows alone it is a matrix ``[h*h, 63]`` (row pair -> displacement) and for columns one of ``[w*w, 63]``:
  ``bias = rows @ table @ columns^T``, the same for every layer and exact for every grid.

None of the operators below has an input that depends on the picture. ONNX Runtime folds all of them into plain
constants when it opens the model (a test checks the optimised graph), so nothing is paid per frame.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice, pairwise

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
_ROWS_PER_BLOCK = 32  # below this a block costs more in calls than it saves in work


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
        self.register_buffer("rows", _pair_weights(side, grid[0]))
        self.register_buffer("columns", _pair_weights(side, grid[1]).t().contiguous())

    def forward(self, table: Tensor) -> Tensor:
        h, w = self.grid
        pairs = torch.matmul(torch.matmul(self.rows, table), self.columns)
        return pairs.reshape(-1, h, h, w, w).permute(0, 1, 3, 2, 4).reshape(-1, h * w, h * w)


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
    """

    buckets: Tensor
    rows_index: Tensor

    def __init__(
        self, model: IFSegModel, grid: Grid, rows: int, blocks: list[list[Block]], first_rows: list[int]
    ) -> None:
        super().__init__()
        encoder, decoder, config = model.encoder, model.decoder, model.config
        self.text_len = len(model.prompt_ids)
        self.patches = grid[0] * grid[1]
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

    def forward(self) -> tuple[list[Tensor], list[list[Tensor]], Tensor]:
        return self._encoder(), self._decoder_self(), self.cross_absolute()

    def _encoder(self) -> list[Tensor]:
        shared = self.encoder_absolute()
        n, text_len = self.patches, self.text_len
        out = []
        for image_table, text_table in zip(self.image_tables, self.text_tables, strict=True):
            image = F.pad(self.relative(image_table), (0, text_len, 0, text_len))
            text = F.pad(text_table[:, self.buckets], (n, 0, n, 0))
            out.append(shared + image + text)
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
    """The same biases as plain constants, for builders that do not fold constant operators by themselves."""

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
    """Weight of every displacement for every (query, key) pair of one axis, ``[length^2, 2 * side - 1]``.

    Query and key are each a bilinear mixture of two native cells, so a pair is a mixture of at most four displacements.
    """
    mixture = bilinear_matrix(side, length)
    weights = torch.zeros(length, length, 2 * side - 1, dtype=torch.float64)
    for query_cell in range(side):
        for key_cell in range(side):
            pair = mixture[:, query_cell, None] * mixture[None, :, key_cell]
            weights[:, :, query_cell - key_cell + side - 1] += pair
    return weights.flatten(0, 1).float()
