"""The refinement kernel equals the NumPy refinement bit for bit, whatever variant and memory layout it takes."""

from __future__ import annotations

import numpy as np
import pytest

from ifseg_rt.errors import DeviceError, UsageError
from ifseg_rt.host.refinement import refine
from ifseg_rt.kernels.launches import plan_refine


def problem(seed: int, n: int, classes: int, stride: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    probabilities = rng.random((n, classes), dtype=np.float32)
    neighbours = rng.integers(0, n, (n, stride), dtype=np.int32)
    neighbours[:, 0] = np.arange(n)
    return probabilities, neighbours


def refined(machine, probabilities, neighbours, k: int, rounds: int, *, in_place: bool = False) -> np.ndarray:
    n, classes = probabilities.shape
    planes = machine.put(np.ascontiguousarray(probabilities.T))
    indices = machine.put(neighbours)
    out = planes if in_place else machine.put(np.full((classes, n), np.nan, dtype=np.float32))
    machine.launch(
        plan_refine(
            planes, indices, n, classes, neighbours.shape[1], k, rounds, out=out, shared_limit=machine.shared_limit
        )
    )
    return machine.get(out, (classes, n), np.float32).T


@pytest.mark.parametrize("k", range(1, 9))
def test_every_number_of_neighbours(machine, k: int) -> None:
    probabilities, neighbours = problem(k, 77, 3, 8)
    np.testing.assert_array_equal(
        refined(machine, probabilities, neighbours, k, 25), refine(probabilities, neighbours, k=k, rounds=25)
    )


@pytest.mark.parametrize("rounds", [0, 1, 2, 3, 200])
def test_every_number_of_rounds(machine, rounds: int) -> None:
    probabilities, neighbours = problem(rounds, 33, 2, 3)
    np.testing.assert_array_equal(
        refined(machine, probabilities, neighbours, 3, rounds), refine(probabilities, neighbours, k=3, rounds=rounds)
    )


@pytest.mark.parametrize(
    ("n", "stride", "k"),
    [
        (1, 1, 1),
        (2, 2, 2),
        (31, 8, 3),
        (1024, 8, 3),
        (1025, 8, 3),
        (2047, 4, 4),
        (3001, 8, 8),
        (4097, 8, 5),
        (6144, 8, 3),  # the largest whose two columns fit 48 KB
        (6145, 8, 3),
        (6145, 8, 5),  # more than four neighbours of so many patches: the general kernel
        (9216, 8, 3),
        (9216, 8, 8),
        (12289, 3, 3),  # more than 48 KB of shared memory
        (500, 11, 11),  # more neighbours than registers hold
    ],
)
def test_every_size(machine, n: int, stride: int, k: int) -> None:
    probabilities, neighbours = problem(n + k, n, 2, stride)
    rounds = 3
    np.testing.assert_array_equal(
        refined(machine, probabilities, neighbours, k, rounds), refine(probabilities, neighbours, k=k, rounds=rounds)
    )


@pytest.mark.parametrize("classes", [1, 150, 1000])
def test_every_number_of_classes(machine, classes: int) -> None:
    probabilities, neighbours = problem(classes, 15, classes, 5)
    np.testing.assert_array_equal(
        refined(machine, probabilities, neighbours, 4, 6), refine(probabilities, neighbours, k=4, rounds=6)
    )


@pytest.mark.parametrize("n", [40, 6200])
def test_the_result_may_replace_the_input(machine, n: int) -> None:
    probabilities, neighbours = problem(5, n, 2, 3)
    np.testing.assert_array_equal(
        refined(machine, probabilities, neighbours, 3, 4, in_place=True),
        refine(probabilities, neighbours, k=3, rounds=4),
    )


def test_an_index_out_of_range_stays_inside_the_column(machine) -> None:
    probabilities, neighbours = problem(6, 40, 2, 3)
    neighbours[3, 1], neighbours[9, 2] = -1, 2**31 - 1
    clamped = neighbours.copy()
    clamped[3, 1] = clamped[9, 2] = 39
    np.testing.assert_array_equal(
        refined(machine, probabilities, neighbours, 3, 4), refine(probabilities, clamped, k=3, rounds=4)
    )


def test_what_cannot_be_refined_is_refused() -> None:
    with pytest.raises(UsageError, match=r"k must be 1 to 3 .*; found 4"):
        plan_refine(0, 0, 10, 1, 3, 4, 1, out=0)
    with pytest.raises(UsageError, match="rounds"):
        plan_refine(0, 0, 10, 1, 3, 3, -1, out=0)
    with pytest.raises(DeviceError, match="up to 16384 patches on this device; found 16385"):
        plan_refine(0, 0, 16385, 1, 3, 3, 1, out=0, shared_limit=64 * 1024)
