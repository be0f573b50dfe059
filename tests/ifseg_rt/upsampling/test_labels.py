"""Up-sampling and arg-max: comparing only classes that can win gives what the full evaluation gives, bit for bit."""

from __future__ import annotations

import time
from collections.abc import Callable

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ifseg_rt.upsampling.candidates import find_candidates
from ifseg_rt.upsampling.cells import cell_grid
from ifseg_rt.upsampling.labels import label_type, resize_plane, upsample_labels


def line(points: int, pixels: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The definition along one axis: grid point before and behind each pixel, float32 weight of the one behind."""
    position = np.clip((np.arange(pixels) + 0.5) * (points / pixels) - 0.5, 0, points - 1)
    before = position.astype(np.int64)
    return before, np.minimum(before + 1, points - 1), (position - before).astype(np.float32)


def full(scores: np.ndarray, height: int, width: int) -> np.ndarray:
    """All classes at all pixels, every operation rounded to float32, in the defined order."""
    y0, y1, wy = line(scores.shape[1], height)
    x0, x1, wx = line(scores.shape[2], width)
    one, wy = np.float32(1), wy[:, None]
    with np.errstate(over="ignore"):
        upper = scores[:, y0][:, :, x0] * (one - wx) + scores[:, y0][:, :, x1] * wx
        lower = scores[:, y1][:, :, x0] * (one - wx) + scores[:, y1][:, :, x1] * wx
        values = upper * (one - wy) + lower * wy
    assert values.dtype == np.float32
    return values


def check(scores: np.ndarray, height: int, width: int) -> None:
    before = scores.copy()
    labels = upsample_labels(scores, height, width)
    assert labels.shape == (height, width)
    assert labels.dtype == label_type(scores.shape[0])
    np.testing.assert_array_equal(labels, full(scores, height, width).argmax(axis=0))
    np.testing.assert_array_equal(scores, before)


def smooth(classes: int, h: int, w: int, seed: int = 0, sharpness: float = 6.0) -> np.ndarray:
    """Probabilities with large areas of one class and soft borders."""
    rng = np.random.default_rng(seed)
    coarse = rng.normal(size=(classes, max(2, h // 5), max(2, w // 5))).astype(np.float32)
    scores = np.stack([cv2.resize(one, (w, h), interpolation=cv2.INTER_CUBIC) for one in coarse]) * sharpness
    grown = np.exp(scores - scores.max(axis=0))
    return (grown / grown.sum(axis=0)).astype(np.float32)


def noise(classes: int, h: int, w: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((classes, h, w), dtype=np.float32)


sizes = st.integers(1, 12)
frames = st.integers(1, 60)
seeds = st.integers(0, 2**32 - 1)


@settings(max_examples=150, deadline=None)
@given(sizes, sizes, frames, frames, st.integers(1, 12), seeds)
def test_logits(h: int, w: int, height: int, width: int, classes: int, seed: int) -> None:
    check(np.random.default_rng(seed).normal(0, 3, (classes, h, w)).astype(np.float32), height, width)


@settings(max_examples=100, deadline=None)
@given(sizes, sizes, frames, frames, st.integers(1, 40), st.floats(0.5, 40), seeds)
def test_probabilities(h: int, w: int, height: int, width: int, classes: int, sharpness: float, seed: int) -> None:
    check(smooth(classes, h, w, seed, sharpness), height, width)


@settings(max_examples=150, deadline=None)
@given(sizes, sizes, frames, frames, st.integers(2, 9), st.integers(1, 4), seeds)
def test_ties(h: int, w: int, height: int, width: int, classes: int, levels: int, seed: int) -> None:
    """Few levels, zeros of either sign among them: many equal scores at grid points and between them."""
    rng = np.random.default_rng(seed)
    scores = (rng.integers(-levels, levels + 1, (classes, h, w)) / np.float32(3)).astype(np.float32)
    scores[(scores == 0) & (rng.random(scores.shape) < 0.5)] = -0.0
    check(scores, height, width)


@settings(max_examples=100, deadline=None)
@given(sizes, sizes, frames, frames, st.lists(st.integers(-3, 3), min_size=2, max_size=6), seeds)
def test_rounding_errors_apart(h: int, w: int, height: int, width: int, ulps: list[int], seed: int) -> None:
    """Planes that differ by the last bits: rounding can make them equal, and then the first must win."""
    one = np.random.default_rng(seed).normal(size=(h, w)).astype(np.float32)
    bits = one.view(np.int32)
    rng = np.random.default_rng(seed + 1)
    same = [(bits + np.int32(step)).view(np.float32) for step in ulps]
    each = [(bits + rng.integers(-(step**2), step**2 + 1, (h, w), dtype=np.int32)).view(np.float32) for step in ulps]
    check(np.stack(same), height, width)
    check(np.stack(each), height, width)


@settings(max_examples=60, deadline=None)
@given(sizes, sizes, frames, frames, st.integers(2, 6), seeds)
def test_wide_range(h: int, w: int, height: int, width: int, classes: int, seed: int) -> None:
    """Scores of any size side by side, up to the largest float and down to denormal ones."""
    rng = np.random.default_rng(seed)
    powers = rng.uniform(-44, 38.5, (classes, h, w))
    check((rng.choice([-1.0, 1.0], powers.shape) * 10**powers).astype(np.float32), height, width)


@settings(max_examples=40, deadline=None)
@given(sizes, sizes, frames, frames, st.sampled_from([1e-44, 1e-39, 1e-30, 1e30, 1e38]), seeds)
def test_magnitudes(h: int, w: int, height: int, width: int, scale: float, seed: int) -> None:
    scores = np.random.default_rng(seed).uniform(-3, 3, (4, h, w))
    check((scores * scale).astype(np.float32), height, width)


@settings(max_examples=30, deadline=None)
@given(sizes, sizes, frames, frames, st.integers(2, 8), seeds)
def test_first_maximum_wins(h: int, w: int, height: int, width: int, classes: int, seed: int) -> None:
    one = np.random.default_rng(seed).normal(size=(h, w)).astype(np.float32)
    assert not upsample_labels(np.stack([one] * classes), height, width).any()
    lower = np.stack([one - 1, *[one] * (classes - 1)])
    assert (upsample_labels(lower, height, width) == 1).all()


@pytest.mark.parametrize(
    ("grid", "frame"),
    [
        ((1, 1), (1, 1)),
        ((1, 1), (90, 700)),
        ((1, 9), (40, 41)),
        ((9, 1), (41, 40)),
        ((1, 2), (300, 500)),  # one cell larger than what is compared together
        ((32, 32), (5, 3)),
        ((32, 32), (32, 32)),
        ((32, 32), (33, 47)),
        ((24, 40), (480, 640)),
        ((32, 32), (270, 480)),
    ],
)
@pytest.mark.parametrize("kind", [smooth, noise])
def test_sizes(grid: tuple[int, int], frame: tuple[int, int], kind: Callable[..., np.ndarray]) -> None:
    check(kind(7, *grid), *frame)


@pytest.mark.parametrize("classes", [1, 2, 150, 255, 256, 300, 1000])
def test_number_of_classes(classes: int) -> None:
    check(smooth(classes, 6, 7, sharpness=12), 40, 51)
    check(noise(classes, 3, 4), 17, 20)


def test_many_classes_take_16_bits() -> None:
    assert label_type(255) is np.uint8
    assert label_type(256) is np.uint16
    labels = upsample_labels(noise(300, 4, 5), 16, 20)
    assert labels.dtype == np.uint16
    assert labels.max() > 255


def test_more_scores_than_are_looked_at_together() -> None:
    check(noise(1100, 47, 47), 50, 60)


def test_a_masked_class_and_an_outlier() -> None:
    scores = np.log(smooth(12, 16, 16))
    scores[3] = -1e9
    scores[5, 4, 4] = 1e6
    check(scores, 120, 160)


def test_equal_categories_are_settled_before_pixels_are_compared() -> None:
    """Two categories with the same words have equal scores everywhere; comparing them would find no pixel certain."""
    scores = smooth(6, 16, 16)
    doubled = np.concatenate([scores, scores])
    check(doubled, 120, 160)
    layout = cell_grid(16, 16, 120, 160)
    once, twice = find_candidates(scores, layout), find_candidates(doubled, layout)
    np.testing.assert_array_equal(once.only, twice.only)
    assert twice.counts.sum() <= once.counts.sum()


def test_few_classes_are_compared() -> None:
    found = find_candidates(smooth(150, 32, 32), cell_grid(32, 32, 1080, 1920))
    assert found.cells.size < 0.65 * 33 * 33
    assert found.counts.mean() < 3.5


def test_what_is_no_number_breaks_nothing() -> None:
    scores = noise(5, 6, 6)
    scores[2, 3, 3] = np.nan
    scores[1, 1, 1] = np.inf
    scores[0, 5, 5] = -np.inf
    assert upsample_labels(scores, 50, 60).max() < 5
    assert upsample_labels(np.full((3, 4, 4), np.nan, dtype=np.float32), 20, 20).max() < 3


@settings(max_examples=60, deadline=None)
@given(sizes, sizes, frames, frames, seeds)
def test_planes_have_the_defined_values(h: int, w: int, height: int, width: int, seed: int) -> None:
    plane = np.random.default_rng(seed).normal(size=(h, w)).astype(np.float32)
    expected = full(plane[None], height, width)[0]
    np.testing.assert_array_equal(resize_plane(plane, height, width), expected)
    out = np.empty((height, width), dtype=np.float32)
    assert resize_plane(plane, height, width, out=out) is out
    np.testing.assert_array_equal(out, expected)


@settings(max_examples=30, deadline=None)
@given(sizes, sizes, frames, frames, seeds)
def test_agrees_with_another_resize(h: int, w: int, height: int, width: int, seed: int) -> None:
    """OpenCV rounds positions and sums otherwise; beyond that it is the same interpolation."""
    plane = np.random.default_rng(seed).normal(size=(h, w)).astype(np.float32)
    other = cv2.resize(plane, (width, height), interpolation=cv2.INTER_LINEAR).reshape(height, width)
    np.testing.assert_allclose(resize_plane(plane, height, width), other, atol=2e-5)


def test_non_contiguous_scores() -> None:
    scores = np.random.default_rng(2).normal(size=(6, 7, 4)).astype(np.float32)
    check(scores.transpose(2, 0, 1), 30, 31)


def test_much_faster_than_every_class_at_every_pixel() -> None:
    """On an idle machine more than 100 times; other work and small frames leave at least a tenth of that."""
    scores = smooth(150, 32, 32)

    def seconds(work: Callable[[], object]) -> float:
        begin = time.perf_counter()
        work()
        return time.perf_counter() - begin

    upsample_labels(scores, 270, 480)
    fast = min(seconds(lambda: upsample_labels(scores, 270, 480)) for _ in range(5))
    assert seconds(lambda: full(scores, 270, 480).argmax(axis=0)) > 10 * fast
