"""What is written, where it goes, and when a window is shown."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from ifseg_rt.errors import IfsegError, SourceError
from ifseg_rt.result import Result
from ifseg_rt.sinks import videos, window
from ifseg_rt.sinks.jsonl import JsonLines, record
from ifseg_rt.sinks.outputs import Outputs
from ifseg_rt.sinks.pictures import write_picture
from ifseg_rt.sinks.videos import VideoSink
from ifseg_rt.sources.base import Frame, Source
from ifseg_rt.sources.camera import CameraSource
from ifseg_rt.sources.pictures import PictureSource
from ifseg_rt.stream.observer import Observer
from ifseg_rt.stream.pipeline import Pipeline


def result_of(labels: np.ndarray, categories: int = 3) -> Result:
    names = tuple(f"c{index}" for index in range(categories))
    colors = tuple((index % 256, 0, 0) for index in range(categories))
    return Result(labels, np.zeros((categories, 2, 2), np.float32), names, colors, timings={"total": 1.0})


def size_and_count(path: Path) -> tuple[int, int, int]:
    made = cv2.VideoCapture(str(path))
    return tuple(int(made.get(key)) for key in (3, 4, cv2.CAP_PROP_FRAME_COUNT))  # type: ignore[return-value]


def feed(sink: VideoSink, count: int, size: tuple[int, int] = (45, 61)) -> None:
    picture = np.full((*size, 3), 90, dtype=np.uint8)
    for index in range(count):
        sink.write(Frame(picture, index), result_of(np.zeros(size, np.uint8)), picture)


@pytest.mark.parametrize("name", ["v.mp4", "v.avi", "v.mkv", "v.mov"])
def test_odd_sizes_lose_no_row(tmp_path: Path, name: str) -> None:
    sink = VideoSink(tmp_path / name, 10.0)
    feed(sink, 3)
    sink.close()
    sink.close()
    assert size_and_count(tmp_path / name) == (62, 46, 3)


@pytest.mark.parametrize("count", [1, 5, 8, 11])
def test_unknown_rates_are_measured(tmp_path: Path, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(np.arange(100) * 0.25)
    monkeypatch.setattr(videos.time, "monotonic", lambda: next(clock))
    sink = VideoSink(tmp_path / "v.mp4", None)
    feed(sink, count)
    sink.close()
    made = cv2.VideoCapture(str(tmp_path / "v.mp4"))
    assert made.get(cv2.CAP_PROP_FRAME_COUNT) == count
    assert made.get(cv2.CAP_PROP_FPS) == pytest.approx(4.0 if count > 1 else 25.0)


def test_a_video_cannot_change_its_size(tmp_path: Path) -> None:
    sink = VideoSink(tmp_path / "v.mp4", 10.0)
    feed(sink, 1)
    with pytest.raises(IfsegError, match="change their size from 61 x 45 to 20 x 10"):
        feed(sink, 1, (10, 20))
    sink.close()


def test_unwritable_video(tmp_path: Path) -> None:
    with pytest.raises(IfsegError, match="could not open it"):
        feed(VideoSink(tmp_path / "missing" / "v.mp4", 10.0), 1)


def test_unwritable_picture(tmp_path: Path) -> None:
    with pytest.raises(IfsegError, match="cannot write"):
        write_picture(tmp_path / "missing" / "x.png", np.zeros((3, 3, 3), np.uint8))
    with pytest.raises(IfsegError, match="no writer"):
        write_picture(tmp_path / "x.zip", np.zeros((3, 3, 3), np.uint8))


def test_label_maps_of_many_categories_are_16_bit(tmp_path: Path) -> None:
    labels = np.array([[0, 299], [256, 7]], dtype=np.uint16)
    write_picture(tmp_path / "l.png", labels)
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "l.png"), cv2.IMREAD_UNCHANGED), labels)


def test_record_lists_the_classes_present() -> None:
    labels = np.zeros((4, 5), dtype=np.uint8)
    labels[0] = 2
    fields = record(PictureSource(Path("ü.png")), Frame(labels, 0), result_of(labels), {"read": 1.234}, {})
    assert list(fields["shares"].items()) == [("c0", 0.75), ("c2", 0.25)]
    stream = io.StringIO()
    JsonLines(stream).write(fields)
    assert json.loads(stream.getvalue()) == fields
    assert stream.getvalue().count("\n") == 1
    assert "dropped" in record(CameraSource(0), Frame(labels, 0), result_of(labels), {}, {})


def test_camera_recordings_in_a_folder(tmp_path: Path) -> None:
    outputs = Outputs(str(tmp_path / "out"), [CameraSource(0)])
    sink = outputs.open(CameraSource(0))
    assert isinstance(sink, VideoSink)
    feed(sink, 2)
    sink.close()
    outputs.close()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["camera_0_overlay.mp4"]


def test_a_folder_may_have_a_dot_in_its_name(tmp_path: Path) -> None:
    assert Outputs(f"{tmp_path}/run.1/", [PictureSource(Path("x.png"))]).folder == tmp_path / "run.1"
    assert Outputs(f"{tmp_path}/run.1", [PictureSource(Path("x.png"))]).folder == tmp_path / "run.1"


def test_no_display(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(window.sys, "platform", "linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert "there is no display" in str(window.why_no_window())


def test_a_display_that_cannot_be_reached_does_not_end_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(window.sys, "platform", "linux")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setenv("DISPLAY", ":4711")
    assert window.why_no_window() is not None


class Endless:
    name, is_live, is_still, fps, total, dropped = "endless", False, False, 5.0, None, 0
    closed = 0

    def open(self) -> None:
        pass

    def frames(self) -> Iterator[Frame]:
        index = 0
        while True:
            yield Frame(np.zeros((8, 10, 3), np.uint8), index)
            index += 1

    def close(self) -> None:
        self.closed += 1


class Screen:
    def __init__(self) -> None:
        self.captions: list[str] = []

    def show(self, picture: np.ndarray, caption: str) -> bool:
        self.captions.append(caption)
        return len(self.captions) < 4


class Listener(Observer):
    def __init__(self) -> None:
        self.told: list[str] = []

    def source_opened(self, source: Source, total: int | None) -> None:
        self.told.append(f"opened {source.name} {total}")

    def frame_done(self, source: Source, frame: Frame, result: Result, timings: Mapping[str, float]) -> None:
        self.told.append(f"frame {frame.index}")
        assert timings["total"] >= timings["read"] >= 0

    def frames_dropped(self, source: Source, count: int) -> None:
        self.told.append(f"dropped {count}")

    def source_closed(self, source: Source) -> None:
        self.told.append(f"closed {source.name}")

    def note(self, text: str) -> None:
        self.told.append(text)

    def error(self, text: str, hint: str | None = None) -> None:
        self.told.append(f"{text} ({hint})")


def test_closing_the_window_ends_the_run_and_finishes_the_files(tmp_path: Path) -> None:
    source, screen, listener = Endless(), Screen(), Listener()
    lines: list[Mapping[str, Any]] = []
    outputs = Outputs(str(tmp_path / "v.mp4"), [source])
    pipeline = Pipeline(
        lambda image: result_of(np.zeros(image.shape[:2], np.uint8)),
        outputs,
        lines.append,
        screen,
        listener,
    )
    pipeline.run([source, Endless()])
    assert len(lines) == len(screen.captions) == 4
    assert "fps" in screen.captions[0]
    assert source.closed
    assert size_and_count(tmp_path / "v.mp4") == (10, 8, 4)
    frames = [f"frame {index}" for index in range(4)]
    assert listener.told == ["opened endless None", *frames, "closed endless", "stopped in the window"]


class Hasty(Endless):
    """Loses two frames after every one that it hands out; then it fails."""

    name, is_live = "hasty", True

    def frames(self) -> Iterator[Frame]:
        self.dropped = 0
        for index in (0, 3):
            yield Frame(np.zeros((8, 10, 3), np.uint8), index)
            self.dropped += 2
        raise SourceError("unplugged", hint="plug it in")


def test_an_observer_is_told_of_drops_and_of_sources_that_fail() -> None:
    listener = Listener()
    sources = [Hasty(), Hasty()]
    pipeline = Pipeline(
        lambda image: result_of(np.zeros(image.shape[:2], np.uint8)),
        Outputs(None, sources),
        lambda fields: None,
        None,
        listener,
    )
    with pytest.raises(SourceError, match="2 of 2 sources failed"):
        pipeline.run(sources)
    once = ["opened hasty None", "frame 0", "frame 3", "dropped 2", "closed hasty", "unplugged (plug it in)"]
    assert listener.told == once * 2
