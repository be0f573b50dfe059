"""Launches of the kernels in ``scores.cu``: the check for finite values, and scores as planes without softmax."""

from __future__ import annotations

import numpy as np

from ifseg_rt.errors import UsageError
from ifseg_rt.kernels.launches import Launch

_THREADS = 256
_TILE, _TILE_ROWS = 32, 8


def plan_finite(values: int, count: int, *, flags: int, blocks: int) -> Launch:
    """Flag values that are not finite; see ``Kernels.finite``."""
    _at_least_one(count=count, blocks=blocks)
    return Launch(
        "not_finite",
        grid=(blocks, 1, 1),
        block=(_THREADS, 1, 1),
        shared=0,
        arguments=(values, np.int64(count), flags),
    )


def plan_transpose(rows: int, n: int, classes: int, *, planes: int) -> Launch:
    """Rows of scores to planes of scores; see ``Kernels.transpose``."""
    _at_least_one(n=n, classes=classes)
    return Launch(
        "transpose",
        grid=(-(-classes // _TILE), -(-n // _TILE), 1),
        block=(_TILE, _TILE_ROWS, 1),
        shared=0,
        arguments=(rows, np.int32(n), np.int32(classes), planes),
    )


def _at_least_one(**sizes: int) -> None:
    for name, size in sizes.items():
        if size < 1:
            raise UsageError(f"{name} must be at least 1; found {size}")
