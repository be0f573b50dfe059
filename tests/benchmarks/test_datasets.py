"""The folder reader: layouts, label values, refusals."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from benchmarks.datasets import IGNORED, LabelledImages
from ifseg_rt.errors import SourceError


def write_set(folder: Path, names: list[str], values: list[int]) -> None:
    (folder / "images").mkdir(parents=True)
    (folder / "labels").mkdir()
    for name in names:
        cv2.imwrite(str(folder / "images" / f"{name}.jpg"), np.full((4, len(values), 3), 128, np.uint8))
        Image.fromarray(np.tile(np.array(values, np.uint8), (4, 1))).save(folder / "labels" / f"{name}.png")


def write_meta(folder: Path, classes: dict[int, str], ignore: int = 255) -> None:
    (folder / "meta.json").write_text(json.dumps({"classes": classes, "ignore": ignore}))


def test_reads_flat_and_nested_layouts(tmp_path: Path) -> None:
    write_set(tmp_path / "flat", ["b", "a"], [0, 1, 255])
    write_meta(tmp_path / "flat", {0: "sky", 1: "road"})
    write_set(tmp_path / "nested" / "train", ["t"], [0, 1])
    write_set(tmp_path / "nested" / "val", ["v"], [0, 1])
    write_meta(tmp_path / "nested", {0: "sky", 1: "road"})

    flat = LabelledImages(tmp_path / "flat")
    assert [p.name for p in flat.pictures()] == ["a", "b"]
    assert flat.categories == ("sky", "road")
    assert flat.pictures()[0].picture().shape == (4, 3, 3)
    assert flat.pictures()[0].truth().tolist() == [[0, 1, IGNORED]] * 4

    assert [p.name for p in LabelledImages(tmp_path / "nested").pictures()] == ["t", "v"]
    one_split = LabelledImages(tmp_path / "nested" / "val")
    assert ([p.name for p in one_split.pictures()], one_split.name) == (["v"], "nested")


def test_gaps_in_the_values_close_and_unlisted_values_are_ignored(tmp_path: Path) -> None:
    write_set(tmp_path, ["a"], [1, 3, 2, 0, 9])
    write_meta(tmp_path, {9: "bus", 1: "person", 3: "car"}, ignore=0)
    data = LabelledImages(tmp_path)
    assert data.categories == ("person", "car", "bus")
    assert data.pictures()[0].truth()[0].tolist() == [0, 1, IGNORED, IGNORED, 2]


def test_palette_labels_stay_indices(tmp_path: Path) -> None:
    write_set(tmp_path, ["a"], [0, 1])
    write_meta(tmp_path, {0: "sky", 1: "road"})
    picture = Image.fromarray(np.array([[1, 0]] * 4, np.uint8)).convert("P")
    picture.putpalette([200, 10, 10, 10, 200, 10])
    picture.putdata([1, 0] * 4)
    picture.save(tmp_path / "labels" / "a.png")
    assert LabelledImages(tmp_path).pictures()[0].truth()[0].tolist() == [1, 0]


def test_limit_spreads_over_the_set(tmp_path: Path) -> None:
    write_set(tmp_path, [f"{i}" for i in range(9)], [0])
    write_meta(tmp_path, {0: "sky"})
    data = LabelledImages(tmp_path)
    assert [p.name for p in data.pictures(3)] == ["0", "4", "8"]
    assert len(data.pictures(100)) == 9


def test_refusals_name_the_file(tmp_path: Path) -> None:
    root = tmp_path / "set"
    write_set(root, ["a"], [0, 1])
    with pytest.raises(SourceError, match=r"no meta\.json"):
        LabelledImages(root)
    write_meta(root, {})
    with pytest.raises(SourceError, match="classes"):
        LabelledImages(root)
    write_meta(root, {0: "sky"})
    Image.new("RGB", (2, 4)).save(root / "labels" / "a.png")
    with pytest.raises(SourceError, match="mode RGB"):
        LabelledImages(root).pictures()[0].truth()
    (root / "labels" / "a.png").unlink()
    with pytest.raises(SourceError, match=r"a\.png is missing"):
        LabelledImages(root)


def test_camvid_as_shared(shared: Path) -> None:
    data = LabelledImages(shared / "data" / "camvid_val")
    assert (len(data.pictures()), len(data.categories), data.categories[4]) == (101, 11, "pavement")
    truth = data.pictures()[0].truth()
    assert truth.shape == data.pictures()[0].picture().shape[:2] == (360, 480)
    assert set(np.unique(truth)) <= set(range(-1, 11))
