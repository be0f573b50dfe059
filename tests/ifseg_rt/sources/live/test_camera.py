"""Cameras, through a capture object of our own where a device is missing."""

from __future__ import annotations

import itertools
import threading
import time
from typing import Any

import cv2
import numpy as np
import pytest

from ifseg_rt.errors import SourceError
from ifseg_rt.sources.base import Event, Frame, SourceLostError
from ifseg_rt.sources.camera import CameraSource
from ifseg_rt.sources.settings import SourceSettings


class FakeCapture:
    """Gives so many frames, then fails; does as it is asked except for what is fixed."""

    def __init__(self, frames: int = 1000, picture: np.ndarray | None = None, **fixed: float) -> None:
        self.left = frames
        self.picture = np.zeros((4, 6, 3), np.uint8) if picture is None else picture
        self.fixed = {getattr(cv2, f"CAP_PROP_{name.upper()}"): value for name, value in fixed.items()}
        self.asked: dict[int, float] = {}
        self.released = threading.Event()

    def read(self) -> tuple[bool, Any]:
        self.left -= 1
        return (True, self.picture) if self.left >= 0 else (False, None)

    def set(self, prop: int, value: float) -> bool:
        self.asked[prop] = value
        return True

    def get(self, prop: int) -> float:
        return self.fixed.get(prop, self.asked.get(prop, 0.0))

    def release(self) -> None:
        self.released.set()


WISHES = SourceSettings(camera_size=(1280, 720), camera_fps=15, camera_format="MJPG", read_timeout=0.2)


def test_frames_with_numbers_and_times() -> None:
    source = CameraSource(0, settings=WISHES, open_capture=lambda device: FakeCapture(3))
    before = time.monotonic()
    frames = list(itertools.islice(source.items(), 3))
    assert [frame.index for frame in frames if isinstance(frame, Frame)] == [0, 1, 2]
    assert all(isinstance(frame, Frame) and before <= frame.captured <= time.monotonic() for frame in frames)
    assert (source.name, source.stem, source.path) == ("camera 0", "camera_0", None)


def test_what_a_driver_does_instead_is_said() -> None:
    capture = FakeCapture(frame_width=640, fps=30)
    first = next(CameraSource(0, settings=WISHES, open_capture=lambda device: capture).items())
    assert isinstance(first, Event)
    assert first.kind == "note"
    assert "640x720 instead of 1280x720" in first.text
    assert "30 instead of 15" in first.text
    assert "MJPG" not in first.text  # granted
    assert isinstance(next(CameraSource(0, settings=WISHES, open_capture=lambda device: FakeCapture()).items()), Frame)


def test_a_camera_that_goes_away_and_comes_back() -> None:
    captures = [FakeCapture(3), FakeCapture(3)]
    waiting = iter(captures)
    source = CameraSource(0, settings=WISHES, open_capture=lambda device: next(waiting))
    items = source.items()
    assert len(list(itertools.islice(items, 3))) == 3
    gone = time.monotonic()
    with pytest.raises(SourceLostError, match="after 3"):
        next(items)
    assert 0.15 < time.monotonic() - gone < 1
    source.close()
    assert captures[0].released.is_set()
    again = next(source.items())
    assert isinstance(again, Frame)
    assert (again.index, again.connection) == (3, 2)
    source.close()


def test_a_hiccup_is_no_loss() -> None:
    capture = FakeCapture()
    answers = iter([(True, capture.picture), (False, None), (True, capture.picture)])
    capture.read = lambda: next(answers)  # type: ignore[method-assign]
    assert (
        len(list(itertools.islice(CameraSource(0, settings=WISHES, open_capture=lambda device: capture).items(), 2)))
        == 2
    )


def test_a_driver_that_raises() -> None:
    capture = FakeCapture()
    capture.read = lambda: (_ for _ in ()).throw(RuntimeError("bus error"))  # type: ignore[method-assign]
    source = CameraSource(1, settings=WISHES, open_capture=lambda device: capture)
    with pytest.raises(SourceLostError, match="bus error"):
        list(source.items())
    source.close()
    assert capture.released.is_set()


def test_closing_while_a_read_blocks() -> None:
    capture, gate = FakeCapture(), threading.Event()
    capture.read = lambda: (gate.wait(5), capture.picture)  # type: ignore[method-assign]
    source = CameraSource(0, settings=WISHES, open_capture=lambda device: capture)
    thread = threading.Thread(target=lambda: list(source.items()))
    thread.start()
    time.sleep(0.1)
    began = time.monotonic()
    source.close()
    assert time.monotonic() - began < 0.5
    assert not capture.released.is_set()  # never under the read
    gate.set()
    thread.join(2)
    assert not thread.is_alive()
    assert capture.released.is_set()


@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 1), (4, 6, 4)])
def test_grey_and_four_channels_become_bgr(shape: tuple[int, ...]) -> None:
    capture = FakeCapture(picture=np.full(shape, 7, np.uint8))
    frame = next(CameraSource(0, settings=WISHES, open_capture=lambda device: capture).items())
    assert isinstance(frame, Frame)
    assert frame.image.shape == (4, 6, 3)


def test_raw_pixels_are_refused() -> None:
    with pytest.raises(SourceError, match="uint16"):
        next(
            CameraSource(
                0, settings=WISHES, open_capture=lambda device: FakeCapture(picture=np.zeros((4, 6), np.uint16))
            ).items()
        )


def test_a_missing_camera_is_one_clear_error() -> None:
    with pytest.raises(SourceLostError, match=r"camera 77") as caught:
        CameraSource(77).open()
    assert "\n" not in str(caught.value)
