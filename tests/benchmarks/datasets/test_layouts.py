"""The known sets as they lie on users' disks: tiny copies of every layout, and what is said when something is amiss."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from benchmarks.datasets.open import open_set
from benchmarks.datasets.picture_set import PictureSet
from benchmarks.datasets.values import IGNORED
from ifseg_rt.errors import IfsegError, SourceError


def put(picture: Path, label: Path, values: list[int], mode: str = "L") -> None:
    """Write a grey picture and a label picture, one row of values."""
    for path in (picture, label):
        path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(picture), np.full((1, len(values), 3), 128, np.uint8))
    labels = Image.fromarray(np.array([values], np.uint8))
    if mode == "P":
        labels = labels.convert("P")
        labels.putpalette([value // 3 for value in range(768)])
        labels.putdata(values)
    labels.save(label)


def lists(path: Path, ids: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(ids) + "\n")


def make_voc(root: Path, values: list[int]) -> None:
    base = root / "VOCdevkit" / "VOC2012"
    for name in ("2007_1", "2007_2"):
        put(base / "JPEGImages" / f"{name}.jpg", base / "SegmentationClass" / f"{name}.png", values, "P")
    lists(base / "ImageSets" / "Segmentation" / "val.txt", ["2007_1"])
    lists(base / "ImageSets" / "Segmentation" / "train.txt", ["2007_2"])


def make_context(root: Path, values: list[int]) -> None:
    base = root / "VOC2010"
    put(base / "JPEGImages" / "1.jpg", base / "SegmentationClassContext" / "1.png", values)
    lists(base / "ImageSets" / "SegmentationContext" / "val.txt", ["1"])


def make_ade20k(root: Path, values: list[int]) -> None:
    base = root / "ADEChallengeData2016"
    for part in ("training", "validation"):
        put(base / "images" / part / "ADE_1.jpg", base / "annotations" / part / "ADE_1.png", values)


def make_cocostuff(root: Path, values: list[int]) -> None:
    put(root / "images" / "val2017" / "7.jpg", root / "annotations" / "val2017" / "7.png", values)


def make_converted(root: Path, values: list[int]) -> None:
    label = root / "coco_stuff164k" / "annotations" / "val2017" / "7_labelTrainIds.png"
    put(root / "coco_stuff164k" / "images" / "val2017" / "7.jpg", label, values)


def make_reference_coco(root: Path, values: list[int]) -> None:
    put(root / "val2017" / "7.jpg", root / "labels" / "val2017" / "7.png", values)


def make_cityscapes(root: Path, values: list[int], kind: str = "labelIds") -> None:
    name = "ulm_000000_000019"
    label = root / "gtFine" / "val" / "ulm" / f"{name}_gtFine_{kind}.png"
    put(root / "leftImg8bit" / "val" / "ulm" / f"{name}_leftImg8bit.png", label, values)


def make_trained_cityscapes(root: Path, values: list[int]) -> None:
    make_cityscapes(root, values, "labelTrainIds")


def make_camvid(root: Path, values: list[int]) -> None:
    for part in ("val", "test"):
        put(root / "CamVid" / part / "s1.png", root / "CamVid" / f"{part}annot" / "s1.png", values)


def truth_of(data: PictureSet) -> list[int]:
    assert len(data.items) == 1
    picture, truth = data.items[0].read()
    assert picture.shape[:2] == truth.shape
    return [int(value) for value in truth[0]]


@pytest.mark.parametrize(
    ("name", "make", "values", "expected", "classes"),
    [
        ("voc", make_voc, [0, 1, 20, 255], [IGNORED, 0, 19, IGNORED], 20),
        ("voc21", make_voc, [0, 1, 20, 255], [0, 1, 20, IGNORED], 21),
        ("context", make_context, [0, 1, 59], [IGNORED, 0, 58], 59),
        ("context60", make_context, [0, 1, 59], [0, 1, 59], 60),
        ("ade20k", make_ade20k, [0, 1, 150], [IGNORED, 0, 149], 150),
        ("ade20k", make_ade20k, [0, 149, 255], [0, 149, IGNORED], 150),
        ("cocostuff", make_cocostuff, [0, 12, 181, 255], [0, 11, 170, IGNORED], 171),
        ("cocostuff", make_cocostuff, [0, 11, 170, 255], [0, 11, 170, IGNORED], 171),
        ("cocostuff", make_converted, [0, 12, 170, 255], [0, 12, 170, IGNORED], 171),
        ("cocostuff", make_reference_coco, [0, 12, 181, 255], [0, 11, 170, IGNORED], 171),
        ("cocostuff-unseen", make_cocostuff, [33, 0, 144, 181], [0, IGNORED, 14, IGNORED], 15),
        ("cocostuff-unseen", make_converted, [29, 0, 133, 255], [0, IGNORED, 14, IGNORED], 15),
        ("cityscapes", make_cityscapes, [0, 7, 33, 255, 9], [IGNORED, 0, 18, IGNORED, IGNORED], 19),
        ("cityscapes", make_trained_cityscapes, [0, 18, 255], [0, 18, IGNORED], 19),
        ("camvid", make_camvid, [0, 10, 11, 255], [0, 10, IGNORED, IGNORED], 11),
    ],
)
def test_every_layout(name: str, make, values: list[int], expected: list[int], classes: int, tmp_path: Path) -> None:
    make(tmp_path, values)
    data = open_set(name, tmp_path)
    assert truth_of(data) == expected
    assert len(data.categories) == classes
    assert data.names_file is not None
    assert data.names_file.is_file()


def test_layouts_are_found_from_any_usual_depth(tmp_path: Path) -> None:
    make_voc(tmp_path, [0, 1])
    for root in (tmp_path, tmp_path / "VOCdevkit", tmp_path / "VOCdevkit" / "VOC2012"):
        assert open_set("voc", root).items[0].name == "2007_1"
    assert open_set("voc", tmp_path, split="train").items[0].name == "2007_2"
    assert open_set("voc", tmp_path, split="train").name == "voc train"


def test_the_kind_of_labels_is_told_or_given(tmp_path: Path) -> None:
    make_cocostuff(tmp_path, [0, 12, 181])
    assert open_set("cocostuff", tmp_path).labels.endswith("(by their values)")
    make_cocostuff(tmp_path, [0, 12])
    assert "assumed" in open_set("cocostuff", tmp_path).labels
    assert truth_of(open_set("cocostuff", tmp_path)) == [0, 11]
    assert truth_of(open_set("cocostuff", tmp_path, labels="converted")) == [0, 12]
    # Both kinds beside each other, as a converter leaves them: those that came with the set are read.
    put(tmp_path / "x.jpg", tmp_path / "annotations" / "val2017" / "7_labelTrainIds.png", [0, 11])
    assert truth_of(open_set("cocostuff", tmp_path)) == [0, 11]
    assert open_set("cocostuff", tmp_path, labels="converted").items[0].label_path.name == "7_labelTrainIds.png"


def test_the_fifteen_way_task_says_so(tmp_path: Path) -> None:
    make_cocostuff(tmp_path, [33, 148])
    data = open_set("cocostuff-unseen", tmp_path)
    assert "15-way" in data.note
    assert data.categories[:3] == ("frisbee", "skateboard", "cardboard")
    assert truth_of(data) == [0, 8]


@pytest.mark.parametrize(
    ("name", "make", "values", "message"),
    [
        ("voc", make_voc, [0, 21], "the label value 21"),
        ("context", make_context, [60], "the label value 60"),
        ("ade20k", make_ade20k, [151], "the label value 151"),
        ("ade20k", make_ade20k, [150, 255], "the label value 255, and the labels together"),
        ("cocostuff", make_cocostuff, [182], "the label value 182"),
        ("cocostuff", make_converted, [171], "the label value 171"),
        ("cityscapes", make_cityscapes, [34], "the label value 34"),
        ("camvid", make_camvid, [12], "the label value 12"),
    ],
)
def test_strange_values_are_named(name: str, make, values: list[int], message: str, tmp_path: Path) -> None:
    make(tmp_path, values)
    with pytest.raises(SourceError, match=message) as caught:
        open_set(name, tmp_path).items[0].read()
    assert caught.value.hint
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("voc", "does not hold VOC2012"),
        ("context", "does not hold VOC2010"),
        ("ade20k", "does not hold ADEChallengeData2016"),
        ("cocostuff", "no folder of pictures val2017"),
        ("cityscapes", "does not hold leftImg8bit"),
        ("camvid", "does not hold test and testannot"),
    ],
)
def test_another_folder(name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=message):
        open_set(name, tmp_path)


def test_missing_parts(tmp_path: Path) -> None:
    voc, coco, ade, city = (tmp_path / name for name in ("voc", "coco", "ade", "city"))
    make_voc(voc, [0])
    with pytest.raises(SourceError, match=r"there is no list .*night\.txt") as caught:
        open_set("voc", voc, split="night")
    assert caught.value.hint == "--split names one of the lists there: train, val"
    (voc / "VOCdevkit" / "VOC2012" / "SegmentationClass" / "2007_1.png").unlink()
    with pytest.raises(SourceError, match=r"2007_1\.jpg has no labels"):
        open_set("voc", voc)
    (voc / "VOCdevkit" / "VOC2012" / "JPEGImages" / "2007_1.jpg").unlink()
    with pytest.raises(SourceError, match=r"there is no picture .*2007_1\.jpg"):
        open_set("voc", voc)
    (coco / "val2017").mkdir(parents=True)
    with pytest.raises(SourceError, match="no labels of val2017"):
        open_set("cocostuff", coco)
    make_ade20k(ade, [1])
    with pytest.raises(SourceError, match=r"there is no folder .*night") as caught:
        open_set("ade20k", ade, split="night")
    assert "training, validation" in str(caught.value.hint)
    make_cityscapes(city, [7])
    with pytest.raises(SourceError, match=r"there is no folder .*night"):
        open_set("cityscapes", city, split="night")
    with pytest.raises(SourceError, match="there is no folder"):
        open_set("voc", tmp_path / "nowhere")
    with pytest.raises(IfsegError, match="only one kind"):
        open_set("voc", voc, labels="converted")
