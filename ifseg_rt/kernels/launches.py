"""What each kernel is launched with: grid, block, shared memory and arguments, as pure functions of sizes.

Arrays are given as device addresses, aligned for their type, and are contiguous unless a pitch is given. Sizes that
cannot be meant raise a ``UsageError``.

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
from ifseg_rt.upsampling.cells import axis

DEFAULT_SHARED_LIMIT = 48 * 1024  # bytes a block gets on every device without asking
_WARP = 32
_PREPROCESS_TILE = (32, 8)  # columns, rows
_COPY, _HALVE, _BILINEAR = 0, 1, 2
_SOFTMAX_ROWS = 8
_FINITE_THREADS = 256
_TRANSPOSE_TILE, _TRANSPOSE_ROWS = 32, 8

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
    arguments: tuple[Any, ...]
    shared: int = 0


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
    """Resize (OpenCV's ``INTER_LINEAR`` on uint8, bit for bit) and normalise one frame: spec 4.1.

    Args:
        frame: height x width x 3 uint8, rows ``pitch_bytes`` apart.
        height: rows of the frame.
        width: columns of the frame.
        pitch_bytes: at least 3 * width.
        swap: whether the frame's channel order is the reverse of the network's.
        out: 3 x out_height x out_width, float32, or float16 with ``half``.
        out_height: rows of the network's input.
        out_width: columns of the network's input.
        mean: three, in the network's channel order, for values in 0..1.
        std: three, likewise.
        half: whether ``out`` is float16.
    """
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
    """Probabilities of ``n`` patches: n x classes float32 at ``logits`` to classes x n float32 at ``planes``."""
    _need(min(n, classes) > 0, "n and classes", "at least 1", (n, classes))
    grid, block = (_ceil(n, _SOFTMAX_ROWS), 1, 1), (_SOFTMAX_ROWS * _WARP, 1, 1)
    return Launch("softmax", grid, block, (logits, *_ints(n, classes), planes))


def plan_finite(values: int, count: int, *, flags: int, blocks: int) -> Launch:
    """Look for values that are not finite among ``count`` float32.

    ``flags``: ``blocks`` int32, all written: 1 where a block of threads met such a value, else 0.
    """
    _need(count > 0, "count", "at least 1", count)
    _need(blocks > 0, "blocks", "at least 1", blocks)
    return Launch("not_finite", (blocks, 1, 1), (_FINITE_THREADS, 1, 1), (values, np.int64(count), flags))


def plan_transpose(rows: int, n: int, classes: int, *, planes: int) -> Launch:
    """Scores of ``n`` patches as they are: n x classes float32 at ``rows`` to classes x n at ``planes``."""
    _need(n > 0, "n", "at least 1", n)
    _need(classes > 0, "classes", "at least 1", classes)
    grid = (_ceil(classes, _TRANSPOSE_TILE), _ceil(n, _TRANSPOSE_TILE), 1)
    return Launch("transpose", grid, (_TRANSPOSE_TILE, _TRANSPOSE_ROWS, 1), (rows, *_ints(n, classes), planes))


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
    """Average every patch with its ``k`` nearest, ``rounds`` times, as on the host bit for bit: spec 9.

    Args:
        planes: classes x n float32.
        neighbours: n x stride_k int32, most similar first.
        n: patches, at most 16384.
        classes: planes.
        stride_k: neighbours stored per patch.
        k: how many of them take part, 1 to stride_k.
        rounds: at least 0.
        out: classes x n float32; may be ``planes``.
        shared_limit: bytes of shared memory that a block may ask for.

    Raises:
        DeviceError: there are more patches than that, or n floats do not fit the shared memory.
    """
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
    threads = min(_MOST_THREADS, _WARP * _ceil(_ceil(n, 1 if name == "any" else patches), _WARP))
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
    """The first best class of every pixel after half-pixel bilinear up-sampling; C x H x W is never formed.

    Args:
        planes: classes x grid_h x grid_w float32.
        classes: planes, at most 256, or 65536 with ``wide``.
        grid_h: rows of the patch grid.
        grid_w: columns of the patch grid.
        labels: height x width uint8, or uint16 with ``wide``.
        height: rows of the frame.
        width: columns of the frame.
        wide: whether ``labels`` is uint16.
        confidence: height x width float32, filled with the winner's value; 0 = not wanted.
        values: classes x grid_h x grid_w float32 that ``confidence`` is up-sampled from; 0 = ``planes``.
        overlay: the picture to paint, or ``None``.
    """
    _need(min(grid_h, grid_w, height, width) > 0, "sizes", "at least 1", (grid_h, grid_w, height, width))
    _need(max(height, width) <= _LONGEST_SIDE, "height and width", f"at most {_LONGEST_SIDE}", (height, width))
    _need(1 <= classes <= (65536 if wide else 256), "classes", "1 to 256, or to 65536 with wide labels", classes)
    tiles_y, tiles_x = tiles(grid_h, grid_w, height, width)
    painted = overlay or OverlayTarget(0, 0, 0, 0, 0, 0.0)  # a kernel without a picture looks at none of it
    _need(bool(confidence) or not values, "values", "0 without confidence", values)
    return Launch(
        "labels_valued" if values else "labels",
        grid=(grid_w * tiles_x, grid_h * tiles_y, 1),
        block=(_LABELS_THREADS, 1, 1),
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
            painted.frame,
            np.int64(painted.frame_pitch),
            painted.picture,
            np.int64(painted.picture_pitch),
            painted.palette,
            np.float32(1.0 - painted.alpha),
            np.float32(painted.alpha),
        ),
    )


@lru_cache(maxsize=64)
def tiles(grid_h: int, grid_w: int, height: int, width: int) -> tuple[int, int]:
    """Into how many rows and columns of tiles every grid cell is cut: (tiles_y, tiles_x).

    A tile is at most 64 rows by 128 columns of pixels, and there are about 1024 blocks where the frame is large enough.
    """
    # Pixels of the largest cell along each axis; what lies before the first grid point belongs to the first cell here.
    tallest, widest = (int(np.bincount(axis(*n).low).max()) for n in ((grid_h, height), (grid_w, width)))
    tiles_y, tiles_x = _ceil(tallest, _TILE_HEIGHT), _ceil(widest, _TILE_WIDTH)
    blocks = grid_h * grid_w * tiles_y * tiles_x
    # Flatter tiles, not narrower ones: a row's pixels are written side by side. Four rows are one thread's work.
    most = max(tiles_y, tallest // 4)
    return min(most, tiles_y * _ceil(_WANTED_BLOCKS, blocks)), tiles_x


def _need(fine: bool, name: str, expected: str, found: object) -> None:
    if not fine:
        raise UsageError(f"{name} must be {expected}; found {found}")


def _ints(*values: int) -> tuple[np.int32, ...]:
    return tuple(np.int32(value) for value in values)


def _ceil(value: int, divisor: int) -> int:
    return -(-value // divisor)
