"""Position tables, relative buckets and their resampling to any patch grid (spec 5 and 7).

Everything here depends on weights and grid only, never on a picture: export computes it once.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from ifseg_rt.errors import UsageError

Grid = tuple[int, int]
_LINEAR_SPAN = 128
_LONGEST = 1023


def token_buckets(length: int, half: int, device: torch.device) -> Tensor:
    """Bucket of every (query i, key j) pair of text positions, int64 ``[length, length]``.

    Distances up to 128 have a bucket each, longer ones share logarithmically spaced buckets up to distance 1023.
    """
    index = torch.arange(length, device=device)
    rel = index[:, None] - index[None, :]
    far = rel.abs().clamp(min=_LINEAR_SPAN).double() / _LINEAR_SPAN
    spread = torch.ceil(far.log() / math.log(_LONGEST / _LINEAR_SPAN) * (_LINEAR_SPAN - 1)).long()
    bucket = torch.where(rel.abs() <= _LINEAR_SPAN, rel, rel.sign() * (_LINEAR_SPAN + spread))
    return (half - 1) + bucket


def grid_offsets(side: int, table_side: int, device: torch.device) -> Tensor:
    """Row of the relative table for every (query, key) pair of a ``side x side`` grid, int64 ``[side^2, side^2]``.

    The table holds ``(2 * table_side - 1) ** 2`` displacements, row-major in (rows, columns).
    """
    row = torch.arange(side, device=device).repeat_interleave(side)
    column = torch.arange(side, device=device).repeat(side)
    span = 2 * table_side - 1
    rows = row[:, None] - row[None, :] + (table_side - 1)
    columns = column[:, None] - column[None, :] + (table_side - 1)
    return rows * span + columns


def resample_grid(values: Tensor, side: int, grid: Grid) -> Tensor:
    """Bilinear (half-pixel) resampling of ``[side * side, D]`` rows to ``[h * w, D]``."""
    if grid == (side, side):
        return values
    image = values.unflatten(0, (side, side)).permute(2, 0, 1)[None]
    image = F.interpolate(image, size=grid, mode="bilinear", align_corners=False)
    return image[0].flatten(1).transpose(0, 1)


def resample_pairs(values: Tensor, side: int, grid: Grid) -> Tensor:
    """Resamples ``[H, side^2, side^2]`` over both its key and its query axis to ``[H, n, n]``."""
    if grid == (side, side):
        return values
    heads, queries, _ = values.shape
    n = grid[0] * grid[1]
    keys = F.interpolate(values.reshape(heads, queries, side, side), size=grid, mode="bilinear", align_corners=False)
    turned = keys.flatten(2).transpose(1, 2).reshape(heads, n, side, side)
    both = F.interpolate(turned, size=grid, mode="bilinear", align_corners=False)
    return both.flatten(2).transpose(1, 2)


def image_position_rows(table: Tensor, bucket: int, side: int, grid: Grid, *, always_resample: bool) -> Tensor:
    """Rows of the image position table for a patch grid, ``[h * w, D]`` (spec 5).

    Native cell (r, c) is row ``r * bucket + c + 1``. Up to ``side^2`` patches the reference takes the cells of
    the actual grid; beyond, it resamples the native ``side x side`` cells.

    Raises:
        UsageError: the grid has more rows than the table (direct case only).
    """
    h, w = grid
    device = table.device
    if always_resample or h * w > side * side:
        rows = torch.arange(side, device=device)
        native = (rows[:, None] * bucket + rows[None, :] + 1).flatten()
        return resample_grid(table[native], side, grid)
    direct = (torch.arange(h, device=device)[:, None] * bucket + torch.arange(w, device=device)[None, :] + 1).flatten()
    last = (h - 1) * bucket + w
    if last >= table.shape[0]:
        raise UsageError(
            f"a patch grid of {h} x {w} reaches row {last} of a position table of {table.shape[0]} rows",
            hint=f"choose a height of at most {bucket * 16} pixels, or more than {side * side} patches in all",
        )
    return table[direct]
