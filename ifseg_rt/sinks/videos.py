"""Video output: the overlays at the rate of the source."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import cv2

from ifseg_rt.errors import IfsegError
from ifseg_rt.native_noise import native_noise_hidden

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ifseg_rt.result import Result
    from ifseg_rt.sources.base import Frame

# Codecs that every OpenCV wheel can encode; H.264 is in none of them.
CODECS = {".mp4": "mp4v", ".mov": "mp4v", ".mkv": "mp4v", ".avi": "MJPG"}
_FRAMES_TO_MEASURE = 8
_UNKNOWN_RATE = 25.0


class VideoSink:
    """Writes the overlays of one source into one video file.

    Args:
        path: the file; its suffix is one of :data:`CODECS`.
        fps: frames per second of the source; ``None`` takes the rate at which the first eight frames arrive, so that a
            camera recording plays at its real speed.
    """

    def __init__(self, path: Path, fps: float | None) -> None:
        self._path = path
        self._fps = fps
        self._writer: cv2.VideoWriter | None = None
        self._waiting: list[NDArray[np.uint8]] = []
        self._arrivals: list[float] = []
        self._size: tuple[int, int] | None = None

    def write(self, frame: Frame, result: Result, drawn: NDArray[np.uint8]) -> dict[str, str]:
        """See :meth:`ifseg_rt.sinks.base.Sink.write`."""
        if self._size is None:
            self._size = drawn.shape[1], drawn.shape[0]
        elif self._size != (drawn.shape[1], drawn.shape[0]):
            raise IfsegError(
                f"cannot write {self._path}: the frames change their size from {self._size[0]} x {self._size[1]} "
                f"to {drawn.shape[1]} x {drawn.shape[0]}"
            )
        if self._writer is None:
            self._waiting.append(drawn)
            self._arrivals.append(time.monotonic())
            if self._fps is not None or len(self._waiting) == _FRAMES_TO_MEASURE:
                self._start()
        else:
            self._writer.write(_even(drawn))
        return {"overlay": str(self._path)}

    def close(self) -> None:
        """See :meth:`ifseg_rt.sinks.base.Sink.close`."""
        if self._waiting:
            self._start()
        if self._writer is not None:
            self._writer.release()
            self._writer = None

    def _start(self) -> None:
        first, self._waiting = self._waiting, []
        fps = self._fps if self._fps is not None else _measured_rate(self._arrivals)
        height, width = _even(first[0]).shape[:2]
        codec = CODECS[self._path.suffix.lower()]
        with native_noise_hidden():
            writer = cv2.VideoWriter(str(self._path), cv2.VideoWriter.fourcc(*codec), fps, (width, height))
        if not writer.isOpened():
            raise IfsegError(
                f"cannot write {self._path}: OpenCV could not open it for {codec} video of {width} x {height}",
                hint="check that the folder can be written to, or choose another suffix: " + " ".join(CODECS),
            )
        self._writer = writer
        for picture in first:
            writer.write(_even(picture))


def _measured_rate(arrivals: list[float]) -> float:
    spent = arrivals[-1] - arrivals[0]
    return round(min(max((len(arrivals) - 1) / spent, 0.5), 120.0), 2) if spent > 0 else _UNKNOWN_RATE


def _even(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    # The encoder wants even sizes and would cut an odd last row or column off; repeat it instead.
    height, width = picture.shape[:2]
    if height % 2 == 0 and width % 2 == 0:
        return picture
    return cv2.copyMakeBorder(picture, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)  # type: ignore[return-value]
