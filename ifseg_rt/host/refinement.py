"""The kNN averaging of class probabilities (spec 9), for settings other than those baked into the graph."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Probabilities over the last axis, float32, without overflow."""
    shifted: NDArray[np.float32] = np.exp(logits - logits.max(axis=-1, keepdims=True))
    shifted /= shifted.sum(axis=-1, keepdims=True)
    return shifted


def refine(
    probabilities: NDArray[np.float32], neighbours: NDArray[np.int32], *, k: int, rounds: int
) -> NDArray[np.float32]:
    """Average every patch with its ``k`` nearest patches, ``rounds`` times.

    Each round reads only the result of the round before (Jacobi): ``p_i <- (1/k) sum over j in N(i) of p_j``.

    Args:
        probabilities: n x C float32.
        neighbours: n x K int32, most similar first, K >= ``k``; normally a patch is its own first neighbour.
        k: how many of the neighbours take part, at least 1.
        rounds: how often, at least 0.

    Returns:
        n x C float32; a new array.
    """
    columns = [np.ascontiguousarray(neighbours[:, column]) for column in range(k)]
    current: NDArray[np.float32] = np.array(probabilities)
    total = np.empty_like(current)
    gathered = np.empty_like(current)
    for _ in range(rounds):
        np.take(current, columns[0], axis=0, out=total)
        for column in columns[1:]:
            np.take(current, column, axis=0, out=gathered)
            total += gathered
        np.multiply(total, np.float32(1 / k), out=current)
    return current
