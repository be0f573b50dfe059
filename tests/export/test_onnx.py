"""The written graph: same numbers in ONNX Runtime, nothing left to compute from constants, same bytes every time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from export import export_onnx
from export.frozen.segmenter import FrozenSegmenter
from export.graph.writer import write_onnx
from ifseg_rt.artifact.sidecar import Artifact, read_artifact, sidecar_path
from train.loaded_model import LoadedModel
from train.models.ofa.model import IFSegModel


def run(path: Path, image: torch.Tensor, optimised: Path | None = None) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    if optimised is not None:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        options.optimized_model_filepath = str(optimised)
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return session.run(["probabilities", "logits", "neighbours"], {"image": image.numpy()})


def constant_nodes(model: onnx.ModelProto) -> list[str]:
    """Names of nodes that no picture can change."""
    varying = {value.name for value in model.graph.input}
    out = []
    for node in model.graph.node:
        if varying & set(node.input):
            varying |= set(node.output)
        else:
            out.append(node.name)
    return out


@pytest.fixture(scope="module")
def micro_artifact(
    micro_like: LoadedModel[IFSegModel], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Artifact]:
    """A micro-like model for pairs of pictures of an odd size."""
    path = tmp_path_factory.mktemp("micro") / "model.onnx"
    return path, export_onnx(micro_like, path, size=(200, 333), batch=(2, 2), rounds=3)


def test_micro_kind_in_onnx_runtime(
    micro_like: LoadedModel[IFSegModel],
    micro_artifact: tuple[Path, Artifact],
    noise: Callable[..., torch.Tensor],
    tmp_path: Path,
) -> None:
    path, artifact = micro_artifact
    image = noise((200, 333), batch=2, seed=5)
    optimised = tmp_path / "optimised.onnx"
    probabilities, logits, near = run(path, image, optimised)
    with torch.no_grad():
        expected = FrozenSegmenter(micro_like.module, (200, 333), batch=2, rounds=3)(image)
        assert np.abs(logits - micro_like(image).numpy()).max() <= 1e-4
    assert np.abs(probabilities - expected[0].numpy()).max() <= 1e-4
    assert near.dtype == np.int32
    assert (near == expected[2].numpy()).mean() > 0.99
    assert artifact.parity.label_agreement >= 0.999

    written, folded = onnx.load(path), onnx.load(optimised)
    assert constant_nodes(written), "the biases are written as factors"
    assert not constant_nodes(folded), "ONNX Runtime computes the biases once, when it opens the model"
    assert {node.domain for node in written.graph.node} == {""}


def test_sidecar_reads_back(micro_artifact: tuple[Path, Artifact]) -> None:
    path, artifact = micro_artifact
    assert read_artifact(path) == artifact
    assert artifact.category_names == ("sky", "road", "tree", "car")
    assert (artifact.grid, artifact.method, artifact.name) == ((13, 21), "ifseg", "micro-like")
    # A range of one number is that number.
    assert (artifact.batch, artifact.smallest_batch, artifact.inputs[0].shape[0]) == (2, None, 2)
    assert artifact.preprocess.mean == pytest.approx([127 / 255] * 3)
    assert {"torch", "onnx", "onnxruntime", "ifseg-rt"} <= set(artifact.tools)
    assert len({category.color for category in artifact.categories}) == 4


def test_same_model_same_bytes_without_traces_of_the_machine(smallest: LoadedModel[IFSegModel], tmp_path: Path) -> None:
    frozen = FrozenSegmenter(smallest.module, (64, 96), rounds=0)
    first, second = tmp_path / "a.onnx", tmp_path / "b.onnx"
    assert write_onnx(frozen, first) == [first]
    write_onnx(frozen, second)
    content = first.read_bytes()
    assert content == second.read_bytes()
    assert not [trace for trace in (b".py", b"/lib/", str(Path.home()).encode() + b"/") if trace in content]
    casts = {node.attribute[0].i for node in onnx.load(first).graph.node if node.op_type == "Cast"}
    assert casts <= {onnx.TensorProto.INT32, onnx.TensorProto.INT64}, "no float is converted"


def test_large_weights_go_beside_the_graph(
    smallest: LoadedModel[IFSegModel], noise: Callable[..., torch.Tensor], tmp_path: Path
) -> None:
    path = tmp_path / "model.onnx"
    files = write_onnx(FrozenSegmenter(smallest.module, (64, 96), rounds=0), path, single_file_limit=100_000)
    assert [file.name for file in files] == ["model.onnx", "model.onnx.data"]
    assert sum(file.stat().st_size for file in files) == sum(file.stat().st_size for file in tmp_path.iterdir())
    image = noise((64, 96))
    with torch.no_grad():
        assert np.abs(run(path, image)[1] - smallest(image).numpy()).max() <= 1e-4


def test_older_operators_and_tables(
    smallest: LoadedModel[IFSegModel], noise: Callable[..., torch.Tensor], tmp_path: Path
) -> None:
    path = tmp_path / "model.onnx"
    tables = FrozenSegmenter(smallest.module, (128, 160), biases="tables", neighbours=1, rounds=1)
    write_onnx(tables, path, opset=18)
    model = onnx.load(path)
    assert {entry.version for entry in model.opset_import if entry.domain == ""} == {18}
    assert not constant_nodes(model)
    image = noise((128, 160))
    with torch.no_grad():
        assert np.abs(run(path, image)[1] - smallest(image).numpy()).max() <= 1e-4


def test_golden_model_end_to_end(mini: LoadedModel[IFSegModel], arrays: np.lib.npyio.NpzFile, tmp_path: Path) -> None:
    path = tmp_path / "mini.onnx"
    artifact = export_onnx(mini, str(path), size=(256, 256))
    pixels = torch.from_numpy(arrays["c256/image_u8"][:1]).permute(0, 3, 1, 2).float()
    probabilities, logits, _ = run(path, (pixels / 255 - 0.5) / 0.5)
    assert np.abs(logits - arrays["c256/logits"][:1, :-1]).max() <= 1e-4
    assert np.abs(probabilities[0].reshape(5, -1).T - arrays["c256/prob"][0, :-1]).max() <= 1e-5
    assert artifact.parity.max_logit_difference <= 1e-4
    assert sidecar_path(path).is_file()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["mini.json", "mini.onnx"]
