"""Files: every frame, in order, held up while the labelling is busy; one bad file ends nothing."""

from __future__ import annotations

import time

import numpy as np
import pytest

from ifseg_rt.errors import DeviceError
from ifseg_rt.sources.base import Frame
from ifseg_rt.stream.items import Closed, Labelled, Opened
from ifseg_rt.stream.labelling import LabelStream
from ifseg_rt.stream.policy import StreamPolicy

from .scripted import GONE, Scripted, our_threads, segmenting


def test_every_frame_in_order_and_a_bad_file_in_between() -> None:
    sources = [
        Scripted(["frame"] * 5, live=False, name="a"),
        Scripted(["frame", GONE], live=False, name="b"),
        Scripted([ValueError("a decoder's own error")], live=False, name="c"),
        Scripted(["frame"], live=False, still=True, name="d"),
    ]
    with LabelStream(segmenting(0.002), sources) as stream:
        items = list(stream)
    assert [(item.source.name, item.frame.index) for item in items if isinstance(item, Labelled)] == [
        *(("a", index) for index in range(5)),
        ("b", 0),
        ("d", 0),
    ]
    closed = {item.source.name: item.error for item in items if isinstance(item, Closed)}
    assert closed["a"] is None
    assert closed["b"] is GONE
    assert "ValueError" in str(closed["c"])
    assert closed["d"] is None
    assert [item.source.name for item in items if isinstance(item, Opened)] == ["a", "b", "c", "d"]
    assert all(source.closes for source in sources)


def test_reading_waits_for_the_labelling() -> None:
    given: list[float] = []

    class Watched(Scripted):
        def items(self):
            for index in range(12):
                given.append(time.monotonic())
                yield Frame(np.zeros((4, 4, 3), np.uint8), index)

    labelled: list[float] = []

    def slowly(image: np.ndarray):
        time.sleep(0.02)
        labelled.append(time.monotonic())
        return segmenting()(image)

    with LabelStream(slowly, [Watched([], live=False)]) as stream:
        assert sum(isinstance(item, Labelled) for item in stream) == 12
    ahead = [sum(at < done for at in given) - index for index, done in enumerate(labelled)]
    assert max(ahead) <= 5


def test_a_limit_of_frames_is_for_videos_not_for_pictures() -> None:
    sources = [Scripted(["frame"] * 9, live=False), Scripted(["frame"], live=False, still=True)]
    with LabelStream(segmenting(), sources, StreamPolicy(max_frames=3)) as stream:
        items = list(stream)
    assert sum(isinstance(item, Labelled) for item in items) == 4
    assert all(item.error is None for item in items if isinstance(item, Closed))


def test_draining_hands_out_what_is_being_labelled_and_ends() -> None:
    source = Scripted(["frame"] * 1000, live=False)
    with LabelStream(segmenting(0.01), [source]) as stream:
        seen = 0
        for item in stream:
            seen += isinstance(item, Labelled)
            if seen == 3:
                stream.drain()
    assert 3 <= seen <= 6


def test_a_failing_device_ends_the_stream_with_its_error() -> None:
    def broken(image: np.ndarray):
        raise DeviceError("the GPU fell off the bus")

    with pytest.raises(DeviceError, match="fell off"), LabelStream(broken, [Scripted(["frame"] * 9, live=False)]) as s:
        list(s)
    assert not our_threads()
