"""Standard input: a picture, pictures one after the other, or a video in any container."""

from __future__ import annotations

import os
import select
import stat
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ifseg_rt.errors import SourceError, UsageError
from ifseg_rt.sources.base import Event, Frame, Source
from ifseg_rt.sources.connection import ConnectedSource, Items
from ifseg_rt.sources.content.kinds import Kind, kind_of
from ifseg_rt.sources.decoding import Decoding, picture_stream
from ifseg_rt.sources.recording.arriving import Watch, watch_for
from ifseg_rt.sources.settings import SourceSettings
from ifseg_rt.sources.spooled import chained, file_sources, spooled
from ifseg_rt.sources.videos import allowed_formats

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

_NAME = "standard input"
_HEAD = 4096
_BEGINNING = 8
_RATE = 25.0  # what FFmpeg takes for pictures in a row, too
# Without it FFmpeg waits for 50 pictures to find a rate that pictures in a row do not have.
_AT_ONCE = {"probesize": "32", "fpsprobesize": "0"}
# How pictures begin that programs write one after the other, and what FFmpeg calls them then.
_IN_A_ROW = {
    b"\xff\xd8\xff": "mjpeg",
    b"\x89PNG\r\n\x1a\n": "png_pipe",
    b"BM": "bmp_pipe",
    b"P4": "pbm_pipe",
    b"P5": "pgm_pipe",
    b"P6": "ppm_pipe",
}


def only_one_stdin(arguments: Sequence[str]) -> None:
    """Refuse to read standard input twice.

    Raises:
        UsageError: ``-`` is named more than once.
    """
    if list(arguments).count("-") > 1:
        raise UsageError("standard input (-) is named more than once: it can be read once only")


class StdinSource(ConnectedSource):
    """What another program writes, or a file that the shell opens (``- < x.mp4``). Nothing is dropped.

    Whether it is one picture is known once it is open.

    Args:
        settings: what becomes of damaged frames, and the limit of pixels.
    """

    is_live = False

    def __init__(self, settings: SourceSettings) -> None:
        super().__init__(_NAME, "stdin")
        self._settings = settings
        self._used = False
        self.path = _redirected_file()

    def _connect(self, stop: threading.Event) -> tuple[Items, Callable[[], None]]:
        if self.path is not None:
            return self._whole(file_sources(self.path, kind_of(self.path), _NAME, self._settings), lambda: None)
        if self._used:
            raise SourceError(f"{_NAME} was read already: a pipe can be read once only")
        pipe = _Pipe(stop)
        self._used = True
        beginning = pipe.peek(_BEGINNING)
        if not beginning:
            raise SourceError(f"{_NAME} is empty: expected a picture or a video")
        for row, form in _IN_A_ROW.items():
            if beginning.startswith(row):  # without a look further: the next one may be long in coming
                return self._in_a_row(pipe, form)
        head = pipe.peek(_HEAD)
        kind = _kind_of_head(head)
        if kind.family == "other":
            raise SourceError(f"{_NAME} is neither a picture nor a video that can be read, but of the kind {kind.name}")
        if kind.family in ("picture", "animation") or _index_comes_last(head):
            return self._whole(*spooled(pipe.chunks(), _NAME, self._settings))
        pipe.watch = watch_for(kind.name)
        container = self._opened(pipe, None)
        try:
            stream = picture_stream(container, _NAME, self._settings.max_pixels)
        except SourceError:
            container.close()
            raise
        self.fps = float(stream.average_rate) if stream.average_rate else None
        return self._decoded(container, stream, pipe.watch), container.close

    def _whole(self, sources: list[Source], release: Callable[[], None]) -> tuple[Items, Callable[[], None]]:
        self.is_still = len(sources) == 1 and sources[0].is_still
        try:
            for source in sources:
                source.open()
        except SourceError:
            release()
            raise
        if len(sources) == 1:
            self.fps, self.total = sources[0].fps, sources[0].total
        return chained(sources), release

    def _in_a_row(self, pipe: _Pipe, form: str) -> tuple[Items, Callable[[], None]]:
        """One picture is read as a picture file is, with its turn and depth; more are a video without times."""
        container = self._opened(pipe, form)
        packets = container.demux(video=0)
        first = [packet for packet in (next(packets, None), next(packets, None)) if packet is not None and packet.size]
        if len(first) == 1:
            content = bytes(first[0])
            container.close()
            return self._whole(*spooled([content], _NAME, self._settings))
        stream = picture_stream(container, _NAME, self._settings.max_pixels)
        self.fps = _RATE
        return self._timed(self._decoded(_Resumed(container, first, packets), stream)), container.close

    def _timed(self, items: Items) -> Items:
        yield Event("note", f"{_NAME} holds pictures without times: taken as {_RATE:g} a second", {"fps": _RATE})
        count = 0
        for item in items:
            if isinstance(item, Frame):
                item = replace(item, time=count / _RATE, duration=1 / _RATE)
                count += 1
            yield item

    def _opened(self, pipe: _Pipe, form: str | None) -> InputContainer:
        import av

        try:
            return av.open(
                pipe,
                mode="r",
                format=form,
                options={
                    "protocol_whitelist": "pipe",
                    "max_pixels": str(self._settings.max_pixels),
                    **(_AT_ONCE if form else {"format_whitelist": allowed_formats()}),
                },
                metadata_errors="replace",
            )
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise SourceError(
                f"{_NAME} is neither a picture nor a video that can be read from a pipe",
                hint="an MP4 whose index is at its end must be named as a file, or written with -movflags +faststart",
            ) from error

    def _decoded(self, container: Any, stream: VideoStream, watch: Watch | None = None) -> Items:  # noqa: ANN401
        decoding = Decoding(
            container,
            stream,
            keep_damaged=self._settings.corrupt != "skip",
            max_pixels=self._settings.max_pixels,
            first_index=self._next_index,
            connection=self._number + 1,
        )
        yield from decoding.items()
        missing = (watch and watch.missing()) or decoding.missing_packets() or decoding.broken
        if missing is not None:
            raise SourceError(f"{_NAME} ends early, after {decoding.index} frames: {missing}")
        if decoding.index == 0:
            raise SourceError(f"{_NAME} holds no readable frame")


class _Resumed:
    """A container of which some packets have been read already."""

    def __init__(self, container: InputContainer, first: list[Any], others: Iterator[Any]) -> None:
        self.format = container.format
        self._packets = (packet for packets in (first, others) for packet in packets)

    def demux(self, stream: VideoStream) -> Iterator[Any]:
        """What was read, then what follows."""
        return self._packets


class _Pipe:
    """Standard input as PyAV reads it: whatever is there, without waiting for a full buffer."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop
        self._ahead = b""
        self.watch: Watch | None = None  # sees what is read
        try:
            self._number = sys.stdin.fileno() if sys.stdin is not None else -1
            os.fstat(self._number)
        except (OSError, ValueError, AttributeError):
            raise SourceError(f"{_NAME} is closed", hint="give it a file or a pipe: PROGRAM | ifseg-rt ... -") from None
        if os.isatty(self._number):
            raise SourceError(f"{_NAME} is a terminal", hint="give it a file or a pipe: PROGRAM | ifseg-rt ... -")

    def read(self, length: int) -> bytes:
        """At most so many bytes; none at the end, or once the source is to stop."""
        content, self._ahead = self._ahead[:length], self._ahead[length:]
        content = content or self._arriving(length)
        if self.watch is not None:
            self.watch.feed(content)
        return content

    def _arriving(self, length: int) -> bytes:
        # Waiting in steps, so that another thread can end it; Windows cannot wait for pipes.
        while sys.platform != "win32" and not select.select([self._number], [], [], 0.1)[0]:
            if self._stop.is_set():
                return b""
        try:
            return os.read(self._number, length)
        except OSError as error:
            raise SourceError(f"{_NAME} cannot be read: {error.strerror}") from error

    def peek(self, length: int) -> bytes:
        """The first bytes, which stay to be read; fewer only at the end."""
        while len(self._ahead) < length:
            more = self._arriving(length - len(self._ahead))
            self._ahead += more
            if not more:
                break
        return self._ahead

    def chunks(self) -> Iterator[bytes]:
        """Everything up to the end."""
        while chunk := self.read(1 << 16):
            yield chunk


def _kind_of_head(head: bytes) -> Kind:
    with tempfile.TemporaryDirectory(prefix="ifseg-") as folder:
        path = Path(folder) / "head"
        path.write_bytes(head)
        return kind_of(path)


def _index_comes_last(head: bytes) -> bool:
    """Whether it is an MP4 that nothing can read before all of it is there."""
    at = 0
    while at + 8 <= len(head) and (head[4:8] == b"ftyp" or at):
        size, name = int.from_bytes(head[at : at + 4], "big"), head[at + 4 : at + 8]
        if name in (b"moov", b"mdat"):
            return name == b"mdat"
        if size < 8:
            return False
        at += size
    return False


def _redirected_file() -> Path | None:
    """The file that standard input is, where it is one and nothing of it has been read yet."""
    try:
        number = sys.stdin.fileno() if sys.stdin is not None else -1
        if not stat.S_ISREG(os.fstat(number).st_mode) or os.lseek(number, 0, os.SEEK_CUR) != 0:
            return None
        path = Path(f"/proc/self/fd/{number}").resolve(strict=True)
        return path if os.path.samestat(path.stat(), os.fstat(number)) else None
    except (OSError, ValueError, AttributeError):
        return None
