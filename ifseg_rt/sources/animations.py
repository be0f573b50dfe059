"""Animated WebP and AVIF: pictures with times, read by OpenCV, as FFmpeg shows only their first or none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from ifseg_rt.errors import SourceError
from ifseg_rt.native_noise import native_noise_hidden
from ifseg_rt.sources.base import Event, Frame
from ifseg_rt.sources.content.headers import declared_size
from ifseg_rt.sources.content.names import file_stem, read_file, readable_name
from ifseg_rt.sources.recording.streams import check_size
from ifseg_rt.sources.settings import SourceSettings

_AT_ONCE = 32  # pictures decoded in one go: OpenCV starts from the beginning for each go, and keeps all of one


class AnimationSource:
    """One animated WebP or AVIF file.

    Args:
        path: the file.
        settings: its limit of pixels is respected.
    """

    is_live = False
    is_still = False
    fps: float | None = None  # every picture has its own time
    total: int | None = None

    def __init__(self, path: Path, settings: SourceSettings | None = None) -> None:
        self.path = path
        self.name = readable_name(path)
        self.stem = file_stem(path)
        self._settings = settings or SourceSettings()

    def open(self) -> None:
        """It is read in one go by :meth:`items`."""

    def items(self) -> Iterator[Frame | Event]:
        """See :meth:`ifseg_rt.sources.base.Source.items`."""
        decode = getattr(cv2, "imdecodeanimation", None)
        if decode is None:
            raise SourceError(
                f"{self.name} is animated: OpenCV {cv2.__version__} cannot read it", hint="OpenCV 4.13 can"
            )
        content = read_file(self.path, self.name)
        size = declared_size(content)
        if size is not None:
            check_size(*size, self.name, self._settings.max_pixels)
        data = np.frombuffer(content, dtype=np.uint8)[None]  # one row: OpenCV 4 takes any other shape for damage
        index, milliseconds = 0, 0
        while True:
            try:
                with native_noise_hidden():
                    decoded, animation = decode(data, start=index, count=_AT_ONCE)
            except cv2.error as error:
                raise SourceError(f"{self.name} cannot be read beyond frame {index}: {error.err}") from error
            if index == 0 and not (decoded and len(animation.frames)):
                raise SourceError(f"{self.name} is not a readable animation: its content is corrupt or cut off")
            for picture, duration in zip(animation.frames, animation.durations, strict=True):
                image = np.ascontiguousarray(picture[:, :, :3])
                yield Frame(image, index, time=milliseconds / 1e3, duration=int(duration) / 1e3)
                index += 1
                milliseconds += int(duration)
            if len(animation.frames) < _AT_ONCE:
                return

    def close(self) -> None:
        """Nothing is held open."""
