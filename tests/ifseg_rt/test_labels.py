"""Up-sampling and arg-max: one class at a time gives what a full evaluation gives."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ifseg_rt.labels import label_type, resize_plane, upsample_labels


def weights(size: int, target: int) -> np.ndarray:
    """Half-pixel bilinear weights as a target x size matrix in float64 (spec 5, last item)."""
    matrix = np.zeros((target, size))
    for o in range(target):
        s = max(0.0, (o + 0.5) * size / target - 0.5)
        i0 = min(int(np.floor(s)), size - 1)
        i1 = min(i0 + 1, size - 1)
        matrix[o, i0] += 1 - (s - i0) if i1 != i0 else 1.0
        if i1 != i0:
            matrix[o, i1] += s - i0
    return matrix


def full(scores: np.ndarray, height: int, width: int) -> np.ndarray:
    return weights(scores.shape[1], height) @ scores.astype(np.float64) @ weights(scores.shape[2], width).T


sizes = st.integers(1, 12)
frames = st.integers(1, 60)


@settings(max_examples=60, deadline=None)
@given(sizes, sizes, frames, frames, st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_equals_the_full_evaluation(h: int, w: int, height: int, width: int, classes: int, seed: int) -> None:
    scores = np.random.default_rng(seed).normal(size=(classes, h, w)).astype(np.float32)
    dense = full(scores, height, width)
    labels = upsample_labels(scores, height, width)
    assert labels.shape == (height, width)
    chosen = np.take_along_axis(dense, labels[None].astype(np.int64), axis=0)[0]
    # The chosen class is the best one, up to the rounding of float32.
    assert (dense.max(axis=0) - chosen).max() < 1e-5
    if classes > 1:
        top = np.sort(dense, axis=0)
        clear = top[-1] - top[-2] > 1e-5
        np.testing.assert_array_equal(labels[clear], dense.argmax(axis=0)[clear])


@settings(max_examples=30, deadline=None)
@given(sizes, sizes, frames, frames, st.integers(0, 2**32 - 1))
def test_planes_equal_the_full_evaluation(h: int, w: int, height: int, width: int, seed: int) -> None:
    plane = np.random.default_rng(seed).normal(size=(h, w)).astype(np.float32)
    np.testing.assert_allclose(resize_plane(plane, height, width), full(plane[None], height, width)[0], atol=1e-5)


@settings(max_examples=30, deadline=None)
@given(sizes, sizes, frames, frames, st.integers(2, 8), st.integers(0, 2**32 - 1))
def test_first_maximum_wins(h: int, w: int, height: int, width: int, classes: int, seed: int) -> None:
    one = np.random.default_rng(seed).normal(size=(h, w)).astype(np.float32)
    assert not upsample_labels(np.stack([one] * classes), height, width).any()
    lower = np.stack([one - 1, *[one] * (classes - 1)])
    assert (upsample_labels(lower, height, width) == 1).all()


def test_many_classes_take_16_bits() -> None:
    assert label_type(255) is np.uint8
    assert label_type(256) is np.uint16
    scores = np.random.default_rng(0).normal(size=(300, 4, 5)).astype(np.float32)
    labels = upsample_labels(scores, 16, 20)
    assert labels.dtype == np.uint16
    np.testing.assert_array_equal(labels, full(scores, 16, 20).argmax(axis=0))
    assert labels.max() > 255


@pytest.mark.parametrize("classes", [255, 256])
def test_grid_size_frames_need_no_resize(classes: int) -> None:
    scores = np.random.default_rng(1).normal(size=(classes, 6, 7)).astype(np.float32)
    before = scores.copy()
    np.testing.assert_array_equal(upsample_labels(scores, 6, 7), scores.argmax(axis=0))
    np.testing.assert_array_equal(scores, before)


def test_non_contiguous_scores() -> None:
    scores = np.random.default_rng(2).normal(size=(6, 7, 4)).astype(np.float32)
    strided = scores.transpose(2, 0, 1)
    np.testing.assert_array_equal(
        upsample_labels(strided, 30, 31), upsample_labels(np.ascontiguousarray(strided), 30, 31)
    )
