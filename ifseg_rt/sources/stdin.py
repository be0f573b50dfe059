"""Standard input: a picture, pictures one after the other, or a video in any container."""

from __future__ import annotations

import os
import select
import stat
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ifseg_rt.errors import SourceError, UsageError
from ifseg_rt.sources.base import Source
from ifseg_rt.sources.connection import ConnectedSource, Items
from ifseg_rt.sources.content.kinds import Kind, kind_of
from ifseg_rt.sources.decoding import Decoding, picture_stream
from ifseg_rt.sources.settings import SourceSettings
from ifseg_rt.sources.spooled import chained, file_sources, spooled
from ifseg_rt.sources.videos import allowed_formats

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

_NAME = "standard input"
_HEAD = 4096
_TS_PACKETS = (188, 192)  # bytes of a packet of a transport stream; Blu-ray discs add four
# Pictures that programs write one after the other, and FFmpeg's name for that.
_IN_A_ROW = {"JPEG": "mjpeg", "PNG": "png_pipe", "BMP": "bmp_pipe"}
_PNM = {b"1": "pbm_pipe", b"2": "pgm_pipe", b"3": "ppm_pipe", b"4": "pbm_pipe", b"5": "pgm_pipe", b"6": "ppm_pipe"}


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
        head = pipe.peek(_HEAD)
        if not head:
            raise SourceError(f"{_NAME} is empty: expected a picture or a video")
        kind = _kind_of_head(head)
        if kind.family == "other":
            raise SourceError(f"{_NAME} is neither a picture nor a video that can be read, but of the kind {kind.name}")
        row = _PNM.get(head[1:2]) if kind.name == "PNM" else _IN_A_ROW.get(kind.name)
        if row is not None:
            return self._in_a_row(pipe, row)
        if kind.family in ("picture", "animation") or _index_comes_last(head):
            return self._whole(*spooled(pipe.chunks(), _NAME, self._settings))
        container = self._opened(pipe, None)
        try:
            stream = picture_stream(container, _NAME, self._settings.max_pixels)
        except SourceError:
            container.close()
            raise
        self.fps = float(stream.average_rate) if stream.average_rate else None
        return self._decoded(container, stream, pipe if kind.name == "MPEG-TS" else None), container.close

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
        return self._decoded(_Resumed(container, first, packets), stream), container.close

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
                    **({} if form else {"format_whitelist": allowed_formats()}),
                },
                metadata_errors="replace",
            )
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise SourceError(
                f"{_NAME} is neither a picture nor a video that can be read from a pipe",
                hint="an MP4 whose index is at its end must be named as a file, or written with -movflags +faststart",
            ) from error

    def _decoded(self, container: Any, stream: VideoStream, packets: _Pipe | None = None) -> Items:  # noqa: ANN401
        decoding = Decoding(
            container,
            stream,
            keep_damaged=self._settings.corrupt != "skip",
            max_pixels=self._settings.max_pixels,
            first_index=self._next_index,
            connection=self._number + 1,
        )
        yield from decoding.items()
        missing = decoding.missing_packets() or decoding.broken
        if missing is None and packets is not None and all(packets.count % size for size in _TS_PACKETS):
            missing = "its last packet is cut off"
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
        self.count = 0  # bytes read so far
        try:
            self._number = sys.stdin.fileno() if sys.stdin is not None else -1
            os.fstat(self._number)
        except (OSError, ValueError, AttributeError):
            raise SourceError(f"{_NAME} is closed", hint="give it a file or a pipe: PROGRAM | ifseg-rt ... -") from None
        if os.isatty(self._number):
            raise SourceError(f"{_NAME} is a terminal", hint="give it a file or a pipe: PROGRAM | ifseg-rt ... -")

    def read(self, length: int) -> bytes:
        """At most so many bytes; none at the end, or once the source is to stop."""
        if self._ahead:
            content, self._ahead = self._ahead[:length], self._ahead[length:]
            return content
        # Waiting in steps, so that another thread can end it; Windows cannot wait for pipes.
        while sys.platform != "win32" and not select.select([self._number], [], [], 0.1)[0]:
            if self._stop.is_set():
                return b""
        try:
            content = os.read(self._number, length)
        except OSError as error:
            raise SourceError(f"{_NAME} cannot be read: {error.strerror}") from error
        self.count += len(content)
        return content

    def peek(self, length: int) -> bytes:
        """The first bytes, which stay to be read; fewer only at the end."""
        while len(self._ahead) < length:
            ahead, self._ahead = self._ahead, b""
            more = self.read(length - len(ahead))
            self._ahead = ahead + more
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
