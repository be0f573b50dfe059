"""Label maps: the category index in every pixel, whoever reads them."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from ifseg_rt.errors import SourceError
from ifseg_rt.result import Result
from ifseg_rt.sinks.base import SinkError
from ifseg_rt.sinks.label_video import LabelVideoSink, read_label_video
from ifseg_rt.sinks.masks import MasksSink
from ifseg_rt.sinks.palette import is_our_own, read_labels
from ifseg_rt.sinks.pictures import LabelsSink, OverlaySink
from ifseg_rt.sinks.placing.files import Place
from ifseg_rt.sinks.together import Together
from ifseg_rt.sources.base import Frame
from tests.ifseg_rt.sinks.made_up import result_of

RANDOM = np.random.default_rng(0)


def write_labels(path: Path, result: Result) -> None:
    frame = Frame(np.zeros((*result.labels.shape, 3), np.uint8), 0)
    written = LabelsSink(lambda index: Place(path)).write(frame, result, None)
    assert written == {"labels": str(path)}


@pytest.mark.parametrize(("categories", "shape"), [(1, (1, 1)), (24, (35, 41)), (255, (7, 300)), (256, (9, 9))])
def test_coloured_for_people_and_indices_for_programs(tmp_path: Path, categories: int, shape: tuple[int, int]) -> None:
    labels = RANDOM.integers(0, categories, shape, dtype=np.uint8)
    result = result_of(labels, categories)
    write_labels(tmp_path / "l.png", result)
    with Image.open(tmp_path / "l.png") as picture:
        assert picture.mode == "P"
        np.testing.assert_array_equal(np.asarray(picture), labels)
        np.testing.assert_array_equal(np.asarray(picture.convert("RGB")), np.array(result.colors, np.uint8)[labels])
    np.testing.assert_array_equal(read_labels(tmp_path / "l.png"), labels)
    painted = cv2.imread(str(tmp_path / "l.png"))
    np.testing.assert_array_equal(painted[:, :, ::-1], np.array(result.colors, np.uint8)[labels])


def test_many_categories_are_16_bit_grey(tmp_path: Path) -> None:
    labels = RANDOM.integers(0, 300, (13, 17), dtype=np.uint16)
    write_labels(tmp_path / "l.png", result_of(labels, 300))
    np.testing.assert_array_equal(read_labels(tmp_path / "l.png"), labels)
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "l.png"), cv2.IMREAD_UNCHANGED), labels)
    with Image.open(tmp_path / "l.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), labels)


def test_only_our_own_unaltered_file_is_known_as_ours(tmp_path: Path) -> None:
    path = tmp_path / "l.png"
    write_labels(path, result_of(np.zeros((8, 9), np.uint8)))
    assert is_our_own(path)
    (tmp_path / "link.png").symlink_to(path)
    assert not is_our_own(tmp_path / "link.png")
    with Image.open(path) as picture:
        picture.putpixel((3, 3), 2)
        picture.save(tmp_path / "edited.png")
    write_labels(tmp_path / "other.png", result_of(np.ones((8, 9), np.uint8)))
    ours, other = path.read_bytes(), (tmp_path / "other.png").read_bytes()
    (tmp_path / "corrected.png").write_bytes(ours[: ours.index(b"IDAT") - 4] + other[other.index(b"IDAT") - 4 :])
    np.testing.assert_array_equal(read_labels(tmp_path / "corrected.png"), 1)
    cv2.imwrite(str(tmp_path / "foreign.png"), np.zeros((3, 3), np.uint8))
    (tmp_path / "cut.png").write_bytes(path.read_bytes()[:-30])
    for name in ("edited", "corrected", "foreign", "cut", "missing"):
        assert not is_our_own(tmp_path / f"{name}.png"), name


def test_what_is_no_label_map_is_refused(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "color.png"), np.zeros((3, 3, 3), np.uint8))
    (tmp_path / "text.png").write_text("x")
    write_labels(tmp_path / "l.png", result_of(np.zeros((80, 90), np.uint8)))
    (tmp_path / "cut.png").write_bytes((tmp_path / "l.png").read_bytes()[:-40])
    for name in ("color.png", "text.png", "cut.png", "missing.png"):
        with pytest.raises(SourceError, match=name):
            read_labels(tmp_path / name)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_label_video_is_exact(tmp_path: Path, dtype: type) -> None:
    maps = [RANDOM.integers(0, np.iinfo(dtype).max, (31, 45)).astype(dtype) for _ in range(5)]
    times = [0.0, 0.04, 0.2, 0.201, 3.0]
    sink = LabelVideoSink(Place(tmp_path / "l.mkv"))
    for index, (time, labels) in enumerate(zip(times, maps, strict=True)):
        frame = Frame(np.zeros((31, 45, 3), np.uint8), index, time=time)
        result = Result(labels, np.zeros((1, 1, 1), np.float32), ("a",), ((0, 0, 0),))
        assert sink.write(frame, result, None) == {"label-video": str(tmp_path / "l.mkv")}
    sink.close()
    found = list(read_label_video(tmp_path / "l.mkv"))
    np.testing.assert_allclose([time for time, _ in found], times, atol=0.0005)
    for (_, decoded), labels in zip(found, maps, strict=True):
        assert decoded.dtype == dtype
        np.testing.assert_array_equal(decoded, labels)


def test_masks_of_the_categories_present(tmp_path: Path) -> None:
    labels = np.array([[0, 1], [3, 3]], np.uint8)
    names = ("a/b", "A:B", "unseen", "..", "con")
    result = Result(labels, np.zeros((5, 1, 1), np.float32), names, ((0, 0, 0),) * 5)
    sink = MasksSink(lambda index: tmp_path / "m" / str(index))
    assert sink.write(Frame(np.zeros((2, 2, 3), np.uint8), 7), result, None) == {"masks": str(tmp_path / "m" / "7")}
    masks = {path.name: cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in (tmp_path / "m" / "7").iterdir()}
    assert len(masks) == 3  # two names differ in case and in characters that no file name may have
    np.testing.assert_array_equal(masks["a_b.png"], np.array([[255, 0], [0, 0]]))
    assert sum(mask.astype(int) for mask in masks.values()).tolist() == [[255, 255], [255, 255]]
    with pytest.raises(SinkError):
        sink.write(Frame(np.zeros((2, 2, 3), np.uint8), 7), result, None)
    assert len(list((tmp_path / "m").iterdir())) == 1


def test_one_output_that_fails_keeps_no_other_from_being_written(tmp_path: Path) -> None:
    picture = np.zeros((4, 70000, 3), np.uint8)
    result = result_of(np.zeros((4, 70000), np.uint8))
    overlay, labels = OverlaySink(Place(tmp_path / "o.jpg")), LabelsSink(lambda index: Place(tmp_path / "l.png"))
    with pytest.raises(SinkError, match=r"o\.jpg.*65500") as caught:
        Together([overlay, labels]).write(Frame(picture, 0), result, picture)
    assert caught.value.written == {"labels": str(tmp_path / "l.png")}
    assert [path.name for path in tmp_path.iterdir()] == ["l.png"]
    assert read_labels(tmp_path / "l.png").shape == (4, 70000)


@pytest.mark.skipif(sys.platform == "win32", reason="permissions as POSIX has them")
def test_files_have_the_permissions_of_the_umask(tmp_path: Path) -> None:
    import os

    before = os.umask(0o027)
    try:
        write_labels(tmp_path / "l.png", result_of(np.zeros((3, 3), np.uint8)))
    finally:
        os.umask(before)
    assert (tmp_path / "l.png").stat().st_mode & 0o777 == 0o640
