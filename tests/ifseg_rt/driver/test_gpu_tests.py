"""The tests that need a GPU, over the stand-in for the driver: every CUDA call of ours goes through the real cuda.core.

They pass only without a broken rule of CUDA and with everything freed at the end.
"""

from __future__ import annotations

import re

import pytest

KERNELS = "tests/ifseg_rt/cuda"


def assert_passed(finished, *, at_least: int) -> None:
    assert finished.violations == [], finished.output
    assert finished.code == 0, finished.output
    passed = re.search(r"(\d+) passed", finished.output)
    assert passed is not None, finished.output
    assert int(passed[1]) >= at_least, finished.output


def test_the_device_path(gpu_tests_over_stand_in) -> None:
    finished = gpu_tests_over_stand_in("tests/ifseg_rt/device/test_path_on_a_gpu.py")
    assert_passed(finished, at_least=12)
    assert "skipped" not in finished.output


@pytest.mark.parametrize(
    ("files", "at_least"),
    [
        (["test_gpu.py", "test_softmax_kernel.py", "test_scores_kernels.py", "test_chain.py"], 8),
        (["test_refine_kernel.py", "test_preprocess_kernel.py"], 30),
    ],
)
def test_the_kernels(gpu_tests_over_stand_in, files: list[str], at_least: int) -> None:
    assert_passed(gpu_tests_over_stand_in(*(f"{KERNELS}/{name}" for name in files)), at_least=at_least)


def test_nothing_stays_and_no_rule_is_broken(gpu_tests_over_stand_in) -> None:
    finished = gpu_tests_over_stand_in("tests/ifseg_rt/driver/programs/sound_path.py")
    assert_passed(finished, at_least=12)
