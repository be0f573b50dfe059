"""Cameras: the newest frame, and what goes wrong with them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from ifseg_rt.errors import SourceError
from ifseg_rt.native_noise import native_noise_hidden
from ifseg_rt.sources import camera
from ifseg_rt.sources.camera import CameraSource


class FakeCapture:
    """Gives numbered frames as fast as asked, or at the pace of a gate, then fails for ever."""

    def __init__(self, frames: int, gate: threading.Semaphore | None = None) -> None:
        self.left = frames
        self.gate = gate
        self.number = 0
        self.released = False

    def read(self) -> tuple[bool, Any]:
        if self.gate is not None and not self.gate.acquire(timeout=0.05):
            return False, None
        if self.number == self.left:
            return False, None
        self.number += 1
        return True, np.full((4, 6, 3), self.number, dtype=np.uint8)

    def release(self) -> None:
        self.released = True


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_camera_gives_the_freshest_frame_and_counts_the_rest() -> None:
    gate = threading.Semaphore(0)
    capture = FakeCapture(100, gate)
    source = CameraSource(0, lambda device: capture)
    frames: Iterator[Any] = source.frames()
    gate.release(1)
    started = time.monotonic()
    first = next(frames)
    assert (first.index, first.time) == (0, None)
    assert started <= first.captured <= time.monotonic()
    assert (source.is_live, source.is_still) == (True, False)
    gate.release(5)  # five arrive while nobody fetches
    wait_until(lambda: capture.number == 6 and source.dropped == 4)
    frame = next(frames)
    assert frame.index == 5
    assert frame.image[0, 0, 0] == 6
    assert source.dropped == 4
    source.close()
    assert list(frames) == []
    gate.release(1)
    wait_until(lambda: capture.released)
    source.close()


def test_camera_that_goes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(camera, "_PATIENCE", 0.1)
    source = CameraSource(0, lambda device: FakeCapture(3))
    with pytest.raises(SourceError, match="camera 0 stopped delivering frames after 3"):
        list(source.frames())
    source.close()


def test_camera_whose_driver_raises() -> None:
    capture = FakeCapture(3)
    capture.read = lambda: (_ for _ in ()).throw(RuntimeError("bus error"))  # type: ignore[method-assign]
    source = CameraSource(1, lambda device: capture)
    with pytest.raises(SourceError, match="camera 1 failed after 0 frames: bus error"):
        list(source.frames())
    wait_until(lambda: capture.released)


def test_silent_camera(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(camera, "_SILENCE", 0.1)
    source = CameraSource(0, lambda device: FakeCapture(3, threading.Semaphore(0)))
    with pytest.raises(SourceError, match="gave no frame for"):
        list(source.frames())


def test_missing_camera_is_one_clear_error(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SourceError, match=r"camera 77") as caught:
        CameraSource(77).open()
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""


def test_a_camera_that_was_only_opened_is_released() -> None:
    capture = FakeCapture(3)
    source = CameraSource(0, lambda device: capture)
    source.open()
    source.open()
    source.close()
    assert capture.released


def test_noise_is_hidden_only_inside(capfd: pytest.CaptureFixture[str]) -> None:
    import os

    with native_noise_hidden():
        os.write(2, b"noise")
    os.write(2, b"speech")
    assert capfd.readouterr().err == "speech"
