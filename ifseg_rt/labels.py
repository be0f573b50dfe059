"""From class scores on the patch grid to one label per pixel of the frame (spec 8, and the last step of 9)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MAX_8BIT_CLASSES = 255


def label_type(classes: int) -> type[np.uint8] | type[np.uint16]:
    """The label type for a number of classes: uint8 up to 255 classes, uint16 above."""
    return np.uint8 if classes <= _MAX_8BIT_CLASSES else np.uint16


def upsample_labels(scores: NDArray[np.float32], height: int, width: int) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Arg-max over the classes of the bilinearly resized scores; of equal scores the first class wins.

    Half-pixel centres, edges repeated, no smoothing when the frame is smaller than the grid. One class at a time is
    resized against a running maximum, so memory stays at a few H x W planes however many classes there are.

    Args:
        scores: C x h x w float32, logits or probabilities.
        height: rows of the result.
        width: columns of the result.

    Returns:
        height x width, uint8 for up to 255 classes, else uint16.
    """
    classes = scores.shape[0]
    labels: NDArray[Any] = np.zeros((height, width), dtype=label_type(classes))
    best = resize_plane(scores[0], height, width)
    plane = np.empty_like(best)
    for index in range(1, classes):
        plane = resize_plane(scores[index], height, width, out=plane)
        wins = cv2.compare(plane, best, cv2.CMP_GT)  # 255 where this class is strictly above all before it
        cv2.max(plane, best, dst=best)
        if labels.dtype == np.uint8:
            # Labels only grow from class to class: the larger of (old, index where it wins) is the new label.
            cv2.max(labels, np.bitwise_and(wins, np.uint8(index), out=wins), dst=labels)
        else:
            np.copyto(labels, index, where=wins.astype(bool))
    return labels


def resize_plane(
    plane: NDArray[np.float32], height: int, width: int, out: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Bilinear half-pixel resize of one h x w float32 plane to height x width (written into ``out`` when given)."""
    if plane.shape == (height, width):
        return np.array(plane) if out is None else _filled(out, plane)
    target = np.empty((height, width), dtype=np.float32) if out is None else out
    cv2.resize(np.ascontiguousarray(plane), (width, height), dst=target, interpolation=cv2.INTER_LINEAR)
    return target


def _filled(out: NDArray[np.float32], values: NDArray[np.float32]) -> NDArray[np.float32]:
    np.copyto(out, values)
    return out
