"""Damaged and cut-off videos: what is lost, doubtful or missing is said, and what can be read is handed out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from ifseg_rt.sources.settings import SourceSettings
from ifseg_rt.sources.videos import VideoSource

FORMS = [
    ("v.mp4", "mpeg4", {"movflags": "faststart"}),
    ("v.mkv", "mpeg4", {}),
    ("v.webm", "libvpx", {}),
    ("v.avi", "mjpeg", {}),
    ("v.ts", "mpeg4", {}),
    ("v.flv", "flv", {}),
    ("v.mjpeg", "mjpeg", {}),
]


@pytest.mark.parametrize(("name", "codec", "options"), FORMS)
@pytest.mark.parametrize("part", [0.35, 2 / 3, 0.97])
def test_cut_off(
    tmp_path: Path, clip: Any, read: Any, name: str, codec: str, options: dict[str, str], part: float
) -> None:
    path = clip(tmp_path / name, codec=codec, options=options)
    whole = read(VideoSource(path))
    assert (len(whole[0]), whole[2]) == (60, "")
    content = path.read_bytes()
    with av.open(str(path)) as container:
        ends = [(packet.pos or 0) + packet.size for packet in container.demux(video=0) if packet.size]
    path.write_bytes(content[: int(len(content) * part)])
    frames, _, error = read(VideoSource(path))
    assert "ends early" in error
    assert len(frames) >= sum(end < len(content) * part for end in ends) - 2
    for frame, original in zip(frames, whole[0], strict=False):
        assert frame.damaged or (frame.image == original.image).all()


@pytest.mark.parametrize("corrupt", ["keep", "skip"])
def test_one_bad_packet_costs_one(tmp_path: Path, clip: Any, read: Any, corrupt: Any) -> None:
    path = clip(tmp_path / "v.avi", codec="mjpeg")
    content = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        tenth = [packet.pos for packet in container.demux(video=0)][10]
    content[tenth + 8 : tenth + 700] = bytes(692)  # pos is that of the chunk's header
    path.write_bytes(content)
    frames, events, error = read(VideoSource(path, SourceSettings(corrupt=corrupt)))
    assert error == ""
    assert [frame.index for frame in frames] == [index for index in range(60) if index != 10]
    assert [(event.kind, event.details["frame"]) for event in events] == [("corrupt", 10)]
    assert events[0].details["time"] == pytest.approx(0.4)


def test_what_was_made_from_a_damaged_frame_is_marked_up_to_the_next_key_frame(
    tmp_path: Path, clip: Any, read: Any
) -> None:
    path = clip(tmp_path / "v.mp4")
    good = [frame.image for frame in read(VideoSource(path))[0]]
    content = bytearray(path.read_bytes())
    begin = content.index(b"mdat") + 4
    content[begin + 9000 : begin + 10000] = bytes(1000)
    path.write_bytes(content)
    frames, events, error = read(VideoSource(path))
    assert error == ""
    bad = [frame for frame in frames if frame.damaged]
    assert 0 < len(bad) + len(events) <= 26
    assert len({frame.index for frame in frames}) + len(events) == 60
    assert all(frame.damaged or (frame.image == good[round((frame.time or 0) * 25)]).all() for frame in frames)
    skipped, said, _ = read(VideoSource(path, SourceSettings(corrupt="skip")))
    assert not any(frame.damaged for frame in skipped)
    assert len(skipped) + len(said) == 60


def test_frames_that_never_came(tmp_path: Path, clip: Any, read: Any) -> None:
    """Whole frames cut out of a container without an index leave a gap in its times."""
    path = clip(tmp_path / "v.mkv", [time for time in range(0, 2400, 40) if not 1000 <= time < 1120])
    frames, events, error = read(VideoSource(path))
    assert (len(frames), error) == (57, "")
    assert [event.details["frames"] for event in events] == [3]


@pytest.mark.parametrize(("name", "codec", "options"), FORMS)
def test_random_damage_never_raises_anything_else(
    tmp_path: Path, clip: Any, read: Any, name: str, codec: str, options: dict[str, str]
) -> None:
    path = clip(tmp_path / name, codec=codec, options=options)
    content = path.read_bytes()
    for seed in range(6):
        random = np.random.default_rng(seed)
        damaged = np.frombuffer(content, np.uint8).copy()
        damaged[random.integers(0, len(content), 40)] = random.integers(0, 256, 40)
        path.write_bytes(damaged.tobytes())
        frames, events, error = read(VideoSource(path))
        assert len(frames) <= 61
        assert len({frame.index for frame in frames}) == len(frames)
        assert all(event.kind in ("corrupt", "note") for event in events)
        assert frames or error
