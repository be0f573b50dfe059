"""Video files, frame by frame; none is dropped and none is invented."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from ifseg_rt.errors import SourceError
from ifseg_rt.sources.base import Event, Frame
from ifseg_rt.sources.content.kinds import VIDEO_SUFFIXES, kind_of
from ifseg_rt.sources.content.names import file_stem, readable_name, reason_of
from ifseg_rt.sources.decoding import Decoding
from ifseg_rt.sources.recording.completeness import doubtful_end, missing_end
from ifseg_rt.sources.recording.streams import picture_stream, rough_limit
from ifseg_rt.sources.settings import SourceSettings

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

__all__ = ["VIDEO_SUFFIXES", "VideoSource"]

_FASTEST = 1000.0  # a frame rate above is a broken header
_ATTEMPTS = 20  # to go on after damage to the container itself
# What reads other files or addresses, devices, or text and bare numbers as if they were pictures.
_REFUSED_FORMATS = frozenset(
    {
        *("adf", "alsa", "avisynth", "bin", "concat", "dash", "fbdev", "hls", "idf", "image2", "imf", "kmsgrab"),
        *("lavfi", "rawvideo", "rtp", "rtp_mpegts", "rtsp", "sap", "sdp", "tty", "v210", "v210x", "vapoursynth"),
        *("video4linux2,v4l2", "vobsub", "webm_dash_manifest", "x11grab", "xbin"),
    }
)
_FORMATS = {"APNG": "apng"}  # FFmpeg takes it for a PNG of one picture unless told


class VideoSource:
    """One video file, or one animated GIF or PNG.

    Args:
        path: the file; nothing but it is read, whatever it refers to.
        settings: what becomes of damaged frames (by default they are handed out, marked) and the limit of pixels.
    """

    is_live = False
    is_still = False

    def __init__(self, path: Path, settings: SourceSettings | None = None) -> None:
        self.path = path
        self.name = readable_name(path)
        self.stem = file_stem(path)
        self.fps: float | None = None
        self.total: int | None = None
        self._settings = settings or SourceSettings()
        self._container: InputContainer | None = None
        self._stream: VideoStream | None = None
        self._lock = threading.Lock()  # PyAV must not close a container while another thread reads it

    def open(self) -> None:
        """See :meth:`ifseg_rt.sources.base.Source.open`."""
        with self._lock:
            if self._container is not None:
                return
            container = self._opened()
            try:
                stream = picture_stream(container, self.name, self._settings.max_pixels)
            except SourceError:
                container.close()
                raise
            rate = float(stream.average_rate or 0)
            self.fps = rate if 0 < rate <= _FASTEST else None
            self.total = stream.frames or self._expected(stream)
            self._container, self._stream = container, stream

    def items(self) -> Iterator[Frame | Event]:
        """See :meth:`ifseg_rt.sources.base.Source.items`."""
        self.open()
        decoding = self._decoding()
        if decoding is None:
            return
        items, count = decoding.items(), 0
        while True:
            with self._lock:
                if self._container is None:  # closed meanwhile
                    return
                item = next(items, None)
            if item is None:
                break
            count += isinstance(item, Frame)
            yield item
        self._check_end(decoding, count)
        doubt = doubtful_end(self.path)
        if doubt is not None:
            yield Event("note", f"{self.name}: {doubt}", {"note": doubt})

    def close(self) -> None:
        """See :meth:`ifseg_rt.sources.base.Source.close`."""
        with self._lock:
            container, self._container, self._stream = self._container, None, None
            if container is not None:
                container.close()

    def _opened(self) -> InputContainer:
        import av
        from av.error import FFmpegError

        try:
            kind = kind_of(self.path)
            if kind.family == "other":
                raise SourceError(f"{self.name} is no video: its content is that of a file of the kind {kind.name}")
            return av.open(
                # A path of its own protocol: what comes before a colon in a name is no protocol, "%d" no number.
                f"file:{os.path.abspath(self.path)}",  # noqa: PTH100 (links are left as they are)
                format=_FORMATS.get(kind.name),
                options={
                    "protocol_whitelist": "file",
                    "format_whitelist": allowed_formats(),
                    "max_pixels": str(rough_limit(self._settings.max_pixels)),
                },
                metadata_errors="replace",
            )
        except FFmpegError as error:
            raise SourceError(
                f"{self.name} is not a readable video: its content is corrupt, cut off or in an unknown format"
            ) from error
        except (OSError, ValueError) as error:
            raise SourceError(f"cannot read {self.name}: {reason_of(error)}") from error

    def _decoding(self) -> Decoding | None:
        with self._lock:
            if self._container is None or self._stream is None:
                return None
            return Decoding(
                self._container,
                self._stream,
                keep_damaged=self._settings.corrupt != "skip",
                max_pixels=self._settings.max_pixels,
                attempts=_ATTEMPTS,
            )

    def _expected(self, stream: VideoStream) -> int | None:
        seconds = float((stream.duration or 0) * (stream.time_base or 0))
        expected = round(seconds * (self.fps or 0))
        return expected if math.isfinite(seconds) and expected > 0 else None

    def _check_end(self, decoding: Decoding, count: int) -> None:
        try:
            missing = missing_end(self.path)
        except OSError as error:
            missing = f"it can no longer be read ({reason_of(error)})"
        missing = missing or decoding.missing_packets() or decoding.broken
        if missing is not None:
            raise SourceError(f"{self.name} ends early, after {count} frames: {missing}")
        if decoding.index == 0 or (decoding.lost and not count):
            raise SourceError(f"{self.name} holds no readable frame")


@cache
def allowed_formats() -> str:
    """What FFmpeg may take a file for, as its option ``format_whitelist`` wants it."""
    import av

    return ",".join(sorted(av.formats_available - _REFUSED_FORMATS))
