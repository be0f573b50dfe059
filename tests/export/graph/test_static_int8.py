"""Quantise and dequantise pairs for TensorRT: symmetric, with ranges from pictures that nobody had to take."""

from __future__ import annotations

import importlib.util
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from export.calibration import input_ranges
from export.frozen.segmenter import FrozenSegmenter
from export.graph.writer import write_onnx
from export.pictures import calibration_pictures, textured_picture
from export.products.onnx_model import Exported
from export.settings import ExportSettings
from ifseg_rt.errors import ExportError, SourceError, UsageError
from train.loaded_model import LoadedModel
from train.models.ofa.model import IFSegModel

SIZE = (96, 128)


@pytest.fixture(scope="module")
def static(exported: Callable[[str], Exported]) -> Exported:
    return exported("int8_fp16")


def test_pairs_are_symmetric_and_only_around_linear_layers(static: Exported) -> None:
    graph = onnx.load(static.path).graph
    operators = Counter(node.op_type for node in graph.node)
    layers = 6 + 2 * 10 + 1
    assert operators["DequantizeLinear"] == operators["QuantizeLinear"] + layers
    assert operators["Gemm"] == layers + 2, "neck and categories stay as they are"
    made_by = {name: node for node in graph.node for name in node.output}
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            scale, zero = constants[node.input[1]], constants[node.input[2]]
            assert (zero.dtype, np.abs(zero).max()) == (np.int8, 0)
            assert scale.dtype == np.float16
            assert (scale > 0).all()
        elif node.op_type == "Gemm" and made_by.get(node.input[1]):
            weights = made_by[node.input[1]]
            assert weights.attribute[0].i == 0, "a scale per output"
            assert np.abs(constants[weights.input[0]]).max() == 127
            assert made_by[node.input[0]].op_type == "DequantizeLinear"


def test_ranges_are_those_of_the_pictures(
    ofa_like: LoadedModel[IFSegModel], noise: Callable[..., torch.Tensor]
) -> None:
    frozen = FrozenSegmenter(ofa_like.module, SIZE)
    dark, bright = noise(SIZE, seed=1) * 0.1, noise(SIZE, seed=2)
    both = input_ranges(frozen, [dark, bright])
    each = [input_ranges(frozen, [image]) for image in (dark, bright)]
    assert both == {name: max(one[name] for one in each) for name in each[0]}
    assert both["encoder_layers.0.attention.q"] == both["encoder_layers.0.attention.k"]


def test_a_layer_without_a_range_is_refused(smallest: LoadedModel[IFSegModel], tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="has no range"):
        write_onnx(FrozenSegmenter(smallest.module, SIZE, precision="int8_fp16", rounds=0), tmp_path / "model.onnx")


def test_calibration_pictures(tmp_path: Path) -> None:
    import cv2

    own = calibration_pictures(None)
    assert len(own) == 6
    assert not any(np.array_equal(own[0][1], textured_picture(480, 640, seed=seed)) for seed in range(3))
    with pytest.raises(SourceError, match="no pictures"):
        calibration_pictures(tmp_path)
    cv2.imwrite(str(tmp_path / "a.png"), own[0][1])
    assert [name for name, _ in calibration_pictures(tmp_path)] == ["a.png"]
    with pytest.raises(UsageError, match="calibration pictures"):
        ExportSettings(calibration=tmp_path).check()


@pytest.mark.skipif(importlib.util.find_spec("tensorrt_rtx") is None, reason="TensorRT-RTX is not installed")
def test_tensorrt_builds_it(static: Exported) -> None:
    import tensorrt_rtx as trt

    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    assert parser.parse_from_file(str(static.path)), parser.get_error(0).desc()
    # The averaging rounds are not for TensorRT: engines end before them.
    outputs = [network.get_output(index) for index in range(network.num_outputs)]
    network.unmark_output(next(output for output in outputs if output.name == "probabilities"))
    assert builder.build_serialized_network(network, builder.create_builder_config()) is not None
