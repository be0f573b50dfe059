"""COCO files, as pycocotools reads them."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from ifseg_rt.errors import DeviceError
from ifseg_rt.sinks.coco import CocoSink, require_pycocotools
from ifseg_rt.sinks.placing.files import Place
from ifseg_rt.sources.base import Frame
from tests.ifseg_rt.sinks.made_up import result_of


def test_pycocotools_reads_back_the_labels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pycocotools")
    from pycocotools.coco import COCO

    maps = [np.random.default_rng(seed).integers(0, 4, (21, 33), dtype=np.uint8) for seed in (1, 2)]
    maps[1][maps[1] == 2] = 0
    sink = CocoSink(Place(tmp_path / "c.json"), "caf\udce9.mp4", still=False)
    for index, labels in enumerate(maps):
        frame = Frame(np.zeros((21, 33, 3), np.uint8), index, time=index / 8)
        assert sink.write(frame, result_of(labels, 4), None) == {"coco": str(tmp_path / "c.json")}
    sink.close()
    assert [path.name for path in tmp_path.iterdir()] == ["c.json"]
    data = COCO(str(tmp_path / "c.json"))
    assert [category["name"] for category in data.loadCats(data.getCatIds())] == ["c0", "c1", "c2", "c3"]
    assert [image["time"] for image in data.loadImgs(data.getImgIds())] == [0.0, 0.125]
    for index, labels in enumerate(maps):
        found = np.full(labels.shape, 255, np.uint8)
        for annotation in data.loadAnns(data.getAnnIds(imgIds=[index])):
            mask = data.annToMask(annotation)
            assert annotation["area"] == mask.sum()
            found[mask == 1] = annotation["category_id"]
        np.testing.assert_array_equal(found, labels)
        assert len(data.getAnnIds(imgIds=[index])) == np.unique(labels).size


def test_without_pycocotools_the_remedy_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    with pytest.raises(DeviceError) as caught:
        require_pycocotools()
    assert "ifseg-rt[coco]" in str(caught.value.hint)
