"""What the command writes, and what it says on the way."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from ifseg_rt import read_labels


def test_one_picture_goes_to_the_default_folder(run: Any, pictures: Path, scene: np.ndarray) -> None:
    code, lines, err = run(pictures / "one.png")
    assert code == 0, err
    assert "writing to ifseg-rt-output/" in err
    assert "no window: there is no display" in err
    (line,) = lines
    assert line["source"].endswith("one.png")
    assert line["frame"] == 0
    assert line["size"] == {"width": 180, "height": 120}
    assert list(line["shares"].values()) == sorted(line["shares"].values(), reverse=True)
    assert {"read", "preprocess", "inference", "upsampling", "draw", "write", "total"} <= set(line["timings_ms"])
    labels = read_labels(line["outputs"]["labels"])
    assert labels.shape == (120, 180)
    assert [labels[60, x] for x in (10, 90, 170)] == [0, 1, 2]
    assert cv2.imread(line["outputs"]["overlay"]).shape == scene.shape
    stored = [json.loads(text) for text in Path("ifseg-rt-output/results.jsonl").read_text().splitlines()]
    assert stored == lines


def test_picture_output_by_name(run: Any, pictures: Path) -> None:
    code, lines, err = run(pictures / "one.png", "--output", "new/over.png", "--quiet", "--alpha", "1")
    assert (code, err) == (0, "")
    assert lines[0]["outputs"] == {"overlay": "new/over.png", "labels": "new/over_labels.png"}
    assert tuple(cv2.imread("new/over.png")[100, 10]) == (0, 0, 255)


def test_folder_with_a_corrupt_picture(run: Any, pictures: Path) -> None:
    (pictures / "broken.jpg").write_bytes(b"\xff\xd8\xff nothing")
    (pictures / "readme.txt").write_text("x")
    code, lines, err = run(pictures, "--output", "out/")
    assert code == 3
    assert [Path(line["source"]).name for line in lines] == ["one.png", "two.png"]
    assert "broken.jpg is not a readable picture" in err
    assert "error: 1 of 3 sources failed" in err
    assert "readme.txt" in err
    assert sorted(path.name for path in Path("out").iterdir()) == [
        "one_labels.png",
        "one_overlay.jpg",
        "results.jsonl",
        "two_labels.png",
        "two_overlay.jpg",
    ]


def test_a_single_corrupt_picture_is_the_error(run: Any, tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"nothing")
    code, lines, err = run("broken.jpg")
    assert (code, lines) == (3, [])
    assert err.count("error:") == 1


def test_same_names_do_not_overwrite_each_other(run: Any, pictures: Path, tmp_path: Path, scene: np.ndarray) -> None:
    other = tmp_path / "other"
    other.mkdir()
    cv2.imwrite(str(other / "one.png"), scene)
    code, lines, _ = run(pictures / "one.png", other / "one.png")
    assert code == 0
    assert len({line["outputs"]["overlay"] for line in lines}) == 2


def test_video_to_video(run: Any, clip: Path) -> None:
    code, lines, err = run(clip, "-o", "out.mp4")
    assert code == 0, err
    assert [line["frame"] for line in lines] == list(range(10))
    assert "10 frames" in err
    made = cv2.VideoCapture("out.mp4")
    assert made.get(cv2.CAP_PROP_FPS) == pytest.approx(12.0)
    assert made.get(cv2.CAP_PROP_FRAME_COUNT) == 10
    assert not Path("ifseg-rt-output").exists()


def test_video_to_a_folder_with_a_limit(run: Any, clip: Path) -> None:
    code, lines, _ = run(clip, "-o", "out", "--max-frames", "3")
    assert code == 0
    assert len(lines) == 3
    assert sorted(path.name for path in Path("out").iterdir()) == ["clip_overlay.mp4", "results.jsonl"]


class FakeCamera:
    """Gives some frames and then breaks, as one does that is unplugged."""

    def __init__(self, frames: int) -> None:
        self.left = frames

    def isOpened(self) -> bool:
        return True

    def read(self) -> tuple[bool, Any]:
        time.sleep(0.01)
        self.left -= 1
        if self.left < 0:
            raise cv2.error("select() timeout")
        return True, np.zeros((48, 64, 3), np.uint8)

    def set(self, setting: int, value: float) -> None:
        pass

    def release(self) -> None:
        pass


@pytest.fixture
def plug_in(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes camera 0 one of so many frames each time it is opened; files are opened as ever."""
    real = cv2.VideoCapture

    def make(*frames: int) -> None:
        left = iter(frames)
        monkeypatch.setattr(
            cv2, "VideoCapture", lambda what, *more: FakeCamera(next(left)) if what == 0 else real(what, *more)
        )

    return make


def test_camera(run: Any, plug_in: Callable[..., None]) -> None:
    plug_in(500)
    code, lines, err = run("--camera", "0", "--max-frames", "12", "-o", "cam.mp4")
    assert code == 0, err
    assert len(lines) == 12
    assert all(line["source"] == "camera 0" and "dropped" in line for line in lines)
    assert "dropped" in err
    assert cv2.VideoCapture("cam.mp4").get(cv2.CAP_PROP_FRAME_COUNT) == 12


def test_camera_without_output_saves_nothing_and_says_so(run: Any, plug_in: Callable[..., None]) -> None:
    plug_in(500)
    code, lines, err = run("--camera", "0", "--max-frames", "2")
    assert code == 0
    assert [line["outputs"] for line in lines] == [{}, {}]
    assert "nothing is saved either" in err
    assert not Path("ifseg-rt-output").exists()


def test_a_camera_that_is_unplugged_and_comes_back(run: Any, plug_in: Callable[..., None]) -> None:
    plug_in(4, 0, 9, 0, 0, 0)
    limits = ("--read-timeout", "0.2", "--open-timeout", "0.1", "--max-retries", "2")
    code, lines, err = run("--camera", "0", "-o", "cam.mp4", *limits)
    assert code == 3
    frames = [line for line in lines if "event" not in line]
    assert [line["event"] for line in lines if "event" in line] == ["lost", "reconnected", "lost", "failed"]
    assert {line["connection"] for line in frames} == {1, 2}
    numbers = [line["frame"] for line in frames]
    assert numbers == sorted(set(numbers))
    assert "gave up after 2 attempts" in err
    assert cv2.VideoCapture("cam.mp4").get(cv2.CAP_PROP_FRAME_COUNT) == len(frames) > 4


def test_refinement_options_change_the_result(run: Any, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    cv2.imwrite("noise.png", noise)
    shares = [run("noise.png", *options)[1][0]["shares"] for options in ([], ["--no-refine"], ["--refine", "5,40"])]
    assert shares[0] != shares[1]
    assert shares[0] != shares[2]


def test_painting_where_the_labels_are_made_or_here_is_the_same(
    run: Any, pictures: Path, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model's run time may paint the frames, or the pipeline: the same files and the same fields."""
    from ifseg_rt.segmenter import Segmenter

    asked: list[Any] = []

    def opened(*arguments: Any, overlay: float | None, **options: Any) -> Segmenter:
        asked.append(overlay)
        return Segmenter(*arguments, overlay=None if len(asked) == 2 else overlay, **options)

    monkeypatch.setattr("ifseg_rt.segmenter.Segmenter", opened)
    made = []
    for folder in ("one", "two"):
        code, lines, err = run(pictures, clip, "--output", f"{folder}/", "--alpha", "0.3")
        assert code == 0, err
        made.append([(sorted(line), sorted(line["timings_ms"]), line["shares"]) for line in lines])
    assert asked == [0.3, 0.3]
    assert made[0] == made[1]
    for path in Path("one").glob("*_overlay.*"):
        assert path.read_bytes() == (Path("two") / path.name).read_bytes(), path


def test_nothing_is_painted_for_nobody(run: Any, plug_in: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    plug_in(500)
    monkeypatch.setattr("ifseg_rt.drawing.overlay.blend", lambda *_: pytest.fail("painted"))
    code, lines, err = run("--camera", "0", "--max-frames", "2")
    assert (code, len(lines)) == (0, 2), err
