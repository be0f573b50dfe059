"""What each kernel is launched with: grid, block, shared memory and arguments, as pure functions of sizes.

Addresses stay Python ints (passed as 8 bytes); every other argument is a NumPy scalar of the parameter's exact type,
because a bare Python int would be passed as 8 bytes too and a bare float as a double.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from ifseg_rt.errors import DeviceError, UsageError

DEFAULT_SHARED_LIMIT = 48 * 1024  # bytes a block gets on every device without asking
_WARP = 32

_PREPROCESS_TILE = (32, 8)  # columns, rows
_COPY, _HALVE, _BILINEAR = 0, 1, 2

_SOFTMAX_ROWS = 8

_MOST_THREADS = 1024
# Patches per thread of the variants that keep neighbours in registers, and how many neighbours each of them holds.
_HELD_PATCHES = ((1, 8), (2, 8), (4, 8), (6, 8), (12, 4))
MOST_PATCHES = 16 * _MOST_THREADS

_LABELS_THREADS = 128
_TILE_WIDTH, _TILE_HEIGHT = 128, 64
_LONGEST_SIDE = 32768  # beyond, a float estimate in the labels kernel could be a pixel off
_WANTED_BLOCKS = 1024  # about 8 on each multiprocessor of a large GPU: below, cells are cut into tiles


@dataclass(frozen=True)
class Launch:
    """One kernel launch; ``shared`` is the dynamic shared memory in bytes, ``grid`` and ``block`` are (x, y, z)."""

    kernel: str
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    shared: int
    arguments: tuple[Any, ...]


@dataclass(frozen=True)
class OverlayTarget:
    """Where :func:`plan_labels` paints the classes over the frame; addresses are device addresses.

    Attributes:
        frame: height x width x 3 uint8, the picture to paint over.
        frame_pitch: bytes from one row of ``frame`` to the next.
        picture: height x width x 3 uint8, the result; may be ``frame``.
        picture_pitch: bytes from one row of ``picture`` to the next.
        palette: classes x 3 uint8 in the channel order of ``frame``.
        alpha: share of the palette's colour, 0 to 1.
    """

    frame: int
    frame_pitch: int
    picture: int
    picture_pitch: int
    palette: int
    alpha: float


def plan_preprocess(
    frame: int,
    height: int,
    width: int,
    pitch_bytes: int,
    *,
    swap: bool,
    out: int,
    out_height: int,
    out_width: int,
    mean: Sequence[float],
    std: Sequence[float],
    half: bool,
) -> Launch:
    """Resize and normalise one frame; see ``Kernels.preprocess``."""
    _need(min(height, width, out_height, out_width) > 0, "sizes", "at least 1", (height, width, out_height, out_width))
    _need(pitch_bytes >= 3 * width, "pitch_bytes", f"at least {3 * width} for {width} pixels", pitch_bytes)
    _need(len(mean) == len(std) == 3, "mean and std", "three values each", (len(mean), len(std)))
    mode = _BILINEAR
    if (height, width) == (out_height, out_width):
        mode = _COPY
    elif (height, width) == (2 * out_height, 2 * out_width):
        mode = _HALVE
    columns, rows = _PREPROCESS_TILE
    # The reciprocal of the rounded ratio, in double, as OpenCV computes it: source / target can differ in the last bit.
    scale_y, scale_x = (
        np.float64(1.0 / (target / source)) for source, target in ((height, out_height), (width, out_width))
    )
    return Launch(
        "preprocess",
        grid=(_ceil(out_width, columns), _ceil(out_height, rows), 1),
        block=(columns, rows, 1),
        shared=0,
        arguments=(
            frame,
            np.int64(pitch_bytes),
            *_ints(height, width, mode, swap),
            scale_y,
            scale_x,
            *(np.float32(value) for value in (*mean, *std)),
            out,
            *_ints(out_height, out_width, half),
        ),
    )


def plan_softmax(logits: int, n: int, classes: int, *, planes: int) -> Launch:
    """Scores to probability planes; see ``Kernels.softmax``."""
    _need(min(n, classes) > 0, "n and classes", "at least 1", (n, classes))
    return Launch(
        "softmax",
        grid=(_ceil(n, _SOFTMAX_ROWS), 1, 1),
        block=(_SOFTMAX_ROWS * _WARP, 1, 1),
        shared=0,
        arguments=(logits, *_ints(n, classes), planes),
    )


def plan_refine(
    planes: int,
    neighbours: int,
    n: int,
    classes: int,
    stride_k: int,
    k: int,
    rounds: int,
    *,
    out: int,
    shared_limit: int = DEFAULT_SHARED_LIMIT,
) -> Launch:
    """All averaging rounds; see ``Kernels.refine``. ``shared_limit``: bytes of shared memory a block may ask for."""
    _need(min(n, classes) > 0, "n and classes", "at least 1", (n, classes))
    _need(1 <= k <= stride_k, "k", f"1 to {stride_k} (the neighbours given)", k)
    _need(rounds >= 0, "rounds", "at least 0", rounds)
    column = 4 * n
    limit = max(shared_limit, DEFAULT_SHARED_LIMIT)
    if n > MOST_PATCHES or column > limit:
        raise DeviceError(
            f"the refinement kernel takes up to {min(MOST_PATCHES, limit // 4)} patches on this device; found {n}",
            hint="use a smaller input size, or the ONNX model, which refines on the CPU",
        )
    # Two columns save a barrier per round; asking for more than every block gets would cost occupancy instead.
    doubled = 2 * column <= DEFAULT_SHARED_LIMIT
    name, patches = "any", MOST_PATCHES // _MOST_THREADS
    for held, slots in _HELD_PATCHES:
        if n <= held * _MOST_THREADS and k <= slots:
            name, patches = str(held), held
            break
    # The general kernel is only reached from 6145 patches or 9 neighbours on: it takes all threads there are.
    threads = min(_MOST_THREADS, _round_up(_ceil(n, 1 if name == "any" else patches), _WARP))
    return Launch(
        f"refine_{name}",
        grid=(classes, 1, 1),
        block=(threads, 1, 1),
        shared=(2 if doubled else 1) * column,
        arguments=(planes, neighbours, *_ints(n, stride_k, k, rounds), np.float32(1 / k), np.int32(doubled), out),
    )


def plan_labels(
    planes: int,
    classes: int,
    grid_h: int,
    grid_w: int,
    *,
    labels: int,
    height: int,
    width: int,
    wide: bool,
    confidence: int = 0,
    values: int = 0,
    overlay: OverlayTarget | None = None,
) -> Launch:
    """Labels of every pixel; see ``Kernels.labels``."""
    _need(min(grid_h, grid_w, height, width) > 0, "sizes", "at least 1", (grid_h, grid_w, height, width))
    _need(max(height, width) <= _LONGEST_SIDE, "height and width", f"at most {_LONGEST_SIDE}", (height, width))
    _need(1 <= classes <= (65536 if wide else 256), "classes", "1 to 256, or to 65536 with wide labels", classes)
    tiles_y, tiles_x = tiles(grid_h, grid_w, height, width)
    painted: tuple[Any, ...] = (0, np.int64(0), 0, np.int64(0), 0, np.float32(0), np.float32(0))
    if overlay is not None:
        painted = (
            overlay.frame,
            np.int64(overlay.frame_pitch),
            overlay.picture,
            np.int64(overlay.picture_pitch),
            overlay.palette,
            np.float32(1.0 - overlay.alpha),
            np.float32(overlay.alpha),
        )
    _need(bool(confidence) or not values, "values", "0 without confidence", values)
    return Launch(
        "labels_valued" if values else "labels",
        grid=(grid_w * tiles_x, grid_h * tiles_y, 1),
        block=(_LABELS_THREADS, 1, 1),
        shared=0,
        arguments=(
            planes,
            *_ints(classes, grid_h, grid_w),
            np.float64(grid_h / height),
            np.float64(grid_w / width),
            *_ints(tiles_y, tiles_x),
            labels,
            *_ints(height, width, wide),
            confidence,
            *((values,) if values else ()),
            *painted,
        ),
    )


@lru_cache(maxsize=64)
def tiles(grid_h: int, grid_w: int, height: int, width: int) -> tuple[int, int]:
    """Into how many rows and columns of tiles every grid cell is cut: (tiles_y, tiles_x).

    A tile is at most 64 rows by 128 columns of pixels, and there are about 1024 blocks where the frame is large enough.
    """
    tallest, widest = largest_cell(grid_h, height), largest_cell(grid_w, width)
    tiles_y, tiles_x = _ceil(tallest, _TILE_HEIGHT), _ceil(widest, _TILE_WIDTH)
    blocks = grid_h * grid_w * tiles_y * tiles_x
    # Flatter tiles, not narrower ones: a row's pixels are written side by side. Four rows are one thread's work.
    most = max(tiles_y, tallest // 4)
    return min(most, tiles_y * _ceil(_WANTED_BLOCKS, blocks)), tiles_x


def largest_cell(cells: int, pixels: int) -> int:
    """Pixels in the largest cell along one axis: those whose position lies between the same two grid points."""
    positions = np.clip((np.arange(pixels) + 0.5) * (cells / pixels) - 0.5, 0, cells - 1)
    return int(np.bincount(positions.astype(np.int64)).max())


def _need(fine: bool, name: str, expected: str, found: object) -> None:
    if not fine:
        raise UsageError(f"{name} must be {expected}; found {found}")


def _ints(*values: int) -> tuple[np.int32, ...]:
    return tuple(np.int32(value) for value in values)


def _ceil(value: int, divisor: int) -> int:
    return -(-value // divisor)


def _round_up(value: int, multiple: int) -> int:
    return _ceil(value, multiple) * multiple
