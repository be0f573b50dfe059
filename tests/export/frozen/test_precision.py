"""Low precision is where it is meant to be, and its error is measured and bounded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from export.frozen.precision import Precision, WideLayerNorm
from export.frozen.segmenter import FrozenSegmenter
from export.graph.writer import default_opset, write_onnx
from export.parity.comparison import RELATIVE_TOLERANCE
from export.parity.graph import ParityReport, measure_parity
from export.pictures import textured_picture
from export.products.onnx_model import export_model
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


def report_of(model: IFSegModel, frozen: FrozenSegmenter, path: Path) -> ParityReport:
    pictures = [(str(i), textured_picture(120, 150, seed=i)) for i in range(3)]
    return measure_parity(model, frozen, path, preprocess_of(model.config, SIZE), pictures, NAMES)


@pytest.mark.parametrize("precision", LOW)
@pytest.mark.parametrize("kind", ["ofa_like", "micro_like"])
def test_the_error_is_of_the_order_of_the_type(
    request: pytest.FixtureRequest, noise: Callable[..., torch.Tensor], kind: str, precision: Precision
) -> None:
    model = request.getfixturevalue(kind)
    image = noise(SIZE)
    with torch.no_grad():
        exact = FrozenSegmenter(model, SIZE)(image)
        low = FrozenSegmenter(model, SIZE, precision=precision)(image)
    assert [t.dtype for t in low] == [torch.float32, torch.float32, torch.int32]
    error = (low[1] - exact[1]).pow(2).mean().sqrt() / (exact[1] - exact[1].mean(-1, keepdim=True)).std()
    assert 0 < error <= RELATIVE_TOLERANCE[precision], "an error of exactly zero means that nothing was lowered"


@pytest.mark.parametrize("precision", LOW)
def test_types_in_the_graph(micro_like: LoadedModel[IFSegModel], tmp_path: Path, precision: Precision) -> None:
    frozen = FrozenSegmenter(micro_like.module, SIZE, precision=precision, biases="tables")
    path = tmp_path / "model.onnx"
    write_onnx(frozen, path, opset=default_opset(precision))
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


def test_float32_is_not_touched_by_any_cast(ofa_like: LoadedModel[IFSegModel], tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    write_onnx(FrozenSegmenter(ofa_like.module, SIZE), path)
    floats = [
        node
        for node in onnx.load(path).graph.node
        if node.op_type == "Cast" and node.attribute[0].i not in (onnx.TensorProto.INT32, onnx.TensorProto.INT64)
    ]
    assert not floats


def test_norms_read_any_type_and_keep_float32_weights(noise: Callable[..., torch.Tensor]) -> None:
    norm = torch.nn.LayerNorm(32)
    wide = WideLayerNorm(norm, torch.float16)
    x = torch.randn(4, 32) * 300
    assert wide(x.half()).dtype == torch.float16
    assert wide.weight.dtype == torch.float32
    assert torch.equal(wide(x), norm(x).half())


@pytest.mark.parametrize("precision", LOW)
def test_parity_is_measured_and_bounded(
    smallest: LoadedModel[IFSegModel], tmp_path: Path, precision: Precision
) -> None:
    frozen = FrozenSegmenter(smallest.module, SIZE, precision=precision)
    path = tmp_path / "model.onnx"
    write_onnx(frozen, path, opset=default_opset(precision))
    report = report_of(smallest.module, frozen, path)
    report.check()
    assert report.computed_by == ("torch" if precision == "bf16" else "onnxruntime")
    assert 0 < report.relative_logit_error <= RELATIVE_TOLERANCE[precision]
    assert report.decided_agreement == 1.0

    broken = FrozenSegmenter(smallest.module, SIZE, precision=precision)
    broken.categories.mul_(-1)
    write_onnx(broken, path, opset=default_opset(precision))
    with pytest.raises(ExportError, match=f"the {precision} graph does not compute the same"):
        report_of(smallest.module, broken, path).check()


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


def test_sidecar_names_the_precision_and_the_run_time_reads_it(
    smallest: LoadedModel[IFSegModel], tmp_path: Path
) -> None:
    from ifseg_rt import Segmenter

    path = tmp_path / "half.onnx"
    export_model(smallest, path, ExportSettings(size=SIZE, precision="fp16"))
    assert read_artifact(path).precision == "fp16"
    frame = textured_picture(60, 80, seed=0)
    with Segmenter(path, device="cpu") as segmenter:
        assert segmenter(frame).labels.shape == (60, 80)
    full = tmp_path / "full.onnx"
    export_model(smallest, full, ExportSettings(size=SIZE))
    assert path.stat().st_size < 0.7 * full.stat().st_size


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
        model, tmp_path / "one.onnx", ExportSettings(size=SIZE, precision="fp16"), categories=["sky"]
    )
    assert np.isfinite(exported.report.relative_logit_error)
    assert exported.report.label_agreement == 1.0
