"""How the pixels of a frame lie between the points of the patch grid; worked out once for each pair of sizes.

A cell is the rectangle of pixels between four neighbouring grid points. Pixels in front of the first or behind the last
grid point form cells of their own, so a grid of h x w points has (h + 1) x (w + 1) cells, of nearly equal size.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Slices = tuple[slice, slice]


@dataclass(frozen=True)
class Axis:
    """One axis of the frame; n grid points, t pixels, cells of at most s pixels.

    A pixel lies at ``(pixel + 0.5) * n / t - 0.5`` in double precision, clamped to the grid (half-pixel centres).

    Attributes:
        low: int64 [t], the grid point at or before each pixel.
        high: int64 [t], the grid point after it, or the same one at the end of the grid.
        far: float32 [t], weight of ``high``.
        near: float32 [t], ``1 - far`` rounded to float32, weight of ``low``.
        cell: int64 [t], the cell 0..n of each pixel.
        start: int64 [n + 2], first pixel of each cell, then t.
        before: int64 [n + 1], the grid point before each cell.
        behind: int64 [n + 1], the grid point behind each cell.
        step: grid points per pixel.
        offsets: float64 [s], pixels from the middle of a cell of s pixels.
        middle: float64 [n + 1], the position of that middle within the cell: 0 before, 1 behind.
    """

    low: NDArray[np.int64]
    high: NDArray[np.int64]
    far: NDArray[np.float32]
    near: NDArray[np.float32]
    cell: NDArray[np.int64]
    start: NDArray[np.int64]
    before: NDArray[np.int64]
    behind: NDArray[np.int64]
    step: float
    offsets: NDArray[np.float64]
    middle: NDArray[np.float64]


@lru_cache(maxsize=32)
def axis(points: int, pixels: int) -> Axis:
    """Lay ``pixels`` pixels over ``points`` grid points."""
    step = points / pixels
    free = (np.arange(pixels) + 0.5) * step - 0.5
    position = np.clip(free, 0, points - 1)
    low = position.astype(np.int64)
    far = (position - low).astype(np.float32)
    near = np.float32(1) - far
    cell = np.where(free < 0, 0, np.where(free >= points - 1, points, low + 1))
    start = np.searchsorted(cell, np.arange(points + 2))
    size = int(np.diff(start).max())
    offsets = np.arange(size, dtype=np.float64) - (size - 1) / 2
    cells = np.arange(points + 1)
    return Axis(
        low=low,
        high=np.minimum(low + 1, points - 1),
        far=far,
        near=near,
        cell=cell,
        start=start,
        before=np.maximum(cells - 1, 0),
        behind=np.minimum(cells, points - 1),
        step=step,
        offsets=offsets,
        middle=far[np.minimum(start[:-1], pixels - 1)] - offsets[0] * step,
    )


@dataclass(frozen=True)
class CellGrid:
    """Both axes and what follows from them; N = (h + 1)(w + 1) cells in row order, at most P x Q pixels each.

    Attributes:
        rows: the vertical axis.
        columns: the horizontal axis.
        corners: int64 [4, N], index into the h * w grid points: upper left, upper right, lower left, lower right.
        basis: float32 [4, P * Q], the functions 1, x, y, x * y of the pixel's place from the middle of its cell. Within
            a cell an interpolated score is a sum of these four.
        targets: the pixels of each cell in the frame.
        sources: the same pixels within P x Q.
        filled: whether a cell has all P x Q pixels.
    """

    rows: Axis
    columns: Axis
    corners: NDArray[np.int64]
    basis: NDArray[np.float32]
    targets: tuple[Slices, ...]
    sources: tuple[Slices, ...]
    filled: tuple[bool, ...]


@lru_cache(maxsize=8)
def cell_grid(grid_height: int, grid_width: int, height: int, width: int) -> CellGrid:
    """Lay a frame of ``height`` x ``width`` pixels over a grid."""
    rows, columns = axis(grid_height, height), axis(grid_width, width)
    points = np.arange(grid_height * grid_width).reshape(grid_height, grid_width)
    corners = [points[y[:, None], x] for y in (rows.before, rows.behind) for x in (columns.before, columns.behind)]
    y, x = (places.ravel() for places in np.meshgrid(rows.offsets, columns.offsets, indexing="ij"))
    targets = tuple((vertical, horizontal) for vertical in _spans(rows) for horizontal in _spans(columns))
    sources = tuple((_from_zero(vertical), _from_zero(horizontal)) for vertical, horizontal in targets)
    whole = (slice(0, rows.offsets.size), slice(0, columns.offsets.size))
    return CellGrid(
        rows=rows,
        columns=columns,
        corners=np.stack(corners).reshape(4, -1),
        basis=np.stack([np.ones_like(x), x, y, x * y]).astype(np.float32),
        targets=targets,
        sources=sources,
        filled=tuple(source == whole for source in sources),
    )


def _spans(line: Axis) -> list[slice]:
    bounds = line.start.tolist()
    return [slice(first, last) for first, last in pairwise(bounds)]


def _from_zero(span: slice) -> slice:
    return slice(0, span.stop - span.start)
