"""Numbers of pictures per call: what a graph with an open number computes, who accepts it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from export import export_onnx
from export.frozen.segmenter import FrozenSegmenter
from export.parity.graph import measure_parity
from export.pictures import textured_picture
from ifseg_rt import Segmenter
from ifseg_rt.artifact.sidecar import Artifact, read_artifact, sidecar_path, write_artifact
from ifseg_rt.errors import ArtifactError
from train.loaded_model import LoadedModel
from train.models.ofa.model import IFSegModel

SIZE = (64, 80)


@pytest.fixture(scope="module")
def open_model(
    make_model: Callable[..., LoadedModel[IFSegModel]], tmp_path_factory: pytest.TempPathFactory
) -> tuple[LoadedModel[IFSegModel], Path, Artifact]:
    # The decoder's last layer reads other rows than it has where this is 1.
    model = make_model(name="open", encoder_layers=1, decoder_layers=2, readout_offset=1)
    path = tmp_path_factory.mktemp("open") / "model.onnx"
    return model, path, export_onnx(model, path, size=SIZE, batch=(1, 3), neighbours=2, rounds=2)


def test_every_number_of_pictures(
    open_model: tuple[LoadedModel[IFSegModel], Path, Artifact], noise: Callable[..., torch.Tensor]
) -> None:
    model, path, _ = open_model
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    frozen = FrozenSegmenter(model.module, SIZE, batch=3, smallest_batch=1, neighbours=2, rounds=2)
    for count in (1, 2, 3):
        image = noise(SIZE, batch=count, seed=count)
        found = session.run(["probabilities", "logits", "neighbours"], {"image": image.numpy()})
        alone = FrozenSegmenter(model.module, SIZE, batch=1, neighbours=2, rounds=2)
        with torch.no_grad():
            together = frozen(image)
            one_by_one = [torch.cat(parts) for parts in zip(*(alone(picture[None]) for picture in image), strict=True)]
        for tensor, whole, parts in zip(found, together, one_by_one, strict=True):
            np.testing.assert_allclose(tensor, whole.numpy(), atol=2e-5)
            np.testing.assert_allclose(tensor, parts.numpy(), atol=2e-5)


def test_only_one_shape_is_computed_while_running(open_model: tuple[LoadedModel[IFSegModel], Path, Artifact]) -> None:
    """An open number of pictures costs what constants are repeated by, and nothing else."""
    operators = Counter(node.op_type for node in onnx.load(open_model[1]).graph.node)
    assert operators["Shape"] == 1


def test_the_sidecar_says_so(open_model: tuple[LoadedModel[IFSegModel], Path, Artifact]) -> None:
    _, path, artifact = open_model
    assert (artifact.smallest_batch, artifact.batch, artifact.takes_single_frames) == (1, 3, True)
    assert [spec.shape[0] for spec in (*artifact.inputs, *artifact.outputs)] == [-1] * 4
    assert read_artifact(path) == artifact
    single = artifact.for_single_frames()
    assert (single.batch, single.smallest_batch, single.inputs[0].shape) == (1, None, (1, 3, *SIZE))
    assert single.for_single_frames() is single


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"smallest_batch": None}, r"'image' should be float32 \[3, 3, 64, 80\], found float32 \[-1, 3, 64, 80\]"),
        ({"smallest_batch": 4}, "the smallest batch 4 is above the largest 3"),
        ({"smallest_batch": 0}, "a size is not positive"),
    ],
)
def test_a_sidecar_that_contradicts_itself(
    open_model: tuple[LoadedModel[IFSegModel], Path, Artifact],
    tmp_path: Path,
    changes: dict[str, int | None],
    message: str,
) -> None:
    with pytest.raises(ArtifactError, match=message):
        write_artifact(msgspec.structs.replace(open_model[2], **changes), tmp_path / "model.json")


def test_single_frames_run(
    open_model: tuple[LoadedModel[IFSegModel], Path, Artifact], noise: Callable[..., torch.Tensor]
) -> None:
    frame = np.random.default_rng(0).integers(0, 255, (70, 90, 3), dtype=np.uint8)
    with Segmenter(open_model[1], device="cpu", threads=1) as segmenter:
        assert segmenter(frame).labels.shape == (70, 90)
        assert segmenter.artifact.batch == 1


def test_ranges_above_one_frame_are_refused(
    open_model: tuple[LoadedModel[IFSegModel], Path, Artifact], tmp_path: Path
) -> None:
    _, path, artifact = open_model
    copy = tmp_path / "model.onnx"
    copy.write_bytes(path.read_bytes())
    write_artifact(msgspec.structs.replace(artifact, smallest_batch=2), sidecar_path(copy))
    with pytest.raises(ArtifactError, match="exported for batches of 2 to 3 frames; expected single") as caught:
        Segmenter(copy)
    assert caught.value.hint == "export it again with --batch 1, or 1..3 for both"


def test_both_ends_are_compared(
    open_model: tuple[LoadedModel[IFSegModel], Path, Artifact], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, path, artifact = open_model
    frozen = FrozenSegmenter(model.module, SIZE, batch=3, smallest_batch=1, neighbours=2, rounds=2)
    pictures = [(str(seed), textured_picture(70, 90, seed=seed)) for seed in range(6)]
    sizes: list[int] = []
    features = model.module.features

    def counted(image: torch.Tensor) -> torch.Tensor:
        sizes.append(len(image))
        return features(image)

    monkeypatch.setattr(model.module, "features", counted)
    report = measure_parity(model.module, frozen, path, artifact.preprocess, pictures, artifact.category_names)
    report.check()
    assert (sizes, report.pictures) == ([1, 3, 1, 3], 6)
