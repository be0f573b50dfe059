"""Relative position biases as one gather: a short list of values per head and a matrix of places in that list.

A relative bias depends on where the query and the key lie towards each other. On a grid, a pair of rows is a mixture of
displacements, a pair of columns likewise, and many pairs are the same mixture: of 1024 pairs of rows 63 differ on the
native 32 x 32 grid; of 576 pairs of rows and 1600 of columns on a grid of 24 x 40, 90 and 292. The values of all
combinations of both are few (spec 5, resampling is linear and separable, so this is exact on every grid). Everything
that is no pair of patches is appended to them: text distances, the decoder's first row, zero, and minus infinity where
a causal decoder must not look.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from export.frozen.resampling import bilinear_matrix
from train.models.ofa.positions import Grid

# Mixtures that differ by less are one: weights are float64 sums of products of halves, thirds and the like.
_SAME = 1e-9


class GridValues(nn.Module):
    """Displacement tables of a native grid -> the values of a resampled grid, and where each pair finds its own.

    Args:
        side: of the native grid.
        grid: rows and columns of the grid in use.
    """

    rows: Tensor
    columns: Tensor
    row_places: Tensor
    column_places: Tensor

    def __init__(self, side: int, grid: Grid) -> None:
        super().__init__()
        rows, row_places = _distinct_mixtures(side, grid[0])
        columns, column_places = _distinct_mixtures(side, grid[1])
        self.patches = grid[0] * grid[1]
        self.count = len(rows) * len(columns)
        self.register_buffer("rows", rows)
        self.register_buffer("columns", columns.t().contiguous())
        self.register_buffer("row_places", row_places * len(columns))
        self.register_buffer("column_places", column_places)

    def forward(self, table: Tensor) -> Tensor:
        """Displacement table ``[H, 2 * side - 1, 2 * side - 1]`` -> values ``[H, count]``."""
        return torch.matmul(torch.matmul(self.rows, table), self.columns).flatten(1)

    def places(self) -> Tensor:
        """Which value a (query, key) pair takes: int32 ``[n, n]``."""
        pairs = self.row_places[:, None, :, None] + self.column_places[None, :, None, :]
        return pairs.reshape(self.patches, self.patches)


def _distinct_mixtures(side: int, length: int) -> tuple[Tensor, Tensor]:
    """Every different mixture of displacements ``[m, 2 * side - 1]`` among the (query, key) pairs of one axis, and the
    mixture of each pair, int32 ``[length, length]``.

    Query and key are each a bilinear mixture of two native cells, so a pair is a mixture of at most four displacements.
    """
    cells = bilinear_matrix(side, length)
    weights = torch.zeros(length, length, 2 * side - 1, dtype=torch.float64)
    for query_cell in range(side):
        for key_cell in range(side):
            pair = cells[:, query_cell, None] * cells[None, :, key_cell]
            weights[:, :, query_cell - key_cell + side - 1] += pair
    rounded = (weights / _SAME).round()
    distinct, places = torch.unique(rounded.flatten(0, 1), dim=0, return_inverse=True)
    return (distinct * _SAME).float(), places.reshape(length, length).int()


def take(values: Tensor, places: Tensor) -> Tensor:
    """``values [H, m]`` at ``places`` int32 ``[T, S]`` -> ``[H, T, S]``."""
    if torch.compiler.is_exporting():
        # PyTorch's own indexing becomes transposes around a GatherND, each another copy of the whole bias.
        shape = [values.shape[0], *places.shape]
        out: Tensor = torch.onnx.ops.symbolic(
            "Gather", (values, places), attrs={"axis": 1}, dtype=values.dtype, shape=shape
        )
        return out
    return values[:, places]
