"""Streams from the network, and recordings that lie on a web server."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from ifseg_rt.errors import SourceError
from ifseg_rt.sources.base import Frame, SourceLostError
from ifseg_rt.sources.connection import ConnectedSource, Items, in_time
from ifseg_rt.sources.content.kinds import PICTURE_SUFFIXES
from ifseg_rt.sources.decoding import Decoding, picture_stream
from ifseg_rt.sources.network.arrivals import Arrivals
from ifseg_rt.sources.network.urls import Address
from ifseg_rt.sources.settings import SourceSettings
from ifseg_rt.sources.spooled import chained, spooled

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

# No file, pipe, concat, subfile or data: a playlist from a server must not make us read what lies on this machine.
_PROTOCOLS = "http,https,httpproxy,tcp,tls,udp,rtp,srtp,rtmp,rtmps,rtmpt,ffrtmphttp,srt,crypto,hls"
# Measured on a local 25 fps RTSP stream with a key frame each 5 seconds: first picture after 0.38 s; without the first
# two 1.2 s, as FFmpeg watches the rate; with fflags=nobuffer 5.2 s, as it throws the first key frame away. Once
# running, all have the same latency, 45 to 52 ms by the clock in the pixels.
_QUICK = {"fpsprobesize": "0", "analyzeduration": "500000", "flags": "low_delay"}
_OF_SCHEME = {
    "rtsp": {"rtsp_transport": "tcp"},
    "rtsps": {"rtsp_transport": "tcp"},
    "udp": {"overrun_nonfatal": "1", "fifo_size": "50000"},  # a slow moment costs packets, not the connection
}
_STATE_THE_RATE = ("rtsp", "rtsps", "rtmp")
_RECORDED = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4", ".webm"})


def network_source(address: Address, settings: SourceSettings) -> NetworkSource:
    """The source for an address: pictures and recordings on a web server have an end, everything else is live."""
    suffix = PurePosixPath(address.path).suffix.lower() if address.scheme in ("http", "https") else ""
    if suffix in PICTURE_SUFFIXES:
        return RemotePicture(address, settings, live=False)
    return NetworkSource(address, settings, live=suffix not in _RECORDED)


class NetworkSource(ConnectedSource):
    """One stream, or one recording on a web server, none of which is dropped.

    Args:
        address: where it is.
        settings: time limits, sizes, what becomes of damaged frames.
        live: whether it is a stream.
    """

    def __init__(self, address: Address, settings: SourceSettings, *, live: bool) -> None:
        super().__init__(address.shown, address.stem)
        self.is_live = live
        self._address = address
        self._settings = settings

    def _connect(self, stop: threading.Event) -> tuple[Items, Callable[[], None]]:
        settings = self._settings
        container = self._opened(stop, _QUICK if self.is_live else {})
        try:
            stream = _stream_of(container, self.name, settings, live=self.is_live)
            arrivals = Arrivals(container, stream, settings.read_timeout)
            decoding = Decoding(
                arrivals,  # type: ignore[arg-type]  # the part of a container that it uses
                stream,
                keep_damaged=settings.corrupt == "keep" or (settings.corrupt is None and not self.is_live),
                max_pixels=settings.max_pixels,
                connection=self._number + 1,
                first_index=self._next_index,
                low_delay=self.is_live,
            )
        except SourceError as error:
            container.close()
            raise SourceLostError(str(error)) if self._number else error from None
        # Without watching for a while FFmpeg takes the rate of fields for that of frames, unless the server states it.
        self.fps = _rate(stream) if not self.is_live or self._address.scheme in _STATE_THE_RATE else None
        self.total = None if self.is_live else stream.frames or None
        read = self._live if self.is_live else self._recorded
        return read(decoding, arrivals, stream), container.close

    def _live(self, decoding: Decoding, arrivals: Arrivals, stream: VideoStream) -> Items:
        yield from arrivals.first_key_frame(self.name)
        for item in decoding.items():
            if isinstance(item, Frame):
                captured, taken = arrivals.newest
                # Times of a stream start anywhere and start again with each connection.
                yield replace(item, captured=captured, taken=taken, time=None, duration=None)
            else:
                yield item
        raise self._lost(self._address.hide(arrivals.end or "ended"))

    def _recorded(self, decoding: Decoding, arrivals: Arrivals, stream: VideoStream) -> Items:
        yield from decoding.items()
        # FFmpeg calls every end of an answer without a stated length an error.
        if arrivals.end is not None and arrivals.size > 0:
            raise SourceError(f"{self.name} {self._address.hide(arrivals.end)}")
        missing = decoding.missing_packets()
        if missing is not None:
            raise SourceError(f"{self.name} ends early, after {decoding.index} frames: {missing}")
        if decoding.index == 0:
            raise SourceError(f"{self.name} holds no readable frame")

    def _opened(self, stop: threading.Event, options: dict[str, str], form: str | None = None) -> InputContainer:
        import av

        every = {"protocol_whitelist": _PROTOCOLS, **_OF_SCHEME.get(self._address.scheme, {}), **options}
        limits = (self._settings.open_timeout, self._settings.read_timeout)

        def connect() -> InputContainer:
            return av.open(self._address.url, format=form, options=every, timeout=limits, metadata_errors="replace")

        begun = time.monotonic()
        try:
            container = in_time(connect, stop, lambda late: late.close())
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise self._unreachable(error, begun) from None  # the cause's text shows the credentials
        if container is None:
            raise self._lost("was closed while it was being opened")
        return container

    def _unreachable(self, error: Exception, begun: float) -> SourceError:
        import av

        reason = self._address.hide(str(getattr(error, "strerror", None) or error)).strip()
        if isinstance(error, av.error.ProtocolNotFoundError):
            return SourceError(
                f"{self.name}: the installed PyAV cannot read {self._address.scheme}://",
                hint="let another program pass it on: ffmpeg -i ADDRESS -c copy -f mpegts - | ifseg-rt ... -",
            )
        limit = self._settings.open_timeout
        if isinstance(error, av.error.ExitError) or time.monotonic() - begun > limit:  # then the reason is anything
            return self._failed(f"gave no answer within {limit:g} s")
        if isinstance(error, av.error.InvalidDataError):
            return self._failed("answers with nothing that can be decoded")
        if isinstance(error, (av.error.HTTPUnauthorizedError, av.error.HTTPForbiddenError)) and not self._number:
            # Trying a wrong password again and again locks many cameras.
            return SourceError(
                f"{self.name} refuses: {reason}", hint="check user and password: scheme://USER:PASSWORD@HOST/PATH"
            )
        return self._failed(f"cannot be read: {reason}")

    def _failed(self, what: str) -> SourceError:
        return self._lost(what) if self.is_live else SourceError(f"{self.name} {what}")


class RemotePicture(NetworkSource):
    """A picture file on a web server, fetched as a whole; also one of pages, or an animation.

    Whether it is one picture is known once it is open; before, it is taken for one.
    """

    is_still = True

    def _connect(self, stop: threading.Event) -> tuple[Items, Callable[[], None]]:
        container = self._opened(stop, {}, "data")  # FFmpeg's name for bytes of any kind
        try:
            sources, release = spooled(self._chunks(container, stop), self.name, self._settings)
        finally:
            container.close()
        self.is_still = len(sources) == 1 and sources[0].is_still
        return chained(sources), release

    def _chunks(self, container: InputContainer, stop: threading.Event) -> Iterator[bytes]:
        arrivals = Arrivals(container, container.streams[0], self._settings.read_timeout)
        for packet in arrivals.demux(container.streams[0]):
            if stop.is_set():
                raise self._lost("was closed while it was being opened")
            yield bytes(packet)
        if arrivals.end is not None and arrivals.size > 0:
            raise SourceError(f"{self.name} {self._address.hide(arrivals.end)}")


def _stream_of(container: InputContainer, name: str, settings: SourceSettings, *, live: bool) -> VideoStream:
    """The pictures of a container; a stream that was joined between two key frames tells their size later."""
    if live:
        for stream in container.streams.video:
            if stream.codec_context is not None and not stream.codec_context.width:
                return stream
    return picture_stream(container, name, settings.max_pixels)


def _rate(stream: VideoStream) -> float | None:
    rate = stream.average_rate or stream.guessed_rate
    return float(rate) if rate and 0 < rate <= 1000 else None
