"""How far two sets of logits are apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class LogitErrors:
    """Differences of two sets of logits ``[pictures, n, C]``; a NaN in either makes every figure NaN or zero."""

    def __init__(self, expected: NDArray[np.float32], found: NDArray[np.float32]) -> None:
        self._expected, self._found = expected, found
        self._spread = float((expected - expected.mean(axis=-1, keepdims=True)).std())

    def largest(self) -> float:
        """The largest absolute difference."""
        return float(np.abs(self._expected - self._found).max())

    def relative(self) -> float:
        """Root mean square of the difference over the spread of the expected logits."""
        rms = float(np.sqrt(np.square(self._expected - self._found, dtype=np.float64).mean()))
        # One category has no spread, and no label to get wrong: then the error counts as it is.
        return rms / self._spread if self._spread > 0 else rms

    def decided_agreement(self, margin: float) -> float:
        """Among patches whose best category leads by ``margin`` times the spread; 1 where there is none."""
        if self._expected.shape[-1] == 1:
            return 1.0
        top = np.sort(self._expected, axis=-1)[..., -2:]
        decided = top[..., 1] - top[..., 0] > margin * self._spread
        equal = self._expected.argmax(axis=-1) == self._found.argmax(axis=-1)
        return float(equal[decided].mean()) if decided.any() else 1.0
