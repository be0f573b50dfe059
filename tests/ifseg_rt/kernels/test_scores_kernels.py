"""The check for finite values and the transposition of scores, for any number of patches and classes."""

from __future__ import annotations

import numpy as np
import pytest

from ifseg_rt.errors import UsageError
from ifseg_rt.kernels.launches import plan_finite, plan_transpose


@pytest.mark.parametrize(("n", "classes"), [(1, 1), (7, 12), (32, 32), (33, 31), (64, 150), (5, 1000), (300, 1)])
def test_scores_become_planes_as_they_are(machine, n: int, classes: int) -> None:
    scores = np.random.default_rng(n).normal(0, 9, (n, classes)).astype(np.float32)
    rows, planes = machine.put(scores), machine.put(np.full((classes, n), np.nan, dtype=np.float32))
    machine.launch(plan_transpose(rows, n, classes, planes=planes))
    np.testing.assert_array_equal(machine.get(planes, (classes, n), np.float32), scores.T)


@pytest.mark.parametrize("count", [1, 255, 256, 257, 5000])
@pytest.mark.parametrize("blocks", [1, 4])
@pytest.mark.parametrize("bad", [None, np.nan, np.inf, -np.inf])
def test_any_value_that_is_not_finite_is_found(machine, count: int, blocks: int, bad: float | None) -> None:
    rng = np.random.default_rng(count)
    values = rng.normal(0, 1e30, count).astype(np.float32)
    values[rng.integers(count)] = np.finfo(np.float32).max
    if bad is not None:
        values[rng.integers(count)] = bad
    flags = machine.put(np.full(blocks, 77, dtype=np.int32))
    machine.launch(plan_finite(machine.put(values), count, flags=flags, blocks=blocks))
    found = machine.get(flags, (blocks,), np.int32)
    assert set(found.tolist()) <= {0, 1}
    assert found.sum() == (0 if bad is None else 1)


def test_nothing_to_do_is_refused(machine) -> None:
    with pytest.raises(UsageError, match="count must be at least 1; found 0"):
        machine.launch(plan_finite(0, 0, flags=0, blocks=1))
    with pytest.raises(UsageError, match="classes must be at least 1; found 0"):
        machine.launch(plan_transpose(0, 3, 0, planes=0))
