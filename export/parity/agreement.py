"""How far two sets of label maps agree: what an export says about a graph or an engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Labels = NDArray[np.uint8] | NDArray[np.uint16]


class LabelAgreement:
    """Counts, picture by picture, where labels are those of the reference.

    Args:
        names: category names in label order.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._expected = np.zeros(len(names), dtype=np.int64)
        self._found = np.zeros(len(names), dtype=np.int64)
        self._equal = np.zeros(len(names), dtype=np.int64)
        self._by_picture: list[tuple[str, float]] = []

    def add(self, picture: str, expected: Labels, found: Labels) -> None:
        """Counts one picture's label maps, both H x W."""
        equal = expected == found
        self._expected += self._pixels(expected)
        self._found += self._pixels(found)
        self._equal += self._pixels(expected[equal])
        self._by_picture.append((picture, float(equal.mean())))

    @property
    def share(self) -> float:
        """Share of equal labels over all pixels of all pictures."""
        return int(self._equal.sum()) / int(self._expected.sum())

    @property
    def mean_iou(self) -> float:
        """mIoU with the reference's masks as the truth, over the categories that either of the two has anywhere."""
        union = self._expected + self._found - self._equal
        return float((self._equal[union > 0] / union[union > 0]).mean())

    @property
    def worst_picture(self) -> tuple[str, float]:
        """The picture with the smallest share of equal labels, and that share."""
        return min(self._by_picture, key=lambda entry: entry[1])

    @property
    def worst_class(self) -> tuple[str, float]:
        """The category whose pixels in the reference agree least, and their share."""
        shares = np.divide(self._equal, self._expected, out=np.ones(len(self._names)), where=self._expected > 0)
        worst = int(shares.argmin())
        return self._names[worst], float(shares[worst])

    def _pixels(self, labels: Labels) -> NDArray[np.int64]:
        return np.bincount(labels.ravel(), minlength=len(self._names))
