"""What a report says about two sets of label maps, against counts made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from export.parity.agreement import LabelAgreement


def test_counts() -> None:
    found = LabelAgreement(["sky", "road", "tree", "car"])
    found.add("a", np.array([[0, 0, 1, 1]], np.uint8), np.array([[0, 0, 1, 2]], np.uint8))
    found.add("b", np.array([[1, 1], [1, 1]], np.uint16), np.array([[1, 1], [1, 1]], np.uint16))
    assert found.share == 7 / 8
    assert found.worst_picture == ("a", 0.75)
    assert found.worst_class == ("road", 5 / 6)
    # tree is in one map alone and has no pixel in common; car is in neither and does not count.
    assert found.mean_iou == pytest.approx((1 + 5 / 6 + 0) / 3)


def test_the_same_labels_agree_wholly() -> None:
    labels = np.random.default_rng(0).integers(0, 300, (9, 7)).astype(np.uint16)
    found = LabelAgreement([str(index) for index in range(300)])
    found.add("a", labels, labels)
    assert (found.share, found.mean_iou, found.worst_class[1]) == (1.0, 1.0, 1.0)
