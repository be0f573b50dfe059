"""The device path with a model that gives no neighbours: labels come from its logits, as on the host."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest

from ifseg_rt import Segmenter
from ifseg_rt.artifact.sidecar import file_record, read_artifact, sidecar_path, write_artifact


@pytest.fixture
def plain_model(own_model: Path) -> Path:
    """The usual graph without its output ``neighbours``."""
    artifact, graph = read_artifact(own_model), onnx.load(own_model)
    del graph.graph.output[2]
    onnx.save(graph, own_model)
    changes = {"files": (file_record(own_model),), "refinement": None, "outputs": artifact.outputs[:2]}
    write_artifact(msgspec.structs.replace(artifact, **changes), sidecar_path(own_model))
    return own_model


@pytest.mark.parametrize("cuda_graph", [True, False])
def test_same_as_the_host_path(open_gpu_runner: Any, plain_model: Path, cuda_graph: bool) -> None:
    runner, *_ = open_gpu_runner(plain_model, None, cuda_graph=cuda_graph, confidence=True)
    with Segmenter(plain_model, device="cpu", confidence=True) as host:
        for seed in range(3):
            frame = np.random.default_rng(seed).integers(0, 256, (90, 130, 3), dtype=np.uint8)
            found, expected = runner.run(frame, "bgr"), host(frame)
            np.testing.assert_array_equal(found.labels, expected.labels)
            np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=1e-6)
            np.testing.assert_allclose(found.confidence, expected.confidence, atol=1e-6)
