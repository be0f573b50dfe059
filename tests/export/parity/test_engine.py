"""The comparison of engines, with runners that exist without a GPU; and the layer that goes astray."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from export.frozen.segmenter import FrozenSegmenter
from export.graph.writer import write_onnx
from export.parity.comparison import RELATIVE_TOLERANCE, ParityError
from export.parity.divergence import (
    explain_divergence,
    first_divergence,
    graph_activations,
    module_activations,
)
from export.parity.engine import EngineReport, Runner, Scores, compare_engine, run_model, run_module, why_not_compared
from export.pictures import Picture, textured_picture
from export.products.onnx_model import Exported
from export.settings import ExportSettings
from export.sidecar import preprocess_of
from ifseg_rt.artifact.sidecar import file_record
from ifseg_rt.machine import GpuFacts, Machine
from ifseg_rt.tensorrt.installed import TensorRt
from ifseg_rt.tensorrt.schema import EngineArtifact, EngineBuild, EngineParity
from train.loaded_model import LoadedModel
from train.models.ofa.model import IFSegModel

SIZE = (96, 128)
NAMES = ("sky", "road", "tree", "car")
GPU = GpuFacts("NVIDIA GeForce RTX 3060", "8.6", 12 << 30, "13.0")


@pytest.fixture(scope="module")
def pictures() -> list[Picture]:
    return [(f"picture {seed}", textured_picture(90, 130, seed=seed)) for seed in range(2)]


@pytest.fixture(scope="module")
def half(exported: Callable[[str], Exported]) -> Path:
    return exported("fp16").path


@pytest.fixture(scope="module")
def in_torch(micro_like: LoadedModel[IFSegModel]) -> Runner:
    return run_module(FrozenSegmenter(micro_like.module, SIZE, rounds=1), preprocess_of(micro_like.module.config, SIZE))


def compare(found: Runner, expected: Runner, pictures: list[Picture]) -> EngineReport:
    return compare_engine(found, expected, pictures, NAMES, kind="torch", precision="fp16", device="a GPU")


def test_a_faithful_engine(half: Path, in_torch: Runner, pictures: list[Picture]) -> None:
    """The fp16 model in the run time stands in for its engine."""
    with run_model(half, device="cpu") as found:
        report = compare(found, in_torch, pictures)
    report.check()
    assert 0 < report.max_logit_difference < 0.1
    assert report.relative_logit_error < RELATIVE_TOLERANCE["fp16"]
    assert report.label_agreement > 0.99
    record = report.record()
    assert record.measured is not None and record.measured.pictures == 2
    assert (record.device, record.skipped) == ("a GPU", None)
    assert report.to_dict()["reference"] == "torch"
    assert 0.9 < report.mean_iou <= 1.0


def test_itself(in_torch: Runner, pictures: list[Picture]) -> None:
    report = compare(in_torch, in_torch, pictures)
    assert (report.max_logit_difference, report.label_agreement, report.decided_agreement) == (0.0, 1.0, 1.0)


def test_an_engine_that_computes_something_else(in_torch: Runner, pictures: list[Picture]) -> None:
    def wrong(picture: Picture) -> Scores:
        scores = in_torch(picture)
        return Scores(scores.log_probabilities[:, ::-1], scores.labels)

    report = compare(wrong, in_torch, pictures)
    with pytest.raises(ParityError, match="fp16 engine does not compute the same as the model on a GPU") as caught:
        report.check()
    assert caught.value.hint == "build it with --precision fp32"
    with pytest.raises(ParityError, match="of the patches with a clear winner 50"):
        replace(report, relative_logit_error=0.0, decided_agreement=0.5).check()
    with pytest.raises(ParityError):
        replace(report, relative_logit_error=float("nan")).check()


def described(onnx_path: Path, **build: object) -> EngineArtifact:
    from ifseg_rt.artifact.sidecar import read_artifact

    model = read_artifact(onnx_path)
    facts = {"runtime": "tensorrt_rtx", "version": "1.7.1.116", "platform": "linux-x86_64", "compute_capabilities": ()}
    return EngineArtifact(
        schema_version=1,
        kind="ifseg-rt-engine",
        engine=file_record(onnx_path),
        onnx=model.files[0],
        model=model,
        build=EngineBuild(**{**facts, **build}),
        parity=EngineParity(skipped="a test"),
    )


def test_when_nothing_can_be_compared(half: Path) -> None:
    tensorrt = TensorRt("tensorrt_rtx", None, "1.7.1.116")
    here, bare = Machine("linux-x86_64", GPU), Machine("linux-x86_64", None, "no driver")
    engine = described(half)
    assert why_not_compared(engine, tensorrt, here, reference="torch") is None
    assert why_not_compared(engine, tensorrt, bare, reference="torch") == "no GPU here can run it: no driver"
    ada = described(half, compute_capabilities=("8.9",))
    assert str(why_not_compared(ada, tensorrt, here, reference="torch")).startswith("the GPU here cannot run it: built")
    low = msgspec.structs.replace(engine, model=msgspec.structs.replace(engine.model, precision="bf16"))
    assert why_not_compared(low, tensorrt, here, reference="torch") is None
    assert "does not run bf16" in str(why_not_compared(low, tensorrt, here, reference="onnx"))
    pair = msgspec.structs.replace(engine, model=msgspec.structs.replace(engine.model, batch=2))
    assert "takes 2 pictures per call" in str(why_not_compared(pair, tensorrt, here, reference="torch"))


def spoil(path: Path, layer: str, factor: float) -> None:
    """Multiplies the weights of one layer of a written graph."""
    model = onnx.load(path)
    tensor = next(t for t in model.graph.initializer if t.name == f"{layer}.weight")
    scaled = np.clip(numpy_helper.to_array(tensor).astype(np.float32) * factor, -65504, 65504)
    tensor.CopyFrom(numpy_helper.from_array(scaled.astype(np.float16), tensor.name))
    onnx.save(model, path)


@pytest.fixture(scope="module")
def two_layers(
    make_model: Callable[..., LoadedModel[IFSegModel]],
    noise: Callable[..., torch.Tensor],
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, np.ndarray, dict[str, np.ndarray]]:
    """An fp16 graph of two encoder layers, a picture, and what the float32 module makes of it."""
    model = make_model(name="two", encoder_layers=2, decoder_layers=1)
    image = noise(SIZE).numpy()
    path = tmp_path_factory.mktemp("two") / "model.onnx"
    write_onnx(FrozenSegmenter(model.module, SIZE, biases="tables", precision="fp16", rounds=0), path)
    return path, image, module_activations(FrozenSegmenter(model.module, SIZE, biases="tables", rounds=0), image)


def test_no_layer_is_named_where_none_diverges(two_layers: tuple[Path, np.ndarray, dict[str, np.ndarray]]) -> None:
    path, image, expected = two_layers
    found = graph_activations(path, image)
    assert len(found) == len(expected) > 40
    sound = first_divergence(expected, found, RELATIVE_TOLERANCE["fp16"])
    assert str(sound).startswith("no single layer diverges by more than 2.0%")


@pytest.mark.parametrize(
    "layer", ["encoder_layers.1.attention.out", "decoder_layers.0.feed_forward.steps.1", "project"]
)
def test_a_corrupted_layer_is_named(
    two_layers: tuple[Path, np.ndarray, dict[str, np.ndarray]], tmp_path: Path, layer: str
) -> None:
    sound, image, expected = two_layers
    path = tmp_path / "model.onnx"
    shutil.copy(sound, path)
    spoil(path, layer, 1.5)
    divergence = first_divergence(expected, graph_activations(path, image), RELATIVE_TOLERANCE["fp16"])
    assert divergence.layer == layer
    assert divergence.error > 0.02 > divergence.before
    assert str(divergence).startswith(f"the first layer to diverge is {layer}: off by ")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["model.onnx"]

    spoil(path, layer, 60000.0)  # beyond what fp16 holds
    overflown = first_divergence(expected, graph_activations(path, image), RELATIVE_TOLERANCE["fp16"])
    assert overflown.layer == layer
    assert overflown.error > 10


def test_layers_in_integers_are_looked_at(
    exported: Callable[[str], Exported], micro_like: LoadedModel[IFSegModel], noise: Callable[..., torch.Tensor]
) -> None:
    image = noise(SIZE).numpy()
    found = graph_activations(exported("int8_fp16").path, image)
    expected = module_activations(FrozenSegmenter(micro_like.module, SIZE, rounds=1), image)
    assert found.keys() == expected.keys()
    assert first_divergence(expected, found, 1e-4).before == 0


@pytest.mark.parametrize("precision", ["bf16", "int8_fp16"])
def test_a_sound_model_is_explained_as_such(
    smallest: LoadedModel[IFSegModel], pictures: list[Picture], precision: str
) -> None:
    found = explain_divergence(smallest.module, ExportSettings(size=SIZE, precision=precision, rounds=0), pictures[0])
    assert 0 < found.error < found.tolerance
