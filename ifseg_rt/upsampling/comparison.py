"""Compares the few classes that are left in a cell, pixel by pixel.

All classes are first compared by values that are quick to have and only nearly right: a matrix product of the cells'
coefficients with the four functions of a bilinear cell. Where that leaves two classes closer together than the errors
of either way, some pixels in ten thousand, the pixel is computed as the definition says. So the result is exact and
does not depend on the order in which a matrix library adds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ifseg_rt.upsampling.candidates import UNDERFLOW

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ifseg_rt.upsampling.candidates import Candidates
    from ifseg_rt.upsampling.cells import CellGrid

# Such a product is off by at most 40 roundings of 2^-24 of the largest score of the cell (coefficients rounded once,
# four products and three sums of at most 8 times that score), and twice that where two of them are compared; the
# definition's own values add 12. 256 leave room.
_CLOSE = 256 / 2**24
_CHUNK = 60_000  # pixels: buffers of 240 KB; matrix libraries start threads above 4 times as many, which cost far more


def settle(found: Candidates, grid: CellGrid, labels: NDArray[Any]) -> None:
    """Write the label of every pixel of the cells with several candidates.

    Args:
        found: the candidates.
        plan: of the same grid and frame.
        labels: H x W, uint8 or uint16; the other cells are left as they are.
    """
    if not found.cells.size:
        return
    ranks = _ranks(found, grid, labels.dtype)
    height, width = grid.rows.offsets.size, grid.columns.offsets.size
    step = max(1, min(found.cells.size, _CHUNK // (height * width)))
    buffers = _Buffers(step, height * width, labels.dtype)
    cells = found.cells.tolist()
    unsure: list[NDArray[np.int64]] = []
    for begin in range(0, len(cells), step):
        chosen = _compare(found, ranks, grid.basis, slice(begin, min(begin + step, len(cells))), buffers)
        unsure.append(np.flatnonzero(~buffers.sure[: len(chosen)].ravel()) + begin * height * width)
        pictures = chosen.reshape(-1, height, width)
        for cell, picture in zip(cells[begin : begin + step], pictures, strict=True):
            labels[grid.targets[cell]] = picture if grid.filled[cell] else picture[grid.sources[cell]]
    pixels = np.concatenate(unsure)
    for begin in range(0, pixels.size, _CHUNK):
        _correct(found, grid, pixels[begin : begin + _CHUNK], labels)


@dataclass(frozen=True)
class _Rank:
    """The first, second, third ... candidate of every cell that has so many.

    Attributes:
        coefficients: float32 [m, 4], of the score above the first candidate's, in units of what counts as close.
        classes: [m, 1].
    """

    coefficients: NDArray[np.float32]
    classes: NDArray[Any]


class _Buffers:
    """Work space for some cells, one row of pixels each."""

    def __init__(self, cells: int, pixels: int, kind: np.dtype[Any]) -> None:
        shape = (cells, pixels)
        self.zero = np.zeros(shape, dtype=np.float32)
        self.above = np.empty(shape, dtype=np.float32)
        self.lead = np.empty(shape, dtype=np.float32)
        self.best = np.empty(shape, dtype=np.float32)
        self.wins = np.empty(shape, dtype=np.bool_)
        self.loses = np.empty(shape, dtype=np.bool_)
        self.sure = np.empty(shape, dtype=np.bool_)
        self.new = np.empty(shape, dtype=kind)
        self.labels = np.empty(shape, dtype=kind)


def _ranks(found: Candidates, grid: CellGrid, kind: np.dtype[Any]) -> list[_Rank]:
    cells = [np.count_nonzero(found.counts > rank) for rank in range(int(found.counts[0]))]
    ends = np.cumsum(cells).tolist()
    spans = [slice(end - many, end) for end, many in zip(ends, cells, strict=True)]
    pairs = np.concatenate([found.first[:many] + rank for rank, many in enumerate(cells)])
    place = np.concatenate([np.arange(many) for many in cells])
    corners = found.corners.take(pairs, axis=1).astype(np.float64)
    size = np.abs(corners).max(axis=0)
    largest = size[: cells[0]].copy()
    for span, many in zip(spans[1:], cells[1:], strict=True):
        np.maximum(largest[:many], size[span], out=largest[:many])
    corners -= corners[:, : cells[0]].take(place, axis=1)
    corners /= (largest * _CLOSE + UNDERFLOW).take(place)
    y, x = np.divmod(found.cells, grid.columns.start.size - 1)
    down, right = grid.rows.middle[y].take(place), grid.columns.middle[x].take(place)
    upper, lower = corners[1] - corners[0], corners[3] - corners[2]
    top, bottom = corners[0] + upper * right, corners[2] + lower * right
    coefficients = np.empty((pairs.size, 4), dtype=np.float32)
    coefficients[:, 0] = top + (bottom - top) * down
    coefficients[:, 1] = (upper + (lower - upper) * down) * grid.columns.step
    coefficients[:, 2] = (bottom - top) * grid.rows.step
    coefficients[:, 3] = (lower - upper) * (grid.rows.step * grid.columns.step)
    classes = found.classes.take(pairs).astype(kind)[:, None]
    return [_Rank(coefficients[span], classes[span]) for span in spans]


def _compare(
    found: Candidates, ranks: list[_Rank], basis: NDArray[np.float32], part: slice, buffers: _Buffers
) -> NDArray[Any]:
    """Labels [m, pixels] of the cells in ``part``; ``buffers.sure`` tells where they are beyond doubt."""
    counts = found.counts[part]
    total = counts.size
    labels = buffers.labels[:total]
    labels[:] = ranks[0].classes[part]
    for rank in range(1, int(counts[0])):
        many = total if counts[-1] > rank else np.count_nonzero(counts > rank)
        rows = slice(part.start, part.start + many)
        last = rank + 1 == counts[0]
        above, best, wins, loses, sure = (
            buffer[:many] for buffer in (buffers.above, buffers.best, buffers.wins, buffers.loses, buffers.sure)
        )
        np.matmul(ranks[rank].coefficients[rows], basis, out=above)
        lead = above if rank == 1 else np.subtract(above, best, out=buffers.lead[:many])
        np.greater(lead, np.float32(1), out=wins)
        np.less(lead, np.float32(-1), out=loses)
        if rank == 1:
            np.logical_or(wins, loses, out=sure)
        else:
            np.logical_or(wins, loses, out=loses)
            np.logical_and(sure, loses, out=sure)
        if not last:
            # The first candidate's score above itself is 0.
            np.maximum(above, buffers.zero[:many] if rank == 1 else best, out=best)
        # Candidates ascend, so the larger of (old label, this class where it wins) is the new label.
        new = np.multiply(wins.view(np.uint8), ranks[rank].classes[rows], out=buffers.new[:many])
        np.maximum(labels[:many], new, out=labels[:many])
    return labels


def _correct(found: Candidates, grid: CellGrid, pixels: NDArray[np.int64], labels: NDArray[Any]) -> None:
    """Write the labels of single pixels as defined; ``pixels`` counts through the cells of ``found``, P x Q in each."""
    place, pixel = np.divmod(pixels, grid.basis.shape[1])
    row, column = np.divmod(pixel, grid.columns.offsets.size)
    y, x = np.divmod(found.cells[place], grid.columns.start.size - 1)
    row, column = row + grid.rows.start[y], column + grid.columns.start[x]
    inside = (row < grid.rows.start[y + 1]) & (column < grid.columns.start[x + 1])
    place, row, column = place[inside], row[inside], column[inside]
    labels[row, column] = _first_maximum(found, grid, place, row, column)


def _first_maximum(
    found: Candidates, grid: CellGrid, place: NDArray[np.int64], row: NDArray[np.int64], column: NDArray[np.int64]
) -> NDArray[np.int64]:
    """The best candidate of single pixels, in the definition's order of operations."""
    top, bottom = grid.rows.near[row], grid.rows.far[row]
    left, right = grid.columns.near[column], grid.columns.far[column]
    first, counts = found.first[place], found.counts[place]
    best = np.full(place.size, -np.inf, dtype=np.float32)
    classes = found.classes[first]
    for rank in range(int(counts.max(initial=0))):
        pair = first + np.minimum(rank, counts - 1)  # a cell with fewer meets its last one again, which changes nothing
        upper_left, upper_right, lower_left, lower_right = found.corners.take(pair, axis=1)
        upper = upper_left * left + upper_right * right
        lower = lower_left * left + lower_right * right
        value = upper * top + lower * bottom
        classes = np.where(value > best, found.classes[pair], classes)
        best = np.maximum(value, best)
    return classes
