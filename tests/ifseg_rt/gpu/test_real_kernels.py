"""Whole frames with the real kernels, compiled for this CPU by the shim of the kernels' own tests.

The GPU is the stand-in of conftest, but labels must be those of the host bit for bit.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ifseg_rt import Segmenter
from ifseg_rt.upsampling.labels import upsample_confidence


def picture(seed: int, height: int = 90, width: int = 130) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def shim_kernels(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The CUDA sources compiled for this CPU, as in the kernels' own tests."""
    place = Path(__file__).parents[1] / "kernels" / "conftest.py"
    spec = importlib.util.spec_from_file_location("kernels_on_this_cpu", place)
    assert spec is not None
    assert spec.loader is not None
    cuda = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(cuda)
    types = {source: cuda.signatures(source) for source in cuda.SOURCES}
    sources = {cuda.KERNELS / f"{source}.cu": list(types[source]) for source in cuda.SOURCES}
    library = cuda.compile_for_cpu(tmp_path_factory.mktemp("shim"), sources)
    return cuda.ShimKernels(library, {name: kinds for found in types.values() for name, kinds in found.items()})


@pytest.mark.parametrize("settings", [(3, 2), (1, 0), None])
def test_the_real_kernels(
    open_gpu_runner: Any, model_path: Path, shim_kernels: Any, on_gpu: Any, scene: np.ndarray, settings: Any
) -> None:
    runner, gpu, _ = open_gpu_runner(settings=settings, confidence=True, overlay=0.45)
    gpu.run_kernel = lambda launch: shim_kernels.launch(None, launch)
    extras: dict[str, Any] = {"confidence": True, "overlay": 0.45}
    with Segmenter(model_path, device="cpu", threads=1, refine=settings or False, **extras) as host:
        for frame, order in ((scene[:, ::-1], "bgr"), (picture(4, 33, 47), "bgr"), (picture(5, 33, 47), "rgb")):
            expected = host(frame, order)
            np.testing.assert_allclose(runner.run(frame, order).probabilities, expected.probabilities, atol=1e-6)
            for given in (frame, on_gpu(np.ascontiguousarray(frame))):
                found = runner.run(given, order)
                np.testing.assert_array_equal(found.labels, expected.labels)
                np.testing.assert_array_equal(found.picture, expected.picture)
                confidence = upsample_confidence(found.probabilities, found.labels)
                np.testing.assert_array_equal(found.confidence, confidence)
    assert gpu.replays > 0
