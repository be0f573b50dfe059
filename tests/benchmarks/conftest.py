"""A model simple enough to predict by eye: it labels every 16 x 16 patch red, green or blue by its mean colour."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from ifseg_rt.artifact.schema import Artifact, CategoryRecord, Parity, Preprocess, Refinement, TensorSpec
from ifseg_rt.artifact.sidecar import file_record, write_artifact

COLORS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}
SIDE, GRID = 64, 4


@pytest.fixture(scope="session")
def color_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return ``colors.onnx`` with its sidecar: mean colour per patch as logits, every patch its own neighbour."""
    onnx = pytest.importorskip("onnx", reason="the fixture model is written with onnx (extra 'export')")
    helper, numpy_helper = onnx.helper, onnx.numpy_helper
    cells, classes = GRID * GRID, len(COLORS)
    constants = {
        "rows": np.array([1, classes, cells], np.int64),
        "plane": np.array([1, classes, GRID, GRID], np.int64),
        "ten": np.array(10, np.float32),
        "own": np.arange(cells, dtype=np.int32).reshape(1, cells, 1),
    }
    nodes = [
        helper.make_node("AveragePool", ["image"], ["mean"], kernel_shape=[16, 16], strides=[16, 16]),
        helper.make_node("Mul", ["mean", "ten"], ["scores"]),
        helper.make_node("Reshape", ["scores", "rows"], ["columns"]),
        helper.make_node("Transpose", ["columns"], ["logits"], perm=[0, 2, 1]),
        helper.make_node("Softmax", ["scores"], ["probabilities"], axis=1),
        helper.make_node("Identity", ["own"], ["neighbours"]),
    ]
    shapes = {
        "image": ("float32", (1, 3, SIDE, SIDE)),
        "probabilities": ("float32", (1, classes, GRID, GRID)),
        "logits": ("float32", (1, cells, classes)),
        "neighbours": ("int32", (1, cells, 1)),
    }
    element = {"float32": onnx.TensorProto.FLOAT, "int32": onnx.TensorProto.INT32}
    values = [helper.make_tensor_value_info(name, element[kind], shape) for name, (kind, shape) in shapes.items()]
    graph = helper.make_graph(
        nodes, "colors", values[:1], values[1:], [numpy_helper.from_array(v, k) for k, v in constants.items()]
    )
    path = tmp_path_factory.mktemp("model") / "colors.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    specs = [TensorSpec(name, kind, shape) for name, (kind, shape) in shapes.items()]
    artifact = Artifact(
        schema_version=1,
        kind="ifseg-rt-artifact",
        method="ifseg",
        name="colors",
        files=(file_record(path),),
        categories=tuple(CategoryRecord(name, (), color) for name, color in COLORS.items()),
        preprocess=Preprocess(SIDE, SIDE, "rgb", "stretch", "bilinear", (0.5,) * 3, (0.5,) * 3),
        batch=1,
        grid=(GRID, GRID),
        precision="fp32",
        inputs=tuple(specs[:1]),
        outputs=tuple(specs[1:]),
        refinement=Refinement(neighbours=1, rounds=1, max_neighbours=1),
        provenance={},
        tools={},
        parity=Parity(0.0, 1.0, 0),
    )
    write_artifact(artifact, path.with_suffix(".json"))
    return path


@pytest.fixture
def color_set(tmp_path: Path) -> Path:
    """Return a set of three 64 x 64 pictures, left half red, right half green or blue, with one wrong label column."""
    root = tmp_path / "colors"
    (root / "images").mkdir(parents=True)
    (root / "labels").mkdir()
    for number, right in enumerate((1, 2, 2)):
        truth = np.zeros((64, 64), np.uint8)
        truth[:, 32:] = right
        picture = np.array(list(COLORS.values()), np.uint8)[truth][:, :, ::-1]
        truth[:16, 60:] = 255
        cv2.imwrite(str(root / "images" / f"{number}.png"), picture)
        Image.fromarray(truth).save(root / "labels" / f"{number}.png")
    classes = {str(value): name for value, name in enumerate(COLORS)}
    (root / "meta.json").write_text(json.dumps({"classes": classes, "ignore": 255}))
    return root
