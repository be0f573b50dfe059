"""Which classes can be the best one anywhere in a cell between four grid points; usually one, two or three.

Bilinear weights are positive and add up to 1, so what holds at the four corners of a cell holds inside, up to rounding.
Rounding is monotone: a class that is nowhere larger at the corners is nowhere larger inside. But two different values
may be rounded to the same one, and then the class with the lower index is the first maximum. A class is therefore left
out for the sake of a class with a higher index only where it stays below it by more than all rounding errors together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ifseg_rt.upsampling.cells import CellGrid

# An interpolated value carries at most 6 roundings of 2^-24 of the values that it is made of, and so does the one it is
# compared with; sums of corners add 4. Products that underflow lose less than the smallest normal number.
ROUNDING = np.float32(64 / 2**24)
UNDERFLOW = np.float32(1.2e-38)

_BATCH = 1 << 21  # scores looked at together: 8 MB however many classes there are
_LARGE_CELL = 1000  # pixels: leaving out one more class costs as much as comparing it in about 150 pixels


@dataclass(frozen=True)
class Candidates:
    """The cells in which one class does not settle everything, and the classes to compare there.

    Attributes:
        only: int64 [N], for every cell of the frame its class, or where several are left the lowest of them.
        cells: int64 [M], the cells with several classes left, by falling number of classes.
        counts: int64 [M], how many.
        first: int64 [M], where each cell's classes begin in the two arrays below, which they fill without gaps.
        classes: int64 [K], ascending within a cell.
        corners: float32 [4, K], the scores of these classes at the corners of their cell.
    """

    only: NDArray[np.int64]
    cells: NDArray[np.int64]
    counts: NDArray[np.int64]
    first: NDArray[np.int64]
    classes: NDArray[np.int64]
    corners: NDArray[np.float32]


def find_candidates(scores: NDArray[np.float32], grid: CellGrid) -> Candidates:
    """Find the classes that can win in each cell.

    Args:
        scores: C x h x w float32, finite, C-contiguous, two classes or more.
        plan: of the same grid.
    """
    points = np.empty((scores.shape[1] * scores.shape[2], scores.shape[0]), dtype=np.float32)
    cv2.transpose(scores.reshape(scores.shape[0], -1), dst=points)
    winners, certain, tied = _winners(points)
    settled = np.where(certain, winners, -1)[grid.corners]
    only = settled[0]
    mixed = np.flatnonzero((only < 0) | (only != settled[1]) | (only != settled[2]) | (only != settled[3]))
    prune = tied or grid.basis.shape[1] >= _LARGE_CELL
    step = max(1, _BATCH // points.shape[1])
    parts = [
        _of_cells(points, winners, grid.corners[:, mixed[i : i + step]], prune) for i in range(0, mixed.size, step)
    ]
    if not parts:
        nothing = np.zeros(0, dtype=np.int64)
        return Candidates(only, nothing, nothing, nothing, nothing, np.zeros((4, 0), dtype=np.float32))
    counts = np.concatenate([part[0] for part in parts])
    classes = np.concatenate([part[1] for part in parts])
    first = np.cumsum(counts) - counts
    only[mixed] = classes[first]
    order = np.argsort(-counts, kind="stable")[: np.count_nonzero(counts > 1)]
    corners = np.concatenate([part[2] for part in parts], axis=1)
    return Candidates(only, mixed[order], counts[order], first[order], classes, corners)


def _winners(points: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.bool_], bool]:
    """The best class of each grid point; whether it is best by more than rounding errors; whether any two are equal."""
    rows = np.arange(points.shape[0])
    winners = points.argmax(axis=1)
    best = points[rows, winners]
    points[rows, winners] = -np.inf
    second = points.max(axis=1)
    points[rows, winners] = best
    return winners, best - second > np.abs(best) * ROUNDING + UNDERFLOW, bool((best == second).any())


def _of_cells(
    points: NDArray[np.float32], winners: NDArray[np.int64], corners: NDArray[np.int64], prune: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """The candidates of some cells, given by their corner points [4, M]: how many each has, classes, corner scores."""
    classes = points.shape[1]
    flat = points.ravel()
    starts = corners * classes
    best = winners[corners]
    values = flat.take(starts[:, None] + best)  # [4 corners, 4 winners, M]
    # The best score is everywhere at least the mean of the four winners, and at least any one class; both are bilinear,
    # hence least at a corner.
    largest, least = _extremes(points, corners)
    mean = (values * np.float32(0.25)).sum(axis=1).min(axis=0)
    margin = np.abs(values).max(axis=(0, 1)) * ROUNDING + UNDERFLOW
    kept = ~(largest < (np.maximum(mean, least.max(axis=1)) - margin)[:, None])  # what is no number stays
    cells, found = np.divmod(np.flatnonzero(kept), classes)
    scores = flat.take(starts.take(cells, axis=1) + found)
    if prune:
        open_ = ~_beaten(found, scores, best, values, np.bincount(cells, minlength=corners.shape[1]))
        cells, found, scores = cells[open_], found[open_], scores.compress(open_, axis=1)
    return np.bincount(cells, minlength=corners.shape[1]), found, scores


def _extremes(
    points: NDArray[np.float32], corners: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Largest and least score of every class over the four corners, both [M, C]."""
    largest = points.take(corners[0], axis=0)
    least = largest.copy()
    for corner in corners[1:]:
        values = points.take(corner, axis=0)
        np.maximum(largest, values, out=largest)
        np.minimum(least, values, out=least)
    return largest, least


def _beaten(
    classes: NDArray[np.int64],
    scores: NDArray[np.float32],
    best: NDArray[np.int64],
    values: NDArray[np.float32],
    counts: NDArray[np.int64],
) -> NDArray[np.bool_]:
    """Which candidates lose in the whole cell against one of the classes that win its corners."""
    beaten = np.zeros(classes.size, dtype=np.bool_)
    lowered = values - np.abs(values) * ROUNDING - UNDERFLOW
    for winner in range(4):
        index = np.repeat(best[winner], counts)
        earlier, later = index < classes, index > classes
        for limit, allowed in ((values, earlier), (lowered, later)):
            above = np.repeat(limit[:, winner], counts, axis=1) >= scores
            beaten |= above[0] & above[1] & above[2] & above[3] & allowed
    return beaten
