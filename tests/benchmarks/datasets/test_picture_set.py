"""The project's own folder layout: splits, label values, refusals."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from benchmarks.datasets.folder import open_folder
from benchmarks.datasets.open import open_set
from benchmarks.datasets.values import IGNORED
from ifseg_rt.errors import SourceError, UsageError


def write_set(folder: Path, names: list[str], values: list[int]) -> None:
    (folder / "images").mkdir(parents=True)
    (folder / "labels").mkdir()
    for name in names:
        cv2.imwrite(str(folder / "images" / f"{name}.jpg"), np.full((4, len(values), 3), 128, np.uint8))
        Image.fromarray(np.tile(np.array(values, np.uint8), (4, 1))).save(folder / "labels" / f"{name}.png")


def write_meta(folder: Path, classes: dict[int, str], ignore: int | list[int] = 255) -> None:
    (folder / "meta.json").write_text(json.dumps({"classes": classes, "ignore": ignore}))


def test_reads_flat_and_nested_layouts(tmp_path: Path) -> None:
    write_set(tmp_path / "flat", ["b", "a"], [0, 1, 255])
    write_meta(tmp_path / "flat", {0: "sky", 1: "road"})
    write_set(tmp_path / "nested" / "train", ["t"], [0, 1])
    write_set(tmp_path / "nested" / "val", ["v"], [0, 1])
    write_meta(tmp_path / "nested", {0: "sky", 1: "road"})

    flat = open_folder(tmp_path / "flat")
    assert [p.name for p in flat.pictures()] == ["a", "b"]
    assert flat.categories == ("sky", "road")
    assert flat.pictures()[0].picture().shape == (4, 3, 3)
    assert flat.pictures()[0].truth().tolist() == [[0, 1, IGNORED]] * 4

    assert [p.name for p in open_folder(tmp_path / "nested").pictures()] == ["t", "v"]
    one_split = open_folder(tmp_path / "nested" / "val")
    assert ([p.name for p in one_split.pictures()], one_split.name) == (["v"], "nested")


def test_gaps_in_the_values_close_and_listed_values_are_ignored(tmp_path: Path) -> None:
    write_set(tmp_path, ["a"], [1, 3, 2, 0, 9])
    write_meta(tmp_path, {9: "bus", 1: "person", 3: "car"}, ignore=[0, 2])
    data = open_folder(tmp_path)
    assert data.categories == ("person", "car", "bus")
    assert data.pictures()[0].truth()[0].tolist() == [0, 1, IGNORED, IGNORED, 2]


def test_a_class_that_is_ignored_is_no_class(tmp_path: Path) -> None:
    write_set(tmp_path, ["a"], [0, 1, 2])
    write_meta(tmp_path, {0: "void", 1: "person", 2: "car"}, ignore=0)
    data = open_folder(tmp_path)
    assert data.categories == ("person", "car")
    assert data.pictures()[0].truth()[0].tolist() == [IGNORED, 0, 1]


def test_palette_labels_stay_indices(tmp_path: Path) -> None:
    write_set(tmp_path, ["a"], [0, 1])
    write_meta(tmp_path, {0: "sky", 1: "road"})
    picture = Image.fromarray(np.array([[1, 0]] * 4, np.uint8)).convert("P")
    picture.putpalette([200, 10, 10, 10, 200, 10])
    picture.putdata([1, 0] * 4)
    picture.save(tmp_path / "labels" / "a.png")
    assert open_folder(tmp_path).pictures()[0].truth()[0].tolist() == [1, 0]


def test_limit_spreads_over_the_set(tmp_path: Path) -> None:
    write_set(tmp_path, [f"{i}" for i in range(9)], [0])
    write_meta(tmp_path, {0: "sky"})
    data = open_folder(tmp_path)
    assert [p.name for p in data.pictures(3)] == ["0", "4", "8"]
    assert len(data.pictures(100)) == 9


def test_refusals_name_the_file(tmp_path: Path) -> None:
    root = tmp_path / "set"
    write_set(root, ["a"], [0, 1])
    with pytest.raises(SourceError, match=r"no meta\.json"):
        open_folder(root)
    write_meta(root, {})
    with pytest.raises(SourceError, match="classes"):
        open_folder(root)
    (root / "meta.json").write_text("{not json")
    with pytest.raises(SourceError, match=r"meta\.json does not say"):
        open_folder(root)
    write_meta(root, {0: "sky"})
    with pytest.raises(SourceError, match=r"a\.png holds the label value 1") as caught:
        open_folder(root).pictures()[0].truth()
    assert caught.value.hint == "expected the values of meta.json: 0, 255"
    Image.new("RGB", (2, 4)).save(root / "labels" / "a.png")
    with pytest.raises(SourceError, match="mode RGB"):
        open_folder(root).pictures()[0].truth()
    Image.new("L", (5, 4)).save(root / "labels" / "a.png")
    with pytest.raises(SourceError, match=r"a\.png is 5 x 4 pixels and its picture 2 x 4"):
        open_folder(root).pictures()[0].read()
    (root / "labels" / "a.png").write_bytes(b"nothing")
    with pytest.raises(SourceError, match=r"cannot decode the labels .*a\.png"):
        open_folder(root).pictures()[0].truth()
    (root / "images" / "a.jpg").write_bytes(b"nothing")
    with pytest.raises(SourceError, match=r"cannot decode the picture .*a\.jpg"):
        open_folder(root).pictures()[0].picture()
    (root / "labels" / "a.png").unlink()
    with pytest.raises(SourceError, match=r"a\.png is missing"):
        open_folder(root)
    (root / "images" / "a.jpg").unlink()
    with pytest.raises(SourceError, match="no pictures under"):
        open_folder(root)


def test_what_a_set_may_be_called(tmp_path: Path) -> None:
    write_set(tmp_path / "val", ["a"], [0])
    write_set(tmp_path / "test", ["b", "c"], [0])
    write_meta(tmp_path, {0: "sky"})
    assert len(open_set(str(tmp_path)).items) == 3
    assert len(open_set(str(tmp_path), split="test").items) == 2
    with pytest.raises(SourceError, match="there is no folder nowhere"):
        open_set("nowhere")
    with pytest.raises(UsageError, match="there is no set 'nothing'"):
        open_set("nothing", tmp_path)
    with pytest.raises(UsageError, match="voc needs --root"):
        open_set("voc")
    with pytest.raises(UsageError, match="--labels is for the known sets"):
        open_set(str(tmp_path), labels="raw")


def test_camvid_as_shared(shared: Path) -> None:
    data = open_folder(shared / "data" / "camvid_val")
    assert (len(data.pictures()), len(data.categories), data.categories[4]) == (101, 11, "pavement")
    truth = data.pictures()[0].truth()
    assert truth.shape == data.pictures()[0].picture().shape[:2] == (360, 480)
    assert set(np.unique(truth)) <= set(range(-1, 11))
