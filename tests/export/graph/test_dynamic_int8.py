"""Linear layers in integers: the graph is standard, the layers are those that were meant, and the cost is measured."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir
import onnxruntime
import pytest
import torch

from export import to_onnx
from export.frozen.segmenter import FrozenSegmenter
from export.graph.dynamic_int8 import LARGEST_WEIGHT, quantise_linears, quantise_weights
from export.graph.writer import FUSED_OPSET, default_opset, write_onnx
from export.parity.comparison import RELATIVE_TOLERANCE
from export.parity.graph import ParityReport
from export.pictures import textured_picture
from export.products.onnx_model import Exported, export_model
from export.settings import ExportSettings
from ifseg_rt.artifact.sidecar import read_artifact
from ifseg_rt.errors import ExportError, UsageError
from train.loaded_model import LoadedModel
from train.models.ofa.model import IFSegModel

SIZE = (96, 128)


def session(path: Path, optimised: Path | None = None) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    if optimised is not None:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        options.optimized_model_filepath = str(optimised)
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def micro_int8(exported: Callable[[str], Exported]) -> Path:
    return exported("int8").path


def test_weights_use_seven_bits_and_a_scale_per_output() -> None:
    weights = np.random.default_rng(0).standard_normal((5, 300)).astype(np.float32) * np.float32(
        [[1], [9], [0.1], [0], [3]]
    )
    integers, scales = quantise_weights(weights)
    assert (integers.dtype, integers.shape, scales.shape) == (np.int8, (300, 5), (5,))
    assert np.abs(integers).max(axis=0).tolist() == [LARGEST_WEIGHT] * 3 + [0, LARGEST_WEIGHT]
    assert (np.abs(integers.T * scales[:, None] - weights) <= scales[:, None] * 0.501).all()
    # Two products of the largest activation and weight fit into the 16 bits that processors without VNNI add them in.
    assert 2 * 255 * LARGEST_WEIGHT < 2**15


def test_which_layers_are_integers(micro_int8: Path, tmp_path: Path) -> None:
    graph = onnx.load(micro_int8).graph
    operators = Counter(node.op_type for node in graph.node)
    # An encoder layer of 6, two decoder layers of 10, the projection; the neck and the categories stay as they are.
    assert operators["MatMulInteger"] == 6 + 2 * 10 + 1
    assert operators["Gemm"] == 2
    # Rows that several layers read are quantised once: 4 a layer in the encoder, 6 in the decoder, whose last layer
    # has queries of its own, the projection's, and the memory for both decoder layers.
    assert operators["DynamicQuantizeLinear"] == 4 + 6 + 7 + 1 + 1
    assert operators["Attention"] == 0, "the oldest ONNX Runtime knows none"
    assert {node.domain for node in graph.node} == {""}
    integers = [tensor for tensor in graph.initializer if tensor.data_type == onnx.TensorProto.INT8]
    assert len(integers) == operators["MatMulInteger"]
    names = {tensor.name for tensor in graph.initializer}
    assert not any(tensor.name.removesuffix("_int8") in names for tensor in integers), "the float32 weights are gone"

    optimised = tmp_path / "optimised.onnx"
    session(micro_int8, optimised)
    fused = Counter(node.op_type for node in onnx.load(optimised).graph.node)
    assert fused["MatMulInteger"] == 0
    assert fused["DynamicQuantizeMatMul"] + fused["MatMulIntegerToFloat"] == operators["MatMulInteger"]


def test_neighbours_are_not_quantised(
    micro_int8: Path, micro_like: LoadedModel[IFSegModel], noise: Callable[..., torch.Tensor]
) -> None:
    image = noise(SIZE, seed=3)
    (near,) = session(micro_int8).run(["neighbours"], {"image": image.numpy()})
    with torch.no_grad():
        expected = FrozenSegmenter(micro_like.module, SIZE, rounds=1)(image)[2]
    assert (near == expected.numpy()).mean() > 0.99


def test_fused_attention_is_the_same_attention(
    make_model: Callable[..., LoadedModel[IFSegModel]], noise: Callable[..., torch.Tensor], tmp_path: Path
) -> None:
    model = make_model(name="one and two", encoder_layers=1)
    frozen = FrozenSegmenter(model.module, (192, 256), batch=2, attention="fused", rounds=0)
    path = tmp_path / "model.onnx"
    write_onnx(frozen, path, opset=default_opset(frozen.precision, frozen.attention))
    assert onnx.load(path).opset_import[0].version == FUSED_OPSET
    image = noise((192, 256), batch=2)
    with torch.no_grad():
        exact = model(image).numpy()
        assert np.abs(frozen(image)[1].numpy() - exact).max() <= 1e-4
    assert np.abs(session(path).run(["logits"], {"image": image.numpy()})[0] - exact).max() <= 1e-4


def test_command_and_run_time(
    own_checkpoint: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from export.parity import graph as parity
    from ifseg_rt import Segmenter

    target = tmp_path / "model.onnx"
    monkeypatch.setattr(parity, "WORTHWHILE_AGREEMENT", 1.01)
    assert to_onnx.main([str(own_checkpoint), "-o", str(target), "--precision", "int8", "--rounds", "1"]) == 0
    said = capfd.readouterr()
    report = json.loads(said.out)["parity"]
    assert (report["precision"], report["computed_by"]) == ("int8", "onnxruntime")
    assert 0 < report["relative_logit_error"] <= RELATIVE_TOLERANCE["int8"]
    assert "warning: int8 changes " in said.err
    assert "of the labels (mIoU " in said.err
    assert read_artifact(target).precision == "int8"
    with Segmenter(target, device="cpu", threads=1) as segmenter:
        assert segmenter(textured_picture(60, 80, seed=0)).labels.shape == (60, 80)


def test_golden_model_keeps_its_labels(mini: LoadedModel[IFSegModel], tmp_path: Path) -> None:
    report = export_model(
        mini, tmp_path / "model.onnx", ExportSettings(size=(256, 256), precision="int8", rounds=2)
    ).report
    assert isinstance(report, ParityReport)
    assert min(report.label_agreement, report.label_agreement_unrefined) >= 0.98
    assert report.decided_agreement == 1.0


@pytest.mark.parametrize(
    "changes",
    [{"precision": "fp16"}, {"precision": "bf16"}, {"opset": 20}, {"precision": "int8", "opset": 18}],
)
def test_where_fused_attention_cannot_be(changes: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="fused attention"):
        replace(ExportSettings(attention="fused"), **changes).check()  # type: ignore[arg-type]


def test_attention_is_plain_unless_asked() -> None:
    assert ExportSettings().attention_form == "plain"
    assert ExportSettings(precision="int8").attention_form == "plain"
    assert ExportSettings(precision="int8", attention="fused").attention_form == "fused"


def test_a_graph_without_linear_layers_is_refused() -> None:
    empty = onnx_ir.Model(onnx_ir.Graph([], [], nodes=[], opset_imports={"": 20}), ir_version=10)
    with pytest.raises(ExportError, match="no linear layers"):
        quantise_linears(empty)
