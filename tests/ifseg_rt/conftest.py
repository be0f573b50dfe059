"""A real, tiny artifact made with the onnx package: colour detectors on a patch grid, with a true kNN step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from ifseg_rt.artifact.sidecar import (
    KIND,
    SCHEMA_VERSION,
    Artifact,
    CategoryRecord,
    Parity,
    Preprocess,
    Refinement,
    TensorSpec,
    file_record,
    sidecar_path,
    write_artifact,
)
from tests.servers.start import RtspServer

PATCH = 8
# One row per category over (r, g, b) in -1..1, and a bias: red, green, blue, dark.
DETECTORS = np.array([[4, -2, -2], [-2, 4, -2], [-2, -2, 4], [-3, -3, -3]], dtype=np.float32)
BIASES = np.array([0, 0, 0, -4], dtype=np.float32)
CATEGORIES = (
    CategoryRecord("red", ("crimson",), (255, 0, 0)),
    CategoryRecord("green", (), (0, 255, 0)),
    CategoryRecord("blue thing", (), (0, 0, 255)),
    CategoryRecord("dark", (), (40, 40, 40)),
)


def build_graph(height: int, width: int, *, k: int, rounds: int, most: int, batch: int = 1) -> onnx.ModelProto:
    h, w, classes = height // PATCH, width // PATCH, len(CATEGORIES)
    n = h * w
    constants: dict[str, np.ndarray] = {
        "detectors": DETECTORS[:, :, None, None],
        "biases": BIASES,
        "rows": np.array([batch, classes, n], dtype=np.int64),
        "feature_rows": np.array([batch, 3, n], dtype=np.int64),
        "grid": np.array([batch, classes, h, w], dtype=np.int64),
        "most": np.array([most], dtype=np.int64),
        "flat": np.array([n, classes], dtype=np.int64),
        "flat_neighbours": np.array([n, most], dtype=np.int64),
        "start": np.array([0], dtype=np.int64),
        "stop": np.array([k], dtype=np.int64),
        "columns": np.array([1], dtype=np.int64),
        "tiny": np.array(1e-6, dtype=np.float32),
    }
    nodes = [
        helper.make_node("AveragePool", ["image"], ["pooled"], kernel_shape=[PATCH, PATCH], strides=[PATCH, PATCH]),
        helper.make_node("Conv", ["pooled", "detectors", "biases"], ["planes"]),
        helper.make_node("Reshape", ["planes", "rows"], ["planes_flat"]),
        helper.make_node("Transpose", ["planes_flat"], ["logits"], perm=[0, 2, 1]),
        helper.make_node("Reshape", ["pooled", "feature_rows"], ["features"]),
        helper.make_node("Transpose", ["features"], ["features_t"], perm=[0, 2, 1]),
        helper.make_node("ReduceL2", ["features_t"], ["norm"], axes=[2], keepdims=1),
        helper.make_node("Add", ["norm", "tiny"], ["safe_norm"]),
        helper.make_node("Div", ["features_t", "safe_norm"], ["unit"]),
        helper.make_node("Transpose", ["unit"], ["unit_t"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["unit", "unit_t"], ["cosine"]),
        helper.make_node("TopK", ["cosine", "most"], ["values", "indices"], axis=2, largest=1, sorted=1),
        helper.make_node("Cast", ["indices"], ["neighbours"], to=TensorProto.INT32),
        helper.make_node("Reshape", ["indices", "flat_neighbours"], ["table"]),
        helper.make_node("Slice", ["table", "start", "stop", "columns"], ["near"]),
        helper.make_node("Softmax", ["logits"], ["first"], axis=2),
        helper.make_node("Reshape", ["first", "flat"], ["p0"]),
    ]
    for step in range(rounds):
        nodes.append(helper.make_node("Gather", [f"p{step}", "near"], [f"g{step}"], axis=0))
        nodes.append(helper.make_node("ReduceMean", [f"g{step}"], [f"p{step + 1}"], axes=[1], keepdims=0))
    nodes.append(helper.make_node("Transpose", [f"p{rounds}"], ["p_t"], perm=[1, 0]))
    nodes.append(helper.make_node("Reshape", ["p_t", "grid"], ["probabilities"]))
    graph = helper.make_graph(
        nodes,
        "detectors",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [batch, 3, height, width])],
        [
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [batch, classes, h, w]),
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, n, classes]),
            helper.make_tensor_value_info("neighbours", TensorProto.INT32, [batch, n, most]),
        ],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def describe(path: Path, height: int, width: int, *, k: int, rounds: int, most: int, batch: int = 1) -> Artifact:
    h, w, classes = height // PATCH, width // PATCH, len(CATEGORIES)
    return Artifact(
        schema_version=SCHEMA_VERSION,
        kind=KIND,
        method="ifseg",
        name="detectors",
        files=(file_record(path),),
        categories=CATEGORIES,
        preprocess=Preprocess(height, width, "rgb", "stretch", "bilinear", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        batch=batch,
        grid=(h, w),
        precision="fp32",
        inputs=(TensorSpec("image", "float32", (batch, 3, height, width)),),
        outputs=(
            TensorSpec("probabilities", "float32", (batch, classes, h, w)),
            TensorSpec("logits", "float32", (batch, h * w, classes)),
            TensorSpec("neighbours", "int32", (batch, h * w, most)),
        ),
        refinement=Refinement(k, rounds, most),
        provenance={"base": "none", "seed": 0, "final_loss": 0.25, "note": None},
        tools={"onnx": onnx.__version__},
        parity=Parity(0.0, 1.0, 1),
    )


@pytest.fixture(scope="session")
def make_artifact() -> Callable[..., Path]:
    """Write model.onnx + model.json into a folder and return the model's path."""

    def make(
        folder: Path, *, height: int = 64, width: int = 96, k: int = 3, rounds: int = 2, most: int = 5, batch: int = 1
    ) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "model.onnx"
        settings = {"k": k, "rounds": rounds, "most": most, "batch": batch}
        onnx.save(build_graph(height, width, **settings), path)
        write_artifact(describe(path, height, width, **settings), sidecar_path(path))
        return path

    return make


@pytest.fixture(scope="session")
def model_path(make_artifact: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One artifact for all tests that only read it."""
    return make_artifact(tmp_path_factory.mktemp("artifact"))


@pytest.fixture
def own_model(make_artifact: Callable[..., Path], tmp_path: Path) -> Path:
    """An artifact a test may spoil."""
    return make_artifact(tmp_path / "own")


@pytest.fixture
def scene() -> np.ndarray:
    """A BGR frame of 120 x 180: red on the left, green in the middle, blue on the right."""
    frame = np.zeros((120, 180, 3), dtype=np.uint8)
    frame[:, :60, 2] = 255
    frame[:, 60:120, 1] = 255
    frame[:, 120:, 0] = 255
    return frame


@pytest.fixture
def rtsp_server() -> Iterator[RtspServer]:
    """Return a running RTSP server that shows the test pattern; skip where GStreamer's bindings are missing."""
    server = RtspServer()
    server.start()
    yield server
    server.kill()
