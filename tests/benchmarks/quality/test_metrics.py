"""Scores against hand-made cases and against the golden evaluation of the reference."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.quality.metrics import Confusion, Mistake
from ifseg_rt.errors import SourceError
from ifseg_rt.upsampling.labels import upsample_labels


def test_hand_made_case() -> None:
    confusion = Confusion(3)
    confusion.add(np.array([[0, 0, 1, -1]]), np.array([[0, 1, 1, 2]]))
    scores = confusion.scores()
    assert scores.iou == (0.5, 0.5, None)  # class 2 is predicted only where nothing is counted
    assert scores.miou == 0.5
    assert scores.all_accuracy == pytest.approx(2 / 3)
    assert scores.mean_accuracy == pytest.approx(0.75)
    assert scores.accuracy == (0.5, 1.0, None)
    assert scores.precision == (1.0, 0.5, None)
    assert scores.share == pytest.approx((2 / 3, 1 / 3, 0))
    assert scores.pixels == 3


def test_mistakes_are_listed_by_size() -> None:
    confusion = Confusion(3)
    confusion.add(np.array([[0, 0, 0, 0, 1, 1, 1, 2]]), np.array([[0, 0, 1, 1, 2, 2, 2, 2]]))
    assert confusion.mistakes(9) == [Mistake(1, 2, 3, 1.0), Mistake(0, 1, 2, 0.5)]
    assert confusion.mistakes(1) == [Mistake(1, 2, 3, 1.0)]
    assert confusion.mistakes(0) == []


def test_a_class_predicted_but_never_labelled_counts_as_zero() -> None:
    confusion = Confusion(2)
    confusion.add(np.zeros((1, 4), int), np.array([[0, 0, 0, 1]]))
    assert confusion.scores().iou == (0.75, 0.0)
    assert confusion.scores().mean_accuracy == 0.75


def test_refusals() -> None:
    confusion = Confusion(2)
    with pytest.raises(SourceError, match="nothing to score"):
        confusion.scores()
    with pytest.raises(SourceError, match="pixels"):
        confusion.add(np.zeros((2, 2), int), np.zeros((2, 3), int))
    with pytest.raises(SourceError, match="class 7"):
        confusion.add(np.zeros((1, 1), int), np.full((1, 1), 7))


@given(st.lists(st.tuples(st.integers(-1, 3), st.integers(0, 3)), min_size=1, max_size=60), st.integers(1, 59))
def test_counting_in_parts_equals_counting_at_once(pairs: list[tuple[int, int]], cut: int) -> None:
    truth, prediction = np.array(pairs).T[:, None]
    whole, parts = Confusion(4), Confusion(4)
    whole.add(truth, prediction)
    parts.add(truth[:, :cut], prediction[:, :cut])
    parts.add(truth[:, cut:], prediction[:, cut:])
    assert np.array_equal(whole.matrix, parts.matrix)
    assert whole.matrix.sum() == np.count_nonzero(truth >= 0)


@pytest.mark.parametrize(("array", "suffix"), [("logits", ""), ("prob", "_resnet_postprocess")])
def test_golden_evaluation(shared: Path, array: str, suffix: str) -> None:
    """Specification sections 8 to 10: up-sampled grid, argmax, areas per class, scores of the whole set."""
    golden = np.load(shared / "reference" / "mini" / "eval.npz")
    expected = json.loads((shared / "reference" / "mini" / "eval_meta.json").read_text())
    total = Confusion(5)
    for name, grid in (("s0", (32, 43)), ("s1", (43, 32))):
        truth = golden[f"{name}/gt"]
        values = golden[f"{name}/{array}"][:-1].T.reshape(5, *grid)
        prediction = upsample_labels(values, *truth.shape)
        one = Confusion(5)
        one.add(truth, prediction)
        total.add(truth, prediction)
        # One pixel in 30 000 may tip where two classes are within rounding of each other.
        for axis, area in ((1, "area_label"), (0, "area_pred_label")):
            assert np.abs(one.matrix.sum(axis=axis) - golden[f"{name}/{area}{suffix}"]).max() <= 1, (name, area)
        assert np.abs(np.diag(one.matrix) - golden[f"{name}/area_intersect{suffix}"]).max() <= 1, name
    scores = total.scores()
    assert scores.miou == pytest.approx(expected[f"mIoU{suffix}"], abs=1e-4)
    assert scores.all_accuracy == pytest.approx(expected[f"aAcc{suffix}"], abs=1e-4)
    assert scores.mean_accuracy == pytest.approx(expected[f"mAcc{suffix}"], abs=1e-4)
