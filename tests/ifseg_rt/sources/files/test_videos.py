"""Video files: every frame at its own time, complete ones accepted, nothing read beside the file."""

from __future__ import annotations

import itertools
import os
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ifseg_rt.errors import SourceError
from ifseg_rt.sources.base import Frame
from ifseg_rt.sources.recording.orientation import turned
from ifseg_rt.sources.settings import SourceSettings
from ifseg_rt.sources.videos import VideoSource


def test_every_frame_in_order(tmp_path: Path, clip: Any, read: Any) -> None:
    source = VideoSource(clip(tmp_path / "v.mp4"))
    source.open()
    assert (source.fps, source.total, source.stem) == (25.0, 60, "v")
    frames, events, error = read(source)
    assert ([frame.index for frame in frames], events, error) == (list(range(60)), [], "")
    assert frames[0].image.shape == (48, 64, 3)
    assert frames[0].image.flags.c_contiguous
    assert not any(frame.damaged for frame in frames)
    assert frames[-1].time == pytest.approx(59 * 0.04)
    assert frames[-1].duration == pytest.approx(0.04)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(1, 2000), min_size=1, max_size=12), st.sampled_from([".mkv", ".mp4", ".mov", ".ts"]))
def test_times_survive(clip: Any, read: Any, steps: list[int], suffix: str) -> None:
    times = [0, *itertools.accumulate(steps)]
    codec = "mpeg4"
    with tempfile.TemporaryDirectory() as folder:
        frames, events, error = read(VideoSource(clip(Path(folder) / f"v{suffix}", times, codec=codec)))
    assert ([event for event in events if event.kind == "corrupt"], error) == ([], "")
    assert [frame.time for frame in frames] == pytest.approx([time / 1000 for time in times], abs=0.0006)


@pytest.mark.parametrize("name", ["12:30.mp4", "-x.mp4", "a%d.mp4", "v.mp4?x=1", "file:x.mp4", "concat:a|b.mp4"])
def test_odd_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clip: Any, read: Any, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        clip(tmp_path / "v.mp4").rename(name)
    except OSError:
        pytest.skip("this file system takes no such name")
    frames, _, error = read(VideoSource(Path(name)))
    assert (len(frames), error) == (60, "")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="names are text on this system")
def test_a_name_that_is_not_utf8(tmp_path: Path, clip: Any, read: Any) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.mp4"))
    clip(tmp_path / "v.mp4").rename(path)
    source = VideoSource(path)
    assert len(read(source)[0]) == 60
    assert source.name.encode().endswith(b"caf\\xe9.mp4")
    assert source.stem.encode() == b"caf%E9"


def test_complete_in_spite_of_its_counts(tmp_path: Path, clip: Any, read: Any) -> None:
    """An edit list that hides frames, longer sound, pauses, an index in front, fragments."""
    hidden = clip(tmp_path / "e.mp4", range(-400, 600, 40), options={"avoid_negative_ts": "disabled"})
    frames, events, error = read(VideoSource(hidden))
    assert ([round(frame.time * 1000) for frame in frames], events, error) == (list(range(0, 600, 40)), [], "")
    fragments = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
    pauses = [*range(0, 400, 40), *range(3000, 3400, 40), *range(9000, 9100, 40)]
    for name, times, options, sound in (
        ("sound.mp4", range(0, 400, 40), {}, 3),
        ("sound.mkv", range(0, 400, 40), {}, 3),
        ("pauses.mkv", pauses, {}, 0),
        ("front.mp4", range(0, 400, 40), {"movflags": "faststart"}, 0),
        ("fragments.mp4", range(0, 400, 40), fragments, 0),
    ):
        path = clip(tmp_path / name, times, options=options, sound=sound)
        frames, events, error = read(VideoSource(path))
        assert (name, len(frames), error) == (name, len(times), "")
        # That nothing was recorded for seconds is worth a word; that it is damage, nobody can know.
        assert [event.kind for event in events] == (["note"] if name == "pauses.mkv" else [])


def test_music_is_no_video(tmp_path: Path, clip: Any) -> None:
    path = tmp_path / "song.mp4"
    clip(path, [0], codec="mjpeg", sound=1)
    with av.open(str(path)) as source, av.open(str(tmp_path / "cover.mp4"), "w") as target:
        streams = [target.add_stream_from_template(stream) for stream in source.streams]
        streams[0].disposition = av.stream.Disposition.attached_pic
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream.index]
                target.mux(packet)
    with pytest.raises(SourceError, match="cover picture"):
        VideoSource(tmp_path / "cover.mp4").open()


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize(
    "content",
    [
        "#EXTM3U\n#EXTINF:1,\n{}\n",
        "ffconcat version 1.0\nfile '{}'\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\n",
        "words\n" * 99,
    ],
)
def test_lists_never_lead_to_other_files(tmp_path: Path, clip: Any, suffix: str, content: str) -> None:
    other = clip(tmp_path / "other.mp4")
    path = tmp_path / f"x{suffix}"
    path.write_text(content.format(other))
    with pytest.raises(SourceError, match=r"x\.m"):
        list(VideoSource(path).items())


def test_too_large(tmp_path: Path, clip: Any) -> None:
    with pytest.raises(SourceError, match="pixels") as caught:
        VideoSource(clip(tmp_path / "v.mp4"), SourceSettings(max_pixels=64 * 48 - 1)).open()
    assert "--max-pixels" in (caught.value.hint or "")


def test_unreadable(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "v.mp4"
    path.write_bytes(b"x" * 5000)
    with pytest.raises(SourceError, match="is not a readable video"):
        list(VideoSource(path).items())
    with pytest.raises(SourceError, match="No such file"):
        VideoSource(tmp_path / "none.mp4").open()
    assert capfd.readouterr().err == ""


def test_closing_ends_it_and_it_may_be_read_again(tmp_path: Path, clip: Any) -> None:
    source = VideoSource(clip(tmp_path / "v.mp4"))
    handles = Path("/proc/self/fd")
    before = len(list(handles.iterdir())) if handles.is_dir() else 0
    for _ in range(20):
        items = source.items()
        next(items)
        closer = threading.Thread(target=source.close)
        closer.start()
        closer.join(timeout=5)
        assert len(list(items)) < 60
    assert len([item for item in source.items() if isinstance(item, Frame)]) == 60
    source.close()
    source.close()
    assert not handles.is_dir() or len(list(handles.iterdir())) <= before


@given(st.integers(0, 3), st.booleans(), st.booleans(), st.integers(1, 6), st.integers(1, 6))
def test_pictures_turn_as_their_matrix_moves_points(
    quarters: int, across: bool, down: bool, width: int, height: int
) -> None:
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    cosine, sine = [(1, 0), (0, 1), (-1, 0), (0, -1)][quarters]
    matrix = np.array([[cosine, sine, 0], [-sine, cosine, 0], [0, 0, 1]], dtype=np.int32)
    matrix = np.diag(np.array([-1 if across else 1, -1 if down else 1, 1], dtype=np.int32)) @ matrix
    result = turned(image, matrix)
    points = {
        (x, y): tuple(np.array([2 * x + 1 - width, 2 * y + 1 - height, 0]) @ matrix)
        for x in range(width)
        for y in range(height)
    }
    for (x, y), (to_x, to_y, _) in points.items():
        seen = result[(to_y + result.shape[0] - 1) // 2, (to_x + result.shape[1] - 1) // 2]
        assert (seen == image[y, x]).all()


@pytest.mark.parametrize(
    "turn", [(90, False, False), (180, False, False), (270, True, False), (0, True, False), (0, False, True)]
)
def test_recordings_of_turned_cameras(tmp_path: Path, clip: Any, read: Any, turn: tuple[int, bool, bool]) -> None:
    if not hasattr(av.video.stream.VideoStream, "set_display_rotation"):
        pytest.skip("this PyAV writes no display matrix")
    upright = read(VideoSource(clip(tmp_path / "u.mp4", [0])))[0][0].image
    found = read(VideoSource(clip(tmp_path / "t.mp4", [0], turn=turn)))[0][0].image
    expected = np.rot90(upright, turn[0] // 90)
    expected = expected[:, ::-1] if turn[1] else expected
    expected = expected[::-1] if turn[2] else expected
    assert (found == expected).all()
