"""The comparison notices what it should, and a refused export touches nothing."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch

from export.frozen.segmenter import FrozenSegmenter
from export.graph.writer import write_onnx
from export.parity.graph import ParityReport, measure_parity
from export.pictures import parity_pictures, textured_picture
from export.sidecar import category_records, preprocess_of
from ifseg_rt.errors import ExportError, SourceError, VocabularyError
from train.loaded_model import LoadedModel
from train.models.ofa.model import IFSegModel

SIZE = (96, 128)
GOOD = ParityReport(
    max_logit_difference=1e-5,
    label_agreement=1.0,
    label_agreement_unrefined=1.0,
    worst_picture=("a.jpg", 1.0),
    worst_class=("sky", 1.0),
    pictures=3,
)


@pytest.fixture(scope="module")
def graph(smallest: LoadedModel[IFSegModel], tmp_path_factory: pytest.TempPathFactory) -> tuple[FrozenSegmenter, Path]:
    path = tmp_path_factory.mktemp("graph") / "model.onnx"
    frozen = FrozenSegmenter(smallest.module, SIZE, batch=2, rounds=1)
    write_onnx(frozen, path)
    return frozen, path


def compare(model: IFSegModel, graph: tuple[FrozenSegmenter, Path]) -> ParityReport:
    pictures = [(str(i), textured_picture(120, 150, seed=i)) for i in range(3)]  # one more than a full batch
    names = ["sky", "road", "tree", "car"]
    return measure_parity(model, graph[0], graph[1], preprocess_of(model.config, SIZE), pictures, names)


def test_the_same_model_agrees_on_every_picture(
    smallest: LoadedModel[IFSegModel], graph: tuple[FrozenSegmenter, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[torch.Tensor] = []
    features = smallest.module.features

    def recorded(image: torch.Tensor) -> torch.Tensor:
        seen.append(image)
        return features(image)

    monkeypatch.setattr(smallest.module, "features", recorded)
    report = compare(smallest.module, graph)
    report.check()
    assert report.label_agreement == pytest.approx(1.0)
    assert report.pictures == report.parity.pictures == len(torch.cat(seen).flatten(1).unique(dim=0)) == 3


def test_another_model_is_noticed(smallest: LoadedModel[IFSegModel], graph: tuple[FrozenSegmenter, Path]) -> None:
    other = copy.deepcopy(smallest).module
    other.category_embedding = other.category_embedding.flip(0)
    report = compare(other, graph)
    assert report.label_agreement < 0.5
    assert report.worst_class[1] < 0.5
    with pytest.raises(ExportError, match="logits differ by up to"):
        report.check()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_logit_difference": 2e-3}, "logits differ"),
        ({"max_logit_difference": float("nan")}, "logits differ"),
        ({"label_agreement": 0.998}, "99.8"),
        ({"label_agreement_unrefined": 0.99}, "99.0"),
    ],
)
def test_tolerances(changes: dict[str, float], message: str) -> None:
    GOOD.check()
    fields = {**GOOD.to_dict(), **changes}
    with pytest.raises(ExportError, match=message):
        ParityReport(**fields).check()


def test_shipped_and_own_pictures(tmp_path: Path) -> None:
    import cv2

    shipped = parity_pictures(None)
    assert len(shipped) >= 3
    assert all(frame.dtype == np.uint8 and frame.shape[2] == 3 for _, frame in shipped)
    assert np.array_equal(textured_picture(50, 60, seed=1), textured_picture(50, 60, seed=1))

    with pytest.raises(SourceError, match="no pictures"):
        parity_pictures(tmp_path)
    for i in range(20):
        cv2.imwrite(str(tmp_path / f"{i:02}.png"), textured_picture(20, 30, seed=i))
    (tmp_path / "notes.txt").write_text("not a picture")
    chosen = [name for name, _ in parity_pictures(tmp_path)]
    assert len(chosen) == 16
    assert (chosen[0], chosen[-1]) == ("00.png", "19.png")
    (tmp_path / "00.png").write_bytes(b"no")
    with pytest.raises(SourceError, match=r"00\.png"):
        parity_pictures(tmp_path)


def test_names_must_fit_the_categories(smallest: LoadedModel[IFSegModel]) -> None:
    nameless = LoadedModel(smallest.module)
    with pytest.raises(VocabularyError, match="does not know the names"):
        category_records(nameless, None)
    with pytest.raises(VocabularyError, match="4 categories, but 2 names"):
        category_records(nameless, ["a", "b"])
    assert [record.name for record in category_records(nameless, list("abcd"))] == list("abcd")
