"""Low precision is where it is meant to be, and its error is measured and bounded."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from export.frozen.precision import Precision, WideLayerNorm
from export.frozen.segmenter import FrozenSegmenter
from export.parity.comparison import RELATIVE_TOLERANCE
from export.parity.graph import ParityReport, measure_parity
from export.pictures import textured_picture
from export.products.onnx_model import Exported, export_model
from export.settings import ExportSettings
from export.sidecar import preprocess_of
from ifseg_rt.artifact.sidecar import read_artifact
from ifseg_rt.errors import ExportError, UsageError
from train.loaded_model import LoadedModel
from train.models.ofa.model import IFSegModel

SIZE = (96, 128)
LOW: list[Precision] = ["fp16", "bf16"]
TYPES = {"fp16": onnx.TensorProto.FLOAT16, "bf16": onnx.TensorProto.BFLOAT16}
NAMES = ["sky", "road", "tree", "car"]


@pytest.mark.parametrize("precision", LOW)
def test_the_error_is_of_the_order_of_the_type(
    ofa_like: LoadedModel[IFSegModel], noise: Callable[..., torch.Tensor], precision: Precision
) -> None:
    image = noise(SIZE)
    with torch.no_grad():
        exact = FrozenSegmenter(ofa_like.module, SIZE, rounds=0)(image)
        low = FrozenSegmenter(ofa_like.module, SIZE, precision=precision, rounds=0)(image)
    assert [t.dtype for t in low] == [torch.float32, torch.float32, torch.int32]
    error = (low[1] - exact[1]).pow(2).mean().sqrt() / (exact[1] - exact[1].mean(-1, keepdim=True)).std()
    assert 0 < error <= RELATIVE_TOLERANCE[precision], "an error of exactly zero means that nothing was lowered"


@pytest.mark.parametrize("precision", LOW)
def test_types_in_the_graph(exported: Callable[[str], Exported], precision: Precision) -> None:
    path = exported(precision).path
    graph = onnx.shape_inference.infer_shapes(onnx.load(path), strict_mode=True).graph
    types = {value.name: value.type.tensor_type.elem_type for value in [*graph.value_info, *graph.input, *graph.output]}
    types |= {tensor.name: tensor.data_type for tensor in graph.initializer}
    products = [types[node.input[1]] for node in graph.node if node.op_type in ("Conv", "Gemm")]
    assert products.count(onnx.TensorProto.FLOAT) == 1, "the category matrix alone stays wide"
    assert set(products) == {onnx.TensorProto.FLOAT, TYPES[precision]}
    for node in graph.node:
        if node.op_type in ("Softmax", "LayerNormalization", "TopK"):
            assert types[node.input[0]] == onnx.TensorProto.FLOAT, node.name
    assert {value.type.tensor_type.elem_type for value in graph.input} == {onnx.TensorProto.FLOAT}
    outputs = {value.name: value.type.tensor_type.elem_type for value in graph.output}
    assert outputs["logits"] == outputs["probabilities"] == onnx.TensorProto.FLOAT
    wide = [t for t in graph.initializer if t.data_type == onnx.TensorProto.FLOAT and len(t.dims) > 1]
    rows = [list(t.dims) for t in wide if max(t.dims) > 64]
    assert not rows, "no large constant stays in float32"


def test_norms_read_any_type_and_keep_float32_weights(noise: Callable[..., torch.Tensor]) -> None:
    norm = torch.nn.LayerNorm(32)
    wide = WideLayerNorm(norm, torch.float16)
    x = torch.randn(4, 32) * 300
    assert wide(x.half()).dtype == torch.float16
    assert wide.weight.dtype == torch.float32
    assert torch.equal(wide(x), norm(x).half())


@pytest.mark.parametrize("precision", [*LOW, "int8", "int8_fp16"])
def test_parity_is_measured_and_bounded(
    exported: Callable[[str], Exported], micro_like: LoadedModel[IFSegModel], precision: Precision
) -> None:
    path, report = exported(precision).path, exported(precision).report
    assert report.precision == exported(precision).artifact.precision == precision
    assert report.computed_by == ("torch" if precision == "bf16" else "onnxruntime")
    assert 0 < report.relative_logit_error <= RELATIVE_TOLERANCE[precision]
    assert report.decided_agreement == 1.0

    other = copy.deepcopy(micro_like.module)
    other.category_embedding = -other.category_embedding
    frozen = FrozenSegmenter(micro_like.module, SIZE, precision=precision, rounds=1)
    pictures = [("a", textured_picture(120, 150, seed=0))]
    wrong = measure_parity(other, frozen, path, preprocess_of(other.config, SIZE), pictures, NAMES)
    with pytest.raises(ExportError, match=f"the {precision} graph does not compute the same"):
        wrong.check()


def test_labels_of_decided_patches_are_checked_on_their_own() -> None:
    good = ParityReport(
        max_logit_difference=0.05,
        label_agreement=0.99,
        label_agreement_unrefined=0.99,
        worst_picture=("a", 0.9),
        worst_class=("sky", 0.9),
        pictures=3,
        precision="fp16",
        relative_logit_error=0.002,
    )
    good.check()
    fields = {**good.to_dict(), "decided_agreement": 0.99}
    with pytest.raises(ExportError, match="clear winner 99"):
        ParityReport(**fields).check()
    for wrong in (0.03, float("nan")):
        with pytest.raises(ExportError, match="off by"):
            ParityReport(**{**good.to_dict(), "relative_logit_error": wrong}).check()


def test_sidecar_names_the_precision_and_the_run_time_reads_it(exported: Callable[[str], Exported]) -> None:
    from ifseg_rt import Segmenter

    path = exported("fp16").path
    assert read_artifact(path).precision == "fp16"
    with Segmenter(path, device="cpu", threads=1) as segmenter:
        assert segmenter(textured_picture(60, 80, seed=0)).labels.shape == (60, 80)


@pytest.mark.parametrize(
    "settings",
    [ExportSettings(precision="int4"), ExportSettings(precision="bf16", opset=18)],  # type: ignore[arg-type]
)
def test_settings_that_cannot_be_meant(settings: ExportSettings) -> None:
    with pytest.raises(UsageError):
        settings.check()


def test_one_category_has_no_spread_to_compare_with(
    make_model: Callable[..., LoadedModel[IFSegModel]], tmp_path: Path
) -> None:
    model = make_model(name="one", encoder_layers=1, decoder_layers=1)
    model.module.set_vocabulary([0, 20, 2], [[[20]]])
    exported = export_model(
        model,
        tmp_path / "one.onnx",
        ExportSettings(size=(64, 96), precision="fp16", rounds=1, biases="tables"),
        categories=["sky"],
    )
    assert np.isfinite(exported.report.relative_logit_error)
    assert exported.report.label_agreement == 1.0
