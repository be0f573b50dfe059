"""Standard input: pictures, pictures in a row, containers, and nothing."""

from __future__ import annotations

import itertools
import os
import pty
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from ifseg_rt.errors import SourceError
from ifseg_rt.sources.base import Frame
from ifseg_rt.sources.settings import SourceSettings
from ifseg_rt.sources.stdin import StdinSource
from tests.ifseg_rt.sources.live.conftest import FRAMES, container

Pipe = Callable[..., StdinSource]


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pipe]:
    """Return what makes a source that reads the given parts, each after a pause; ``end=False`` keeps the pipe open."""
    ends: list[int] = []

    def make(*parts: bytes, pause: float = 0.0, end: bool = True) -> StdinSource:
        read_end, write_end = os.pipe()

        def feed() -> None:
            try:
                for part in parts:
                    with memoryview(part) as rest:
                        sent = 0
                        while sent < len(rest):
                            sent += os.write(write_end, rest[sent:])
                    time.sleep(pause)
            except BrokenPipeError:
                pass
            if end:
                os.close(write_end)
            else:
                ends.append(write_end)

        monkeypatch.setattr(sys, "stdin", os.fdopen(read_end))
        threading.Thread(target=feed, daemon=True).start()
        return StdinSource(SourceSettings())

    yield make
    for number in ends:
        os.close(number)


def frames(source: StdinSource) -> list[Frame]:
    try:
        return [item for item in source.items() if isinstance(item, Frame)]
    finally:
        source.close()


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".bmp", ".tiff", ".ppm"])
def test_one_picture(pipe: Pipe, suffix: str) -> None:
    content = cv2.imencode(suffix, np.full((48, 64, 3), 90, np.uint8))[1].tobytes()
    source = pipe(content)
    source.open()
    assert (source.is_live, source.is_still) == (False, True)
    assert [frame.image.shape for frame in frames(source)] == [(48, 64, 3)]


def test_a_picture_keeps_its_depth_and_its_turn(pipe: Pipe) -> None:
    deep = np.full((48, 64, 3), 2000, np.uint16)
    deep[:10] = 4000  # a sensor of 12 bits
    assert frames(pipe(cv2.imencode(".png", deep)[1].tobytes()))[0].image.max() > 200


@pytest.mark.parametrize(
    ("form", "codec"),
    [("mp4", "mpeg4"), ("matroska", "mpeg4"), ("mpegts", "mpeg2video"), ("mjpeg", "mjpeg"), ("avi", "mjpeg")],
)
def test_containers_and_pictures_in_a_row(pipe: Pipe, form: str, codec: str) -> None:
    source = pipe(container(form, codec))  # an MP4 with its index at the end, too
    found = frames(source)
    assert not source.is_still
    assert [frame.index for frame in found] == list(range(FRAMES))
    assert found[-1].image.mean() == pytest.approx(10 * (FRAMES - 1), abs=8)


def test_pictures_come_before_the_end(pipe: Pipe, jpeg: bytes) -> None:
    source = pipe(*[jpeg] * 4, pause=0.05, end=False)
    assert len(list(itertools.islice(source.items(), 3))) == 3  # FFmpeg sees the end of one in the start of the next
    threading.Timer(0.2, source.close).start()
    began = time.monotonic()
    assert len(list(source.items())) <= 1
    assert time.monotonic() - began < 1


@pytest.mark.parametrize(
    "content",
    [b"", b"hello world\n" * 400, b"#EXTM3U\nfile:///etc/passwd\n", b"\xff\xd8\xff\xe0" + bytes(500), os.urandom(9000)],
)
def test_what_is_no_picture_is_one_clear_error(pipe: Pipe, content: bytes) -> None:
    with pytest.raises(SourceError) as caught:
        frames(pipe(content))
    assert str(caught.value).startswith("standard input")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("form", ["mp4", "late", "mpegts", "matroska"])
def test_what_is_cut_off_is_an_error(pipe: Pipe, mp4: bytes, form: str) -> None:
    content = {"mp4": mp4, "late": container("mp4")}.get(form) or container(form, "mpeg2video")
    with pytest.raises(SourceError):
        frames(pipe(content[: len(content) * 2 // 3 + 1]))


def test_a_pipe_is_read_once(pipe: Pipe, jpeg: bytes) -> None:
    source = pipe(jpeg)
    assert frames(source)
    with pytest.raises(SourceError, match="once"):
        source.open()


def test_a_file_that_the_shell_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jpeg: bytes) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(jpeg)
    with path.open() as file:
        monkeypatch.setattr(sys, "stdin", file)
        source = StdinSource(SourceSettings())
        if Path("/proc/self/fd").is_dir():
            assert source.path == path.resolve()  # so that nothing overwrites it
        assert len(frames(source)) == 1


def test_no_standard_input_and_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(SourceError, match="closed"):
        StdinSource(SourceSettings()).open()
    leader, follower = pty.openpty()
    with os.fdopen(leader, "rb"), os.fdopen(follower) as terminal:
        monkeypatch.setattr(sys, "stdin", terminal)
        with pytest.raises(SourceError, match="terminal"):
            StdinSource(SourceSettings()).open()
