"""On a computer with a CUDA device every comparison of this folder runs there too, by the same launches."""

from __future__ import annotations

import numpy as np
import pytest

from ifseg_rt.kernels.launches import plan_transpose


@pytest.mark.gpu
def test_the_kernels_run_on_a_device(gpu_machine) -> None:
    scores = np.random.default_rng(0).normal(size=(64, 5)).astype(np.float32)
    rows, planes = gpu_machine.put(scores), gpu_machine.put(np.zeros((5, 64), dtype=np.float32))
    gpu_machine.launch(plan_transpose(rows, 64, 5, planes=planes))
    np.testing.assert_array_equal(gpu_machine.get(planes, (5, 64), np.float32), scores.T)
    gpu_machine.clear()


@pytest.mark.gpu
def test_launches_can_be_captured_into_a_graph(gpu_machine) -> None:
    scores = np.random.default_rng(1).normal(size=(64, 5)).astype(np.float32)
    rows, planes = gpu_machine.put(scores), gpu_machine.put(np.zeros((5, 64), dtype=np.float32))
    builder = gpu_machine.device.create_graph_builder().begin_building()
    gpu_machine.launch(plan_transpose(rows, 64, 5, planes=planes), builder)
    graph = builder.end_building().complete()
    assert not gpu_machine.get(planes, (5, 64), np.float32).any()
    graph.launch(gpu_machine.stream)
    np.testing.assert_array_equal(gpu_machine.get(planes, (5, 64), np.float32), scores.T)
    gpu_machine.clear()
