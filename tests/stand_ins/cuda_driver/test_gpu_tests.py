"""The tests that need a GPU, over the stand-in for the driver: every CUDA call of ours goes through the real cuda.core.

They pass only without a broken rule of CUDA and with everything freed at the end.
"""

from __future__ import annotations

import re

import pytest

KERNELS = "tests/ifseg_rt/kernels"
FINITE = "tests/ifseg_rt/gpu/test_on_a_gpu.py::test_values_that_are_not_finite_are_found"


def assert_passed(finished, *, at_least: int) -> None:
    assert finished.violations == [], finished.output
    assert finished.code == 0, finished.output
    passed = re.search(r"(\d+) passed", finished.output)
    assert passed is not None, finished.output
    assert int(passed[1]) >= at_least, finished.output


def test_the_gpu_runner(gpu_tests_over_stand_in) -> None:
    finished = gpu_tests_over_stand_in("tests/ifseg_rt/gpu/test_runner_on_a_gpu.py")
    assert_passed(finished, at_least=12)
    assert "skipped" not in finished.output


def test_the_kernels(gpu_tests_over_stand_in) -> None:
    files = ("gpu", "softmax_kernel", "scores_kernels", "chain", "refine_kernel", "preprocess_kernel")
    finished = gpu_tests_over_stand_in(*(f"{KERNELS}/test_{name}.py" for name in files), FINITE)
    assert_passed(finished, at_least=150)
    assert "skipped" not in finished.output


def test_nothing_stays_and_no_rule_is_broken(gpu_tests_over_stand_in) -> None:
    finished = gpu_tests_over_stand_in("tests/stand_ins/cuda_driver/programs/sound_runner.py")
    assert_passed(finished, at_least=12)


def test_segmenters(gpu_tests_over_stand_in) -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    finished = gpu_tests_over_stand_in("-p", "onnx_on_cpu", "tests/stand_ins/cuda_driver/programs/sound_segmenter.py")
    assert_passed(finished, at_least=6)
