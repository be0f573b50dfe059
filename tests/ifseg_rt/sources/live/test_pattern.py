"""The test pattern: its stamps, its pace, its numbers."""

from __future__ import annotations

import io
import itertools
import time
from typing import Any

import av
import cv2
import numpy as np
import pytest

from ifseg_rt.sources.base import Frame
from ifseg_rt.sources.pattern import TestPattern, read_stamp


def frames(source: TestPattern, count: int) -> list[Frame]:
    return [item for item in itertools.islice(source.items(), count) if isinstance(item, Frame)]


@pytest.mark.parametrize("size", ["640x480", "1280x720", "322x241"])
def test_stamps_survive_h264(size: str) -> None:
    made = frames(TestPattern(f"test:{size}@max"), 12)
    height, width = (side & ~1 for side in made[0].image.shape[:2])
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as output:
        try:
            stream: Any = output.add_stream("libx264", rate=30, options={"preset": "ultrafast", "crf": "35"})
        except ValueError:
            pytest.skip("this PyAV has no libx264")
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for frame in made:
            output.mux(stream.encode(av.VideoFrame.from_ndarray(frame.image[:height, :width], format="bgr24")))
        output.mux(stream.encode())
    file.seek(0)
    with av.open(file) as container:
        stamps = [read_stamp(frame.to_ndarray(format="bgr24")) for frame in container.decode(video=0)]
    assert stamps == [(frame.index, pytest.approx(frame.taken, abs=2e-6)) for frame in made]


def test_stamps_survive_scaling_and_nothing_else_is_one() -> None:
    image = frames(TestPattern("test:@max"), 1)[0].image
    assert read_stamp(cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)) == read_stamp(image)
    assert read_stamp(image[:, :, 1]) == read_stamp(image)
    for other in (image[:, ::-1], np.zeros_like(image), np.full_like(image, 255), image[:1, :1]):
        assert read_stamp(other) is None


def test_it_moves() -> None:
    first, second = frames(TestPattern("test:64x64@max"), 2)
    assert (first.image != second.image).any()


def test_it_keeps_its_pace_and_does_not_catch_up() -> None:
    source = TestPattern("test:64x64@100")
    items = source.items()
    began = time.monotonic()
    for _ in itertools.islice(items, 30):
        pass
    assert 0.28 < time.monotonic() - began < 0.6
    time.sleep(0.1)  # a reader that is late
    late = next(items)
    assert isinstance(late, Frame)
    assert time.monotonic() - late.captured < 0.05


def test_numbers_go_on_when_it_is_opened_again() -> None:
    source = TestPattern("test:64x64@max")
    assert [(frame.index, frame.connection) for frame in frames(source, 2)] == [(0, 1), (1, 1)]
    source.close()
    assert [(frame.index, frame.connection) for frame in frames(source, 2)] == [(2, 2), (3, 2)]


@pytest.mark.parametrize("size", ["1x1", "3x2000", "95x63"])
def test_sizes_too_small_for_a_stamp(size: str) -> None:
    image = frames(TestPattern(f"test:{size}@max"), 1)[0].image
    assert f"{image.shape[1]}x{image.shape[0]}" == size
    assert read_stamp(image) is None
