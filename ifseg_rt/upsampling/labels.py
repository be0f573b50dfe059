"""From class scores on the patch grid to one label per pixel of the frame (spec 8, and the last step of 9).

Definition, in float32 with every operation rounded: between the four grid points around a pixel the score of a class is
``a = p00 * (1 - wx) + p01 * wx``, ``b = p10 * (1 - wx) + p11 * wx``, ``v = a * (1 - wy) + b * wy``; the label is the
first class with the largest v. wx and wy come from half-pixel positions in double precision, clamped to the grid. This
order is kept bit for bit whatever computes it. ``cv2.resize`` rounds otherwise from build to build.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from ifseg_rt.upsampling.candidates import find_candidates
from ifseg_rt.upsampling.cells import axis, cell_grid
from ifseg_rt.upsampling.comparison import settle

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MAX_8BIT_CLASSES = 255


def label_type(classes: int) -> type[np.uint8] | type[np.uint16]:
    """The label type for a number of classes: uint8 up to 255 classes, uint16 above."""
    return np.uint8 if classes <= _MAX_8BIT_CLASSES else np.uint16


def upsample_labels(scores: NDArray[np.float32], height: int, width: int) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Arg-max over the classes of the bilinearly resized scores; of equal scores the first class wins.

    Half-pixel centres, edges repeated, no smoothing when the frame is smaller than the grid. Classes x height x width
    is never formed: between four grid points with the same best class that class is the label, and elsewhere only the
    few classes are compared that can be the best one.

    Args:
        scores: C x h x w float32, finite; logits or probabilities.
        height: rows of the result.
        width: columns of the result.

    Returns:
        height x width, uint8 for up to 255 classes, else uint16; equal to the module's definition in every pixel.
    """
    scores = np.ascontiguousarray(scores, dtype=np.float32)
    classes, grid_height, grid_width = scores.shape
    kind: type[Any] = label_type(classes)
    if classes == 1:
        return np.zeros((height, width), dtype=kind)
    layout = cell_grid(grid_height, grid_width, height, width)
    # Scores near the largest float overflow in differences; infinity compares as it should, and what is no number is
    # computed as defined.
    with np.errstate(over="ignore", invalid="ignore"):
        found = find_candidates(scores, layout)
        cells = found.only.astype(kind).reshape(grid_height + 1, grid_width + 1)
        labels: NDArray[Any] = cells.take(layout.columns.cell, axis=1).take(layout.rows.cell, axis=0)
        settle(found, layout, labels)
    return labels


def upsample_confidence(
    probabilities: NDArray[np.float32], labels: NDArray[np.uint8] | NDArray[np.uint16]
) -> NDArray[np.float32]:
    """The value of each pixel's own label, by the module's definition.

    Args:
        probabilities: C x h x w float32.
        labels: H x W, each below C.

    Returns:
        H x W float32.
    """
    height, width = labels.shape
    confidence = np.zeros((height, width), dtype=np.float32)
    for index in np.unique(labels):
        plane = resize_plane(probabilities[index], height, width)
        np.copyto(confidence, plane, where=labels == index)
    return confidence


def resize_plane(
    plane: NDArray[np.float32], height: int, width: int, out: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Bilinear half-pixel resize of one h x w float32 plane to height x width (written into ``out`` when given).

    The values are those of the module's definition.
    """
    target = np.empty((height, width), dtype=np.float32) if out is None else out
    if plane.shape == (height, width):
        np.copyto(target, plane)
        return target
    rows, columns = axis(plane.shape[0], height), axis(plane.shape[1], width)
    lines = plane.take(columns.low, axis=1) * columns.near + plane.take(columns.high, axis=1) * columns.far
    bounds = rows.start.tolist()
    part = np.empty((rows.offsets.size, width), dtype=np.float32)
    # Cell by cell, so that two lines and their mixture stay in the processor's cache.
    for cell, (first, last) in enumerate(pairwise(bounds)):
        here, other = target[first:last], part[: last - first]
        np.multiply(lines[rows.before[cell]], rows.near[first:last, None], out=here)
        np.multiply(lines[rows.behind[cell]], rows.far[first:last, None], out=other)
        np.add(here, other, out=here)
    return target
