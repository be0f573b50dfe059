"""The softmax kernel: probabilities as planes, within 1e-6 of NumPy, for any number of classes and patches."""

from __future__ import annotations

import numpy as np
import pytest

from ifseg_rt.host.refinement import softmax
from ifseg_rt.kernels.launches import plan_softmax


def planes_of(machine, logits: np.ndarray) -> np.ndarray:
    n, classes = logits.shape
    source = machine.put(logits)
    out = machine.put(np.full((classes, n), np.nan, dtype=np.float32))
    machine.launch(plan_softmax(source, n, classes, planes=out))
    return machine.get(out, (classes, n), np.float32)


@pytest.mark.parametrize("classes", [1, 2, 12, 31, 32, 33, 127, 128, 129, 150, 256, 1000, 1201])
@pytest.mark.parametrize("n", [1, 7, 8, 35])
def test_equals_numpy(machine, n: int, classes: int) -> None:
    logits = np.random.default_rng(classes + n).normal(0, 5, (n, classes)).astype(np.float32)
    np.testing.assert_allclose(planes_of(machine, logits), softmax(logits).T, rtol=2e-6, atol=1e-7)


def test_large_scores_do_not_overflow(machine) -> None:
    logits = np.array([[3e38, -3e38, 1.0], [-200.0, -201.0, -3e38], [0.0, 0.0, 0.0]], dtype=np.float32)
    with np.errstate(over="ignore"):
        np.testing.assert_allclose(planes_of(machine, logits), softmax(logits).T, rtol=2e-6, atol=1e-7)


def test_the_largest_score_may_be_anywhere(machine) -> None:
    for place in (0, 31, 32, 70, 99):
        logits = np.full((2, 100), -50.0, dtype=np.float32)
        logits[1, place] = 300.0
        np.testing.assert_allclose(planes_of(machine, logits), softmax(logits).T, rtol=2e-6, atol=1e-7)


def test_probabilities_sum_to_one(machine) -> None:
    logits = np.random.default_rng(0).normal(0, 3, (40, 333)).astype(np.float32)
    np.testing.assert_allclose(planes_of(machine, logits).sum(axis=0), 1.0, atol=1e-5)
