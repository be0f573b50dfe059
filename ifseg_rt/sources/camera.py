"""Cameras that the operating system knows, through OpenCV."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from ifseg_rt.errors import SourceError
from ifseg_rt.native_noise import native_noise_hidden
from ifseg_rt.sources.base import Event, SourceLostError
from ifseg_rt.sources.connection import ConnectedSource, Items, now
from ifseg_rt.sources.settings import SourceSettings

_PAUSE = 0.02  # seconds between failed reads


class Capture(Protocol):
    """The part of ``cv2.VideoCapture`` used here."""

    def read(self) -> tuple[bool, Any]:
        """Wait for the next frame."""

    def get(self, prop: int, /) -> float:
        """What the driver says about one property."""

    def set(self, prop: int, value: float, /) -> bool:
        """Ask the driver for one property; it may do something else."""

    def release(self) -> None:
        """Let go of the device."""


class CameraSource(ConnectedSource):
    """One camera, by number (``0`` is ``/dev/video0`` on Linux) or by device path.

    Args:
        device: which one.
        open_capture: opens a device; for those who bring their own capture object.
        settings: size, rate and pixel format to ask for; how long reads may fail.
    """

    def __init__(
        self,
        device: int | str,
        open_capture: Callable[[int | str], Capture] | None = None,
        settings: SourceSettings | None = None,
    ) -> None:
        super().__init__(f"camera {device}", f"camera_{Path(str(device)).name}")
        self._device = device
        self._settings = settings or SourceSettings()
        self._open_capture = open_capture or _open_capture

    def _connect(self, stop: threading.Event) -> tuple[Items, Callable[[], None]]:
        capture = self._open_capture(self._device)
        return self._read(capture, stop), capture.release

    def _read(self, capture: Capture, stop: threading.Event) -> Items:
        yield from self._configure(capture)
        count, failing_since = 0, None
        while not stop.is_set():
            try:
                read, image = capture.read()
            except Exception as error:  # whatever a driver or a foreign capture object raises, the camera is lost
                raise self._lost(f"failed after {count} frames: {error}") from error
            captured, taken = now()
            if read and image is not None and image.size:
                failing_since = None
                count += 1
                yield self._frame(_bgr(image, self.name), captured, taken)
                continue
            failing_since = captured if failing_since is None else failing_since
            if captured - failing_since > self._settings.read_timeout:
                raise self._lost(f"stopped delivering frames after {count}: was it unplugged?")
            stop.wait(_PAUSE)

    def _configure(self, capture: Capture) -> Items:
        """Ask for what the user wishes; what the driver does instead is an event."""
        settings = self._settings
        size, fps, letters = settings.camera_size, settings.camera_fps, settings.camera_format
        if size is None and fps is None and letters is None:
            return
        if letters is not None:  # first: which sizes and rates there are depends on it
            capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*letters))
        if size is not None:
            capture.set(cv2.CAP_PROP_FRAME_WIDTH, size[0])
            capture.set(cv2.CAP_PROP_FRAME_HEIGHT, size[1])
        if fps is not None:
            capture.set(cv2.CAP_PROP_FPS, fps)

        got_size = (round(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), round(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)))
        got_fps = capture.get(cv2.CAP_PROP_FPS)
        got_letters = _letters(capture.get(cv2.CAP_PROP_FOURCC))
        self.fps = got_fps if 0 < got_fps <= 1000 else None
        different = []
        if size is not None and got_size != size:
            different.append(f"size {got_size[0]}x{got_size[1]} instead of {size[0]}x{size[1]}")
        if fps is not None and abs(got_fps - fps) > 0.5:
            different.append(f"{got_fps:g} instead of {fps:g} frames per second")
        if letters is not None and got_letters != letters:
            different.append(f"pixel format {got_letters or 'unknown'} instead of {letters}")
        if different:
            yield Event(
                "note",
                f"{self.name} delivers {', '.join(different)}",
                {"size": list(got_size), "fps": self.fps, "format": got_letters},
            )


def _bgr(image: NDArray[np.uint8], name: str) -> NDArray[np.uint8]:
    """Drivers that convert nothing hand out grey pictures, or four channels."""
    if image.dtype != np.uint8:
        raise SourceError(f"{name} delivers {image.dtype} pixels, expected uint8", hint="name a format: MJPG or YUYV")
    if image.ndim == 2 or image.shape[2] == 1:
        return cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)  # type: ignore[return-value]
    if image.shape[2] == 4:
        return cv2.cvtColor(image, cv2.COLOR_BGRA2BGR)  # type: ignore[return-value]
    if image.shape[2] != 3:
        raise SourceError(f"{name} delivers raw {image.shape[2]}-channel pixels", hint="name a format: MJPG or YUYV")
    return image


def _letters(code: float) -> str:
    return int(code).to_bytes(4, "little").decode("ascii", "replace").strip("\0 ") if 0 < code < 2**32 else ""


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
    # Lost, not wrong: it may be plugged in again, get its permissions, or be let go by another program.
    if not sys.platform.startswith("linux"):
        return SourceLostError(f"cannot open camera {device}", hint="name another camera: --camera 1")
    path = Path(f"/dev/video{device}" if isinstance(device, int) else device)
    named = f"camera {device} ({path})" if isinstance(device, int) else f"camera {device}"
    existing = sorted(str(found) for found in Path("/dev").glob("video*"))
    listed = f"existing devices: {', '.join(existing)}" if existing else "no /dev/video* exists on this machine"
    if not path.exists():
        return SourceLostError(
            f"there is no {named}; {listed}",
            hint=f"name one that exists: --camera {existing[0]}" if existing else "plug in a camera, or name a file",
        )
    if not os.access(path, os.R_OK | os.W_OK):
        return SourceLostError(f"no permission to open {named}", hint="sudo usermod -aG video $USER, then log in again")
    return SourceLostError(
        f"cannot open {named}: it is in use or captures no pictures; {listed}",
        hint="close the program that uses it, or name another device",
    )
