"""Video files, frame by frame; none is dropped and none is invented."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import cv2

from ifseg_rt.errors import SourceError
from ifseg_rt.native_noise import native_noise_hidden
from ifseg_rt.sources.base import Frame

VIDEO_SUFFIXES = frozenset(
    {".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ts", ".webm", ".wmv"}
)
# Containers state the number of frames only roughly (edit lists, dropped trailing frames): a file that delivers less
# than this part of it was cut off.
_COMPLETE = 0.95
_FASTEST = 1000.0  # a frame rate above is a broken header


class VideoSource:
    """One video file."""

    is_live = False
    is_still = False
    dropped = 0

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = str(path)
        self.fps: float | None = None
        self.total: int | None = None
        self._capture: cv2.VideoCapture | None = None

    def open(self) -> None:
        """See :meth:`ifseg_rt.sources.base.Source.open`."""
        if self._capture is not None:
            return
        if not self.path.is_file():
            raise SourceError(f"there is no file {self.path}")
        with native_noise_hidden():
            capture = cv2.VideoCapture(str(self.path))
        if not capture.isOpened():
            raise SourceError(
                f"{self.path} is not a readable video: its content is corrupt, cut off or in an unknown format"
            )
        fps, total = capture.get(cv2.CAP_PROP_FPS), capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.fps = fps if math.isfinite(fps) and 0 < fps <= _FASTEST else None
        self.total = int(total) if math.isfinite(total) and total > 0 else None
        self._capture = capture

    def frames(self) -> Iterator[Frame]:
        """See :meth:`ifseg_rt.sources.base.Source.frames`."""
        self.open()
        index = 0
        while self._capture is not None:
            read, image = self._capture.read()
            if not read or image is None:
                break
            yield Frame(image, index, time=self._position())  # type: ignore[arg-type]
            index += 1
        if index == 0:
            raise SourceError(f"{self.path} holds no readable frame")
        if self.total is not None and index < _COMPLETE * self.total - 1:
            raise SourceError(f"{self.path} ends early: expected {self.total} frames, could read {index}")

    def close(self) -> None:
        """See :meth:`ifseg_rt.sources.base.Source.close`."""
        if self._capture is not None:
            self._capture.release()
            self._capture = None

    def _position(self) -> float | None:
        """Presentation time of the frame that was read last."""
        milliseconds = self._capture.get(cv2.CAP_PROP_POS_MSEC) if self._capture is not None else math.nan
        return milliseconds / 1e3 if math.isfinite(milliseconds) and milliseconds >= 0 else None
