"""Label values: the reference's convention, strange values, and telling two kinds apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.datasets.known import KNOWN, NAMES, class_names, one_based
from benchmarks.datasets.values import IGNORED, LabelValues, detect, read_values
from ifseg_rt.categories import read_categories
from ifseg_rt.errors import SourceError

ODD = LabelValues.of("odd values", {1: 0, 3: 1}, ignored=(0,))
EVEN = LabelValues.of("even values", {2: 0, 4: 1}, ignored=(0,), kind="converted")


def write_labels(path: Path, values: list[int]) -> Path:
    Image.fromarray(np.array([values], np.uint8)).save(path)
    return path


@pytest.mark.parametrize(
    ("archive", "before", "after"),
    [
        ("train.npz", "label_convention_in", "label_convention_out"),
        ("eval.npz", "s0/annotation", "s0/gt"),
        ("eval.npz", "s1/annotation", "s1/gt"),
    ],
)
def test_golden_convention(golden: Path, archive: str, before: str, after: str) -> None:
    """Specification, section 10: 0 and 255 are not counted, 1..C are the classes; the reference marks ignored as C."""
    arrays = np.load(golden / archive)
    found = one_based(5, title="", also_ignored=(255,)).classes_of(arrays[before], Path(archive))
    expected = arrays[after].astype(int)
    np.testing.assert_array_equal(found, np.where(expected == 5, IGNORED, expected))


def test_classes_of_values() -> None:
    assert ODD.classes_of(np.array([[0, 1, 3]], np.uint8), Path("a.png")).tolist() == [[IGNORED, 0, 1]]
    with pytest.raises(SourceError, match=r"a\.png holds the label value 2") as caught:
        ODD.classes_of(np.array([[1, 2]], np.uint8), Path("a.png"))
    assert caught.value.hint == "expected odd values"


def test_regrouped_keeps_unknown_values_unknown() -> None:
    only = ODD.regrouped([1])
    assert only.classes_of(np.array([[0, 1, 3]], np.uint8), Path("a.png")).tolist() == [[IGNORED, IGNORED, 0]]
    assert only.unknown(np.array([2, 3])) == [2]


def test_detection(tmp_path: Path) -> None:
    odd, even = write_labels(tmp_path / "odd.png", [0, 1, 3]), write_labels(tmp_path / "even.png", [0, 4])
    either = write_labels(tmp_path / "either.png", [0])
    assert detect([either, odd], [ODD, EVEN]) == (ODD, "odd values (by their values)")
    assert detect([even, either], [ODD, EVEN])[0] is EVEN
    assert detect([either], [ODD, EVEN])[1] == "odd values (assumed: their values would fit either kind)"
    with pytest.raises(SourceError, match="fit no kind") as caught:
        detect([odd, even], [ODD, EVEN])
    assert caught.value.hint == "expected odd values, or even values"


def test_files_that_are_no_labels(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"cannot read the labels .*none\.png"):
        read_values(tmp_path / "none.png")
    Image.fromarray(np.zeros((2, 2), np.uint16)).save(tmp_path / "wide.png")
    with pytest.raises(SourceError, match="mode I;16"):
        read_values(tmp_path / "wide.png")


@pytest.mark.parametrize("name", KNOWN)
def test_published_names_have_a_line_per_class(name: str) -> None:
    assert len(read_categories(NAMES / f"{name}.txt")) == len(class_names(name))


@pytest.mark.parametrize(
    ("file", "name"),
    [("voc-official", "voc"), ("cocostuff-official", "cocostuff"), ("cocostuff-maskclip", "cocostuff")],
)
def test_other_names_have_a_line_per_class(file: str, name: str) -> None:
    assert len(read_categories(NAMES / f"{file}.txt")) == len(class_names(name))


def test_classes_as_shared(shared: Path) -> None:
    """Names, raw values and the fifteen unseen classes are those of the collected facts."""
    import json

    facts = json.loads((shared / "reference" / "classes.json").read_text())
    ours = json.loads((NAMES / "classes.json").read_text())
    pairs = {"camvid": "camvid11", "voc": "voc21", "context": "context59", "ade20k": "ade150"}
    for name, key in (pairs | {"cocostuff": "coco_stuff171", "cityscapes": "cityscapes19"}).items():
        assert ours[name]["classes"] == facts[key]
    assert ours["cocostuff"]["raw_values"] == facts["coco_stuff171_raw_png_id"]
    assert ours["cocostuff"]["unseen"] == facts["coco_unseen15_train_ids"]
    assert ours["cityscapes"]["raw_values"] == facts["cityscapes19_label_ids"]
    for name, key in {
        "cocostuff": "coco_stuff171_ifseg_names",
        "cocostuff-unseen": "coco_unseen15_ifseg_names",
        "cocostuff-maskclip": "coco_stuff171_maskclip_names",
    }.items():
        assert [category.name for category in read_categories(NAMES / f"{name}.txt")] == facts[key]
