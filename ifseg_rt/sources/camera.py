"""A camera, read in a thread of its own so that the newest frame is always at hand."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import cv2

from ifseg_rt.errors import SourceError
from ifseg_rt.native_noise import native_noise_hidden
from ifseg_rt.sources.base import Frame

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_PATIENCE = 3.0  # seconds of failed reads before a camera counts as gone; a USB hiccup is over in one
_SILENCE = 15.0  # seconds without any answer; the V4L2 driver itself gives up after ten
_PAUSE = 0.02  # seconds between failed reads


class Capture(Protocol):
    """The part of ``cv2.VideoCapture`` used here."""

    def read(self) -> tuple[bool, Any]:
        """Wait for the next frame."""

    def release(self) -> None:
        """Let go of the device."""


class CameraSource:
    """One camera, by number (``0`` is ``/dev/video0`` on Linux) or by device path.

    A frame that is not fetched before the next one arrives is dropped and counted.
    """

    is_live = True
    is_still = False
    fps: float | None = None  # what a driver states is a wish; recordings use the measured rate
    total: int | None = None

    def __init__(self, device: int | str, open_capture: Callable[[int | str], Capture] | None = None) -> None:
        self.name = f"camera {device}"
        self.dropped = 0
        self._device = device
        self._open_capture = open_capture or _open_capture
        self._capture: Capture | None = None
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._arrived = threading.Condition()
        self._newest: Frame | None = None
        self._error: SourceError | None = None

    def open(self) -> None:
        """See :meth:`ifseg_rt.sources.base.Source.open`."""
        if self._capture is None:
            self._capture = self._open_capture(self._device)

    def frames(self) -> Iterator[Frame]:
        """See :meth:`ifseg_rt.sources.base.Source.frames`."""
        self.open()
        self._start()
        while not self._stop.is_set():
            with self._arrived:
                answered = self._arrived.wait_for(
                    lambda: self._newest is not None or self._error is not None or self._stop.is_set(), _SILENCE
                )
                frame, self._newest = self._newest, None
                error = self._error
            if frame is not None:
                yield frame
            elif error is not None:
                raise error
            elif not answered:
                raise SourceError(f"{self.name} gave no frame for {_SILENCE:.0f} seconds")

    def close(self) -> None:
        """Stop the thread and let go of the device; waits for a frame that is being read, but not for ever."""
        self._stop.set()
        with self._arrived:
            self._arrived.notify_all()
        if self._thread is not None:
            self._thread.join(timeout=_PATIENCE)
        elif self._capture is not None:
            self._capture.release()

    def _start(self) -> None:
        if self._thread is None and self._capture is not None:
            self._thread = threading.Thread(target=self._read, args=(self._capture,), name=self.name, daemon=True)
            self._thread.start()

    def _read(self, capture: Capture) -> None:
        count, failing_since = 0, None
        try:
            while not self._stop.is_set():
                read, image = capture.read()
                if read and image is not None and image.size:
                    failing_since = None
                    self._hand_over(image, count)
                    count += 1
                    continue
                now = time.monotonic()
                failing_since = now if failing_since is None else failing_since
                if now - failing_since > _PATIENCE:
                    self._fail(SourceError(f"{self.name} stopped delivering frames after {count}: was it unplugged?"))
                    return
                self._stop.wait(_PAUSE)
        except Exception as error:  # whatever the driver raises must reach the thread that waits
            self._fail(SourceError(f"{self.name} failed after {count} frames: {error}"))
        finally:
            capture.release()

    def _hand_over(self, image: NDArray[np.uint8], index: int) -> None:
        with self._arrived:
            if self._newest is not None:
                self.dropped += 1
            self._newest = Frame(image, index)
            self._arrived.notify_all()

    def _fail(self, error: SourceError) -> None:
        with self._arrived:
            self._error = error
            self._arrived.notify_all()


def _open_capture(device: int | str) -> Capture:
    # On Linux only V4L2 opens cameras; every other part of OpenCV would be tried after it, each failing aloud.
    api = cv2.CAP_V4L2 if sys.platform.startswith("linux") else cv2.CAP_ANY
    try:
        with native_noise_hidden():
            capture = cv2.VideoCapture(device, api)
            opened = capture.isOpened()
    except cv2.error:
        opened = False
    if not opened:
        raise _cannot_open(device)
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # a queue in the driver would hand out old frames
    return capture


def _cannot_open(device: int | str) -> SourceError:
    if not sys.platform.startswith("linux"):
        return SourceError(f"cannot open camera {device}", hint="name another camera: --camera 1")
    path = Path(f"/dev/video{device}" if isinstance(device, int) else device)
    named = f"camera {device} ({path})" if isinstance(device, int) else f"camera {device}"
    existing = sorted(str(found) for found in Path("/dev").glob("video*"))
    listed = f"existing devices: {', '.join(existing)}" if existing else "no /dev/video* exists on this machine"
    if not path.exists():
        return SourceError(
            f"there is no {named}; {listed}",
            hint=f"name one that exists: --camera {existing[0]}" if existing else "plug in a camera, or name a file",
        )
    if not os.access(path, os.R_OK | os.W_OK):
        return SourceError(f"no permission to open {named}", hint="sudo usermod -aG video $USER, then log in again")
    return SourceError(
        f"cannot open {named}: it is in use or captures no pictures; {listed}",
        hint="close the program that uses it, or name another device",
    )
