"""Segmenters on the GPU over the stand-in, with ONNX Runtime's CPU provider in the stream (``onnx_on_cpu.py``).

Run by ``test_gpu_tests.py``; ordinary runs do not collect this file. A broken rule fails every test here.
"""

from __future__ import annotations

import ctypes
import gc
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ifseg_rt import Segmenter
from ifseg_rt.errors import UsageError

pytestmark = pytest.mark.gpu
driver = ctypes.CDLL(os.environ["DRIVER_STAND_IN"])
driver.stand_in_alive.restype = ctypes.c_char_p


@pytest.fixture(autouse=True)
def everything_is_freed() -> Iterator[None]:
    yield
    gc.collect()
    assert driver.stand_in_alive().decode() == ""
    assert driver.stand_in_contexts() == 0, "the thread has not the context it had before"


@pytest.mark.parametrize(("refine", "cuda_graph"), [(True, True), ((2, 4), True), (False, True), (True, False)])
def test_labels_are_those_of_the_host(model_path: Path, scene: np.ndarray, refine: Any, cuda_graph: bool) -> None:
    frames = [scene, scene[::2, ::-2], scene[::2, ::2], scene[1::2, ::2]]
    options: dict[str, Any] = {"refine": refine, "confidence": True, "overlay": 0.4}
    with (
        Segmenter(model_path, device="cpu", **options) as host,
        Segmenter(model_path, device="cuda", cuda_graph=cuda_graph, **options) as gpu,
    ):
        assert (gpu.device, gpu.fallback_reason) == ("cuda", None)
        for frame in frames:
            expected, found = host(frame), gpu(frame)
            np.testing.assert_array_equal(found.labels, expected.labels)
            np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=1e-5)
            np.testing.assert_allclose(found.confidence, expected.confidence, atol=1e-5)
            np.testing.assert_array_equal(found.picture, expected.picture)
        assert gpu._runner.graph_refusal is None
        assert gpu._runner._recorder.kept == cuda_graph


def test_results_on_the_gpu(model_path: Path, scene: np.ndarray) -> None:
    with Segmenter(model_path, device="cuda") as segmenter:
        expected = segmenter(scene)
        for _ in range(3):
            result = segmenter.on_device(scene)
            np.testing.assert_array_equal(result.to_host().labels, expected.labels)
        kept = result.copy()
        segmenter(255 - scene)
        with pytest.raises(UsageError, match="was overwritten"):
            result.to_host()
    np.testing.assert_array_equal(kept.to_host().labels, expected.labels)


def test_stages_are_timed(model_path: Path, scene: np.ndarray) -> None:
    with Segmenter(model_path, device="cuda", time_stages=True) as segmenter:
        timings = segmenter(scene).timings
    assert list(timings) == ["upload", "preprocess", "inference", "refinement", "upsampling", "download", "total"]
