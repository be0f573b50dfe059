"""GStreamer pipelines, where its bindings for Python are installed; one clear line where they are not."""

from __future__ import annotations

import importlib.util
import itertools
import threading
import time

import pytest

from ifseg_rt.errors import SourceError
from ifseg_rt.sources.base import Frame, Source, SourceLostError
from ifseg_rt.sources.gstreamer import jetson_camera
from ifseg_rt.sources.live import live_source
from ifseg_rt.sources.settings import SourceSettings

INSTALLED = importlib.util.find_spec("gi") is not None
needs_gstreamer = pytest.mark.skipif(not INSTALLED, reason="needs PyGObject and GStreamer in this environment")


def pipeline(text: str) -> Source:
    source = live_source(f"gst:{text}", SourceSettings(open_timeout=2, read_timeout=1))
    assert source is not None
    return source


@pytest.mark.skipif(INSTALLED, reason="PyGObject is installed")
def test_without_the_bindings_the_remedy_is_named() -> None:
    with pytest.raises(SourceError) as caught:
        pipeline("videotestsrc").open()
    assert "PyGObject" in str(caught.value)
    assert "apt install" in str(caught.value.hint)


def test_the_camera_of_a_jetson_is_a_pipeline() -> None:
    wishes = SourceSettings(camera_size=(1280, 720), camera_fps=30)
    text = jetson_camera(1, wishes)
    assert text.startswith("nvarguscamerasrc sensor-id=1 ! ")
    assert "width=1280,height=720,framerate=30/1" in text


@needs_gstreamer
@pytest.mark.parametrize(
    "end", ["", " ! videoconvert ! video/x-raw,format=BGR ! appsink name=mine", " ! videoconvert ! appsink"]
)
def test_frames(end: str) -> None:
    source = pipeline(f"videotestsrc is-live=true pattern=blue ! video/x-raw,width=322,height=241{end}")
    frames = [item for item in itertools.islice(source.items(), 3) if isinstance(item, Frame)]
    source.close()
    assert [frame.index for frame in frames] == [0, 1, 2]
    assert frames[0].image.shape == (241, 322, 3)  # rows that GStreamer pads
    assert frames[0].image[100, 100].argmax() == 0  # blue comes first


@needs_gstreamer
def test_an_end_is_a_loss_and_it_can_be_opened_again() -> None:
    source = pipeline("videotestsrc num-buffers=3")
    for connection in (1, 2):
        with pytest.raises(SourceLostError):
            for item in source.items():
                assert isinstance(item, Frame)
                assert item.connection == connection
        source.close()


@needs_gstreamer
@pytest.mark.parametrize(
    "text",
    ["nosuchelement", "videotestsrc ! ! x", "appsink", "audiotestsrc ! fakesink", "filesrc location=/none ! decodebin"],
)
def test_what_is_no_pipeline_is_one_clear_error(text: str) -> None:
    with pytest.raises(SourceError) as caught:
        pipeline(text).open()
    assert "\n" not in str(caught.value)


@needs_gstreamer
def test_credentials_are_hidden() -> None:
    source = pipeline("rtspsrc location=rtsp://somebody:hush@127.0.0.1:9/x user-pw=hush ! decodebin")
    with pytest.raises(SourceLostError) as caught:
        source.open()
    assert "hush" not in f"{caught.value} {source.name} {source!r}"


@needs_gstreamer
def test_closing_from_another_thread() -> None:
    source = pipeline("videotestsrc is-live=true ! video/x-raw,framerate=1/2")
    items = source.items()
    assert next(items)
    threading.Timer(0.1, source.close).start()
    began = time.monotonic()
    assert list(items) == []
    assert time.monotonic() - began < 0.8
