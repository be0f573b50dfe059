"""A family without refinement, from its module through graph and sidecar to labels: nothing between is a stand-in."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from export.frozen.head import FrozenModel
from export.graph.writer import write_onnx
from export.parity.graph import measure_parity
from export.pictures import textured_picture
from export.sidecar import category_records, describe, preprocess_of
from ifseg_rt import Segmenter
from ifseg_rt.artifact.sidecar import read_artifact, sidecar_path, write_artifact
from ifseg_rt.cli.main import main
from ifseg_rt.errors import DeviceError, UsageError
from ifseg_rt.gpu.layout import lay_out_network
from ifseg_rt.machine import Machine
from ifseg_rt.tensorrt.building.settings import BuildSettings
from ifseg_rt.tensorrt.building.write import write_engine
from ifseg_rt.tensorrt.installed import find_tensorrt
from ifseg_rt.tensorrt.sidecar import read_engine
from ifseg_rt.upsampling.labels import upsample_labels
from train.loaded_model import LoadedModel
from train.models.base import SegmentationModel
from train.models.ofa.config import PRESETS

NAMES = ["sky", "road", "tree"]
SIZE, PATCH, GRID = (64, 96), 8, (8, 12)


class Plain(SegmentationModel):
    """Every patch is compared with the categories on its own: no refinement."""

    method = "plain"
    config = PRESETS["micro"]

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Conv2d(3, 16, PATCH, stride=PATCH)
        self.register_buffer("prompt_ids", torch.zeros(0, dtype=torch.long))
        self.register_buffer("category_embedding", 4 * torch.randn(len(NAMES), 16))

    def score(self, images: Tensor) -> tuple[Tensor, None]:
        return self.embed(images).flatten(2).transpose(1, 2) @ self.category_embedding.t(), None

    def forward_artificial(self, category_map: Tensor) -> Tensor:
        return self.category_embedding[category_map.flatten(1)] @ self.category_embedding.t()

    def freeze_for_adaptation(self) -> None:
        self.embed.requires_grad_(False)


class FrozenPlain(FrozenModel):
    def __init__(self, model: Plain) -> None:
        super().__init__(SIZE, patch=PATCH, batch=1, smallest_batch=None, averaging=None, precision="fp32")
        self.embed = model.embed
        self.register_buffer("categories", model.category_embedding.clone())
        self.finish()

    def score(self, image: Tensor) -> tuple[Tensor, Tensor]:
        rows = self.embed(image).flatten(2).transpose(1, 2).flatten(0, 1)
        return F.linear(rows, self.categories), rows


@pytest.fixture(scope="module")
def model() -> LoadedModel[Plain]:
    return LoadedModel(Plain().eval())


@pytest.fixture(scope="module")
def path(model: LoadedModel[Plain], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plain") / "model.onnx"
    frozen = FrozenPlain(model.module)
    files = write_onnx(frozen, path)
    pictures = [("a", textured_picture(50, 70, seed=1)), ("b", textured_picture(90, 40, seed=2))]
    preprocess = preprocess_of(model.module.config, SIZE)
    report = measure_parity(model.module, frozen, path, preprocess, pictures, NAMES)
    report.check()
    records = category_records(model, NAMES)
    write_artifact(describe(model.module, frozen, files, records, report.parity, {}), sidecar_path(path))
    return path


def test_graph_and_sidecar_leave_it_out(path: Path) -> None:
    assert [output.name for output in onnx.load(path).graph.output] == ["probabilities", "logits"]
    artifact = read_artifact(path)
    assert (artifact.schema_version, artifact.method, artifact.refinement) == (2, "plain", None)
    assert [spec.name for spec in artifact.outputs] == ["probabilities", "logits"]
    assert set(lay_out_network(artifact).tensors) == {"image", "logits"}


@pytest.mark.parametrize("refine", [True, False])
def test_labels_come_from_the_logits(path: Path, model: LoadedModel[Plain], refine: bool) -> None:
    frame = textured_picture(80, 100, seed=3)
    with Segmenter(path, device="cpu", refine=refine, confidence=True) as segmenter:
        assert segmenter.refinement is None
        result = segmenter(frame)
    resized = cv2.resize(frame, SIZE[::-1], interpolation=cv2.INTER_LINEAR)[:, :, ::-1]
    mean, std = (np.float32(values) for values in (Plain.config.image_mean, Plain.config.image_std))
    image = torch.from_numpy(((resized / np.float32(255) - mean) / std).transpose(2, 0, 1)[None].copy())
    with torch.no_grad():
        logits = model(image)[0]
    planes = np.ascontiguousarray(logits.numpy().T).reshape(-1, *GRID)
    assert len(np.unique(result.labels)) == 3
    assert (result.labels == upsample_labels(planes, 80, 100)).mean() > 0.999
    np.testing.assert_allclose(result.probabilities, logits.softmax(-1).T.reshape(-1, *GRID).numpy(), atol=1e-5, rtol=0)


def test_asking_for_it_is_refused(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match=r"the model 'micro' has no refinement, found refine=\(3, 2\)") as caught:
        Segmenter(path, device="cpu", refine=(3, 2))
    assert "--refine" in str(caught.value.hint)
    picture = tmp_path / "a.png"
    cv2.imwrite(str(picture), textured_picture(40, 50, seed=4))
    arguments = [str(picture), "--model", str(path), "--device", "cpu", "--no-window", "-o", str(tmp_path / "out")]
    assert main([*arguments, "--refine", "3,2"]) == 2
    assert "has no refinement" in capsys.readouterr().err
    for more in ([], ["--no-refine"]):
        assert main([*arguments, *more]) == 0
        assert set(json.loads(capsys.readouterr().out)["shares"]) == set(NAMES)


def test_its_engine_gives_logits_alone(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine("linux-x86_64", None, "none is needed")
    try:
        tensorrt = find_tensorrt("tensorrt_rtx", machine=machine)
    except DeviceError as error:
        pytest.skip(f"engines are not built: {error}")
    monkeypatch.setenv("IFSEG_RT_CACHE", str(tmp_path / "cache"))
    target = tmp_path / "model.engine"
    write_engine(path, target, BuildSettings(), tensorrt, machine=machine)
    engine = read_engine(target)
    assert (engine.schema_version, engine.model) == (2, read_artifact(path))
    assert [spec.name for spec in engine.outputs] == ["logits"]
