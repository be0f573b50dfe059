"""The CPU shim itself: it computes what a GPU would, and notices the faults it is there to notice."""

from __future__ import annotations

import ctypes
import runpy
from pathlib import Path

import numpy as np
import pytest

FAULTS = Path(__file__).with_name("faults.cu")
BUILD = runpy.run_path(str(Path(__file__).with_name("build.py")))
NAMES = ["rotate", "no_barrier", "never_written", "divergent", "lost_lane", "half_a_warp_waits", "exchange"]
FINE, DEADLOCK, DIVERGENT = 0, 2, 3


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    return ctypes.CDLL(str(BUILD["compile_kernels"](tmp_path_factory.mktemp("faults"), {FAULTS: NAMES})))


def run(library: ctypes.CDLL, name: str, seed: int = 1) -> tuple[int, np.ndarray, np.ndarray]:
    values, out = np.arange(100, 164, dtype=np.int32), np.zeros(64, dtype=np.int32)
    addresses = [ctypes.c_void_p(array.ctypes.data) for array in (values, out)]
    pointers = (ctypes.c_void_p * 2)(*(ctypes.addressof(address) for address in addresses))
    one, block = (ctypes.c_uint * 3)(1, 1, 1), (ctypes.c_uint * 3)(64, 1, 1)
    outcome = library.shim_launch(name.encode(), one, block, 0, pointers, ctypes.c_uint64(seed))
    return outcome, values, out


@pytest.mark.parametrize("seed", range(5))
def test_a_sound_kernel_is_right_in_any_order(library, seed: int) -> None:
    outcome, values, out = run(library, "rotate", seed)
    assert outcome == FINE
    np.testing.assert_array_equal(out, np.roll(values, -1))


def test_warp_exchanges(library) -> None:
    outcome, values, out = run(library, "exchange")
    other = values[np.arange(64) ^ 3]
    votes = (other % 3 == 0).reshape(2, 32).sum(axis=1).repeat(32)
    assert outcome == FINE
    np.testing.assert_array_equal(out, other + 1000 * votes)


def test_a_missing_barrier_gives_wrong_results(library) -> None:
    outcome, values, out = run(library, "no_barrier")
    assert outcome == FINE
    assert (out != np.roll(values, -1)).any()


def test_shared_memory_is_not_what_the_last_block_left(library) -> None:
    _, _, out = run(library, "never_written")
    assert out[63] == -1


@pytest.mark.parametrize(
    ("name", "expected"), [("divergent", DIVERGENT), ("lost_lane", DEADLOCK), ("half_a_warp_waits", DEADLOCK)]
)
def test_barriers_that_not_all_reach_are_reported(library, name: str, expected: int) -> None:
    assert run(library, name)[0] == expected
    assert run(library, "rotate")[0] == FINE  # and the next launch starts afresh


def test_an_unknown_kernel_is_reported(library) -> None:
    assert run(library, "absent")[0] == 1
