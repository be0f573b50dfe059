"""Every attention bias of a frozen model, as a few small factors or as large tables.

A bias depends only on weights, words and grid. As ``[H, T, S]`` constants the biases are the larger part of a graph, so
a graph carries what they are made of instead:

* the absolute term is a product ``[H, T, d]`` times ``[H, d, S]`` (spec 5 and 7), shared by all layers of a stack;
* the relative term, text distances, the decoder's first row and the causal mask are one gather out of a short list of
  values per head and layer (see :mod:`export.frozen.relative`), at places that all layers of a stack share.

None of these operators has an input that depends on the picture. ONNX Runtime folds all of them into plain constants
when it opens a model (a test looks at the optimised graph), so nothing is paid per frame. It keeps every intermediate
result until all are folded, so the form is chosen to have few: a gather and an addition for each bias. Measured on two
cores with 12 categories, seconds to open, and the largest memory of a process that opens a model and runs it:

| model, input | factors | tables |
| micro, 512x512 | 24.1 MB, 0.21 s, 0.24 GB | 55.5 MB, 0.17 s, 0.30 GB |
| tiny, 512x512 | 72 MB | 196 MB |
| base, 512x512 | 532 MB, 2.9 s, 1.94 GB | 1075 MB, 1.8 s, 1.87 GB |
| base, 384x640 | 531 MB, 2.7 s, 1.80 GB | 1008 MB, 1.6 s, 1.79 GB |
| base, 496x720 | 539 MB, 7.7 s, 3.75 GB | 1547 MB, 2.5 s, 2.68 GB |

The last grid, 31 x 45, has no divisor in common with the native one: no two pairs of rows or columns mix alike, and the
list of values is as long as the table. Weights alone are 20.7, 65 and 510 MB: with factors a model of any grid takes
less than 1.2 times that. ``auto`` means factors. Tables are for builders that fold nothing by themselves.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from export.frozen.relative import GridValues, take
from train.models.ofa.config import ModelConfig
from train.models.ofa.model import IFSegModel
from train.models.ofa.positions import Grid, token_buckets

# Causal queries are split into this many blocks, each of which sees only the keys up to its own end: 5/8 of the
# attention work and of the bias memory remain.
_CAUSAL_BLOCKS = 4
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
    """``(factor * d)^-0.5 <q_i, k_j>`` per head as two factors; forward gives ``[H, rows, keys]``."""

    queries: Tensor
    keys: Tensor

    def __init__(self, config: ModelConfig, queries: Tensor, keys: Tensor) -> None:
        super().__init__()
        scale = (config.attn_scale_factor * config.head_dim) ** -0.5
        heads = (-1, config.heads, config.head_dim)
        self.register_buffer("queries", (queries * scale).reshape(heads).transpose(0, 1).contiguous())
        self.register_buffer("keys", keys.reshape(heads).permute(1, 2, 0).contiguous())

    def forward(self, first: int = 0, last: int | None = None, keys: int | None = None) -> Tensor:
        """Of query rows ``first:last`` and the leading ``keys``; of all by default."""
        return torch.matmul(self.queries[:, first:last], self.keys[:, :, :keys])


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
    zero: Tensor
    masked: Tensor
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
        self.causal = config.causal
        # The same blocks of every layer, each with the row of its first query among all rows.
        self.blocks = [
            [Block(first + block.start, first + block.stop, block.keys) for block in layer]
            for layer, first in zip(blocks, first_rows, strict=True)
        ]
        device = model.prompt_ids.device
        positions = encoder.positions(grid, self.text_len)
        targets = decoder.target_positions(grid)[:rows]
        self.grid_values = GridValues(config.grid, grid)
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
        buckets = token_buckets(self.text_len, config.token_bucket, device)
        lowest, highest = int(buckets.min()), int(buckets.max())
        self.text_values = _buffers(
            table[lowest : highest + 1].t() for table in _tables(encoder.token_rel_pos_table_list)
        )
        self.register_buffer("buckets", (buckets - lowest).int())
        tables = _tables(decoder.seg_rel_pos_table_list)
        self.target_tables = _buffers(_displacements(table, config.grid, config.grid) for table in tables)
        # Last rows of a table: bos as query, as key, as both (spec 7).
        self.target_corners = _buffers(table[-3:].t() for table in tables)
        self.register_buffer("zero", torch.zeros(config.heads, 1, device=device))
        self.register_buffer("masked", torch.full((config.heads, 1), float("-inf"), device=device))
        self.register_buffer("rows_index", torch.arange(rows, device=device, dtype=torch.int32))

    def forward(self) -> tuple[list[Tensor], list[list[Tensor]], Tensor]:
        return self._encoder(), self._decoder_self(), self.cross_absolute().to(self.dtype)

    def _encoder(self) -> list[Tensor]:
        shared, places = self.encoder_absolute(), self._encoder_places()
        out = []
        for table, text in zip(self.image_tables, self.text_values, strict=True):
            values = torch.cat([self.grid_values(table), text, self.zero], dim=1)
            out.append((shared + take(values, places)).to(self.dtype))
        return out

    def _encoder_places(self) -> Tensor:
        """int32 ``[n + L, n + L]`` into grid values, text values, zero."""
        n, text_len, count = self.patches, self.text_len, self.grid_values.count
        nothing = count + self.text_values[0].shape[1]
        top = F.pad(self.grid_values.places(), (0, text_len), value=nothing)
        return torch.cat([top, F.pad(self.buckets + count, (n, 0), value=nothing)])

    def _decoder_self(self) -> list[list[Tensor]]:
        places = self._decoder_places()
        # Layers have the same blocks, but for the last one of a model that reads other rows.
        distinct = dict.fromkeys(block for blocks in self.blocks for block in blocks)
        places_of = {b: places[b.start : b.stop, : b.keys] for b in distinct}
        shared = {b: self.self_absolute(b.start, b.stop, b.keys) for b in distinct}
        out = []
        for table, corner, blocks in zip(self.target_tables, self.target_corners, self.blocks, strict=True):
            values = torch.cat([self.grid_values(table), corner, self.masked], dim=1)
            out.append([(shared[b] + take(values, places_of[b])).to(self.dtype) for b in blocks])
        return out

    def _decoder_places(self) -> Tensor:
        """int32 ``[rows, rows]`` into grid values, the three corners, minus infinity."""
        rows, count = len(self.rows_index), self.grid_values.count
        bos_to_patch, patch_to_bos, bos_to_bos, masked = range(count, count + 4)
        top = F.pad(self.buckets[:1, :1] * 0 + bos_to_bos, (0, self.patches), value=bos_to_patch)
        places = torch.cat([top, F.pad(self.grid_values.places(), (1, 0), value=patch_to_bos)])[:rows, :rows]
        if self.causal:
            seen = self.rows_index[:, None] >= self.rows_index[None, :]
            places = torch.where(seen, places, masked)
        return places


class DenseBiases(nn.Module):
    """The same biases as plain constants: for builders that fold nothing by themselves."""

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
    return DenseBiases(compact) if form == "tables" else compact


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
