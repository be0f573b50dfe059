"""How fast this machine multiplies float32 matrices in ONNX Runtime: what a model's time is measured against.

A time alone says nothing about the code that took it. Divided into the model's work it is a rate, and the rate of one
large matrix product in the same library, on the same threads, in the same minute, is what could be had.
"""

from __future__ import annotations

import statistics
import time

import numpy as np

# 2048^3: 17 GFLOP, 50 MB of matrices: out of the caches' reach, as a model's are, and under 0.1 s on two cores.
SIDE = 2048
_WARMUP, _RUNS = 1, 5
_ERRORS_ONLY = 3


def gemm_gflops(threads: int | None, side: int = SIDE, runs: int = _RUNS) -> float:
    """Return the rate in GFLOP/s, the median of some products.

    Args:
        threads: of ONNX Runtime; ``None`` for its own choice.
        side: rows and columns of the two matrices.
        runs: timed products.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    if threads is not None:
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(_product(side), options, providers=["CPUExecutionProvider"])
    left = np.random.default_rng(0).random((side, side), np.float32)
    seconds = []
    for index in range(_WARMUP + runs):
        started = time.perf_counter()
        session.run(None, {"left": left})
        if index >= _WARMUP:
            seconds.append(time.perf_counter() - started)
    return round(2 * side**3 / statistics.median(seconds) / 1e9, 1)


def _product(side: int) -> bytes:
    """A graph that multiplies its input by a constant matrix, as a linear layer does."""
    from onnx import TensorProto, helper, numpy_helper

    shape = [side, side]
    weight = np.random.default_rng(1).random(shape, np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["left", "weight"], ["product"])],
        "product",
        [helper.make_tensor_value_info("left", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("product", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(weight, "weight")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return bytes(model.SerializeToString())
