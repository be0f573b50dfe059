"""Overlay videos: times, sizes, names, and what happens to an earlier output."""

from __future__ import annotations

import os
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ifseg_rt.sinks.base import SinkError
from ifseg_rt.sinks.placing.files import Place
from ifseg_rt.sinks.videos import VideoSink
from ifseg_rt.sources.base import Frame
from tests.ifseg_rt.sinks.made_up import count_by_opencv, feed, result_of, seen


@pytest.mark.parametrize("name", ["v.mp4", "v.avi", "v.mkv", "v.mov"])
def test_odd_sizes_lose_no_row(tmp_path: Path, name: str) -> None:
    sink = VideoSink(Place(tmp_path / name))
    written = feed(sink, [0.0, 0.1, 0.2], (45, 61))
    sink.close()
    sink.close()
    assert written == [{"overlay": str(tmp_path / name)}] * 3
    assert seen(tmp_path / name)[1:] == ([0, 1, 2], (62, 46))
    assert count_by_opencv(tmp_path / name) == 3
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_browsers_get_h264_with_the_index_in_front_and_the_right_colours(tmp_path: Path) -> None:
    if "libx264" not in av.codecs_available:
        pytest.skip("this PyAV cannot encode H.264")
    sink = VideoSink(Place(tmp_path / "v.mp4"))
    picture = np.full((48, 64, 3), (30, 60, 200), np.uint8)
    for index in range(3):
        sink.write(Frame(picture, index, time=index / 25), result_of(np.zeros((48, 64), np.uint8)), picture)
    sink.close()
    content = (tmp_path / "v.mp4").read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")
    with av.open(str(tmp_path / "v.mp4")) as container:
        assert container.streams.video[0].codec_context.name == "h264"
    shown = cv2.VideoCapture(str(tmp_path / "v.mp4")).read()[1]
    assert np.abs(shown.astype(int) - picture).max() <= 4


def test_without_libx264_videos_are_mpeg4_and_that_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ifseg_rt.sinks.recording.encoder.has_encoder", lambda name: name != "libx264")
    notes: list[str] = []
    sink = VideoSink(Place(tmp_path / "v.mp4"), note=notes.append)
    feed(sink, [0.0, 0.04, 0.2, 1.0], (45, 61))
    sink.close()
    times, numbers, size = seen(tmp_path / "v.mp4")
    np.testing.assert_allclose(times, [0.0, 0.04, 0.2, 1.0], atol=1e-4)
    assert (numbers, size) == ([0, 1, 2, 3], (62, 46))
    assert len(notes) == 1
    assert "browsers" in notes[0]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    start=st.sampled_from([0.0, 0.3, 7.25]),
    gaps=st.lists(st.floats(0.002, 5.0) | st.sampled_from([0.04, 1 / 30, 3600.0]), min_size=1, max_size=9),
    name=st.sampled_from(["v.mp4", "v.mkv", "v.mov"]),
)
def test_every_frame_keeps_its_time(tmp_path: Path, start: float, gaps: list[float], name: str) -> None:
    times = [start, *(start + np.cumsum(gaps))]
    sink = VideoSink(Place(tmp_path / name, replaces=True))
    feed(sink, times, (16, 16))
    sink.close()
    found, numbers, _ = seen(tmp_path / name)
    assert numbers == list(range(len(times)))
    np.testing.assert_allclose(found, times, atol=0.00101 if name == "v.mkv" else 0.0001)


def test_the_last_frame_lasts_as_long_as_the_one_before(tmp_path: Path) -> None:
    sink = VideoSink(Place(tmp_path / "v.mp4"))
    feed(sink, [0.0, 0.5, 1.0, 3.0])
    sink.close()
    with av.open(str(tmp_path / "v.mp4")) as container:
        assert (container.duration or 0) / 1e6 == pytest.approx(5.0)


@pytest.mark.parametrize(
    ("times", "wanted", "mended"),
    [
        ([0.0, 0.1, 0.1, 0.2], [0.0, 0.1, 0.15, 0.2], 1),
        ([0.0, 0.1, None, float("nan"), 0.4], [0.0, 0.1, 0.2, 0.3, 0.4], 2),
        ([9.0, 9.1, 0.0, 0.1], [9.0, 9.1, 9.2, 9.3], 1),  # the clock was set anew
        ([0.0, 0.1, 95443.7, 95443.8], [0.0, 0.1, 0.2, 0.3], 1),  # a counter that ran over
    ],
)
def test_times_that_are_missing_or_fall_back_are_mended_and_counted(
    tmp_path: Path, times: list[float | None], wanted: list[float], mended: int
) -> None:
    notes: list[str] = []
    sink = VideoSink(Place(tmp_path / "v.mp4"), note=notes.append)
    feed(sink, times)
    sink.close()
    np.testing.assert_allclose(seen(tmp_path / "v.mp4")[0], wanted, atol=1e-4)
    assert f"{mended} frame" in notes[-1]


def test_a_source_without_times_plays_at_its_rate(tmp_path: Path) -> None:
    notes: list[str] = []
    sink = VideoSink(Place(tmp_path / "v.mp4"), rate=5.0, note=notes.append)
    feed(sink, [None] * 4)
    sink.close()
    np.testing.assert_allclose(seen(tmp_path / "v.mp4")[0], [0.0, 0.2, 0.4, 0.6], atol=1e-4)
    assert not notes


def test_a_live_source_plays_as_it_was_captured(tmp_path: Path) -> None:
    sink = VideoSink(Place(tmp_path / "v.mp4"), live=True)
    picture = np.zeros((16, 16, 3), np.uint8)
    for index, captured in enumerate([100.0, 100.5, 102.25]):
        frame = Frame(picture, index, captured=captured, time=index * 7.0)
        sink.write(frame, result_of(np.zeros((16, 16), np.uint8)), picture)
    sink.close()
    np.testing.assert_allclose(seen(tmp_path / "v.mp4")[0], [0.0, 0.5, 2.25], atol=1e-4)


def test_another_size_begins_another_file(tmp_path: Path) -> None:
    (tmp_path / "v-2.mp4").write_text("somebody else's")
    notes: list[str] = []
    sink = VideoSink(Place(tmp_path / "v.mp4"), note=notes.append)
    feed(sink, [0.0, 0.1])
    (named,) = feed(sink, [0.2], (20, 30), first=2)
    assert named == {"overlay": str(tmp_path / "v-3.mp4")}
    assert seen(tmp_path / "v.mp4")[1] == [0, 1]  # finished already
    feed(sink, [0.3], (20, 30), first=3)
    sink.close()
    times, *rest = seen(tmp_path / "v-3.mp4")
    np.testing.assert_allclose(times, [0.0, 0.1], atol=1e-4)
    assert rest == [[2, 3], (30, 20)]
    assert any("30 x 20" in note for note in notes)
    assert (tmp_path / "v-2.mp4").read_text() == "somebody else's"


def test_what_failed_does_not_replace_an_earlier_output(tmp_path: Path) -> None:
    place = Place(tmp_path / "v.mp4", replaces=True)
    first = VideoSink(place)
    feed(first, [0.0, 0.1, 0.2])
    first.close()
    good = place.path.read_bytes()
    notes: list[str] = []
    second = VideoSink(place, note=notes.append)
    feed(second, [0.0])
    assert place.path.read_bytes() == good
    second.close(complete=False)
    assert place.path.read_bytes() == good
    (left,) = second.left_at.values()
    assert "partial" in left
    assert seen(Path(left))[1] == [0]
    assert left in notes[-1]
    third = VideoSink(place)
    feed(third, [0.0, 0.1])
    third.close()
    assert seen(place.path)[1] == [0, 1]
    assert Path(left).exists()


def test_nor_does_the_first_of_several_files(tmp_path: Path) -> None:
    place = Place(tmp_path / "v.mp4", replaces=True)
    place.path.write_text("good")
    for complete in (False, True):
        sink = VideoSink(place)
        feed(sink, [0.0, 0.1])
        feed(sink, [0.2], (20, 30), first=2)
        assert place.path.read_text() == "good"
        sink.close(complete=complete)
        assert bool(sink.left_at) is not complete
        assert (place.path.read_bytes() == b"good") is not complete
        assert seen(Path(sink.left_at.get(str(place.path), str(place.path))))[1] == [0, 1]


def test_what_failed_is_kept_where_nothing_was(tmp_path: Path) -> None:
    sink = VideoSink(Place(tmp_path / "v.mp4"))
    feed(sink, [0.0, 0.1])
    sink.close(complete=False)
    assert not sink.left_at
    assert seen(tmp_path / "v.mp4")[1] == [0, 1]


def test_a_sink_without_frames_leaves_nothing(tmp_path: Path) -> None:
    VideoSink(Place(tmp_path / "v.mp4")).close()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("stem", ["2024-05-01T12:30:00", "-o %d", "caf\udce9", "file:x", "v" * 251, "ü" * 125])
def test_any_name_the_file_system_takes(tmp_path: Path, stem: str) -> None:
    path = tmp_path / f"{stem}.mp4"
    try:
        path.touch()
        path.unlink()
    except (OSError, UnicodeError):
        pytest.skip("this file system takes no such name")
    sink = VideoSink(Place(path))
    feed(sink, [0.0, 0.1])
    sink.close()
    assert seen(path)[1] == [0, 1]
    assert os.listdir(tmp_path) == [path.name]  # noqa: PTH208


def test_what_cannot_be_encoded_or_made_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SinkError, match="20000 x 16"):
        feed(VideoSink(Place(tmp_path / "v.mp4")), [0.0], (16, 20000))
    with pytest.raises(SinkError, match="No such file or directory"):
        feed(VideoSink(Place(tmp_path / "missing" / "v.mp4")), [0.0])
    assert not list(tmp_path.iterdir())
