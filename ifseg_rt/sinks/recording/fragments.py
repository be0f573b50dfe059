"""A video file that is whole after every frame."""

from __future__ import annotations

import errno
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ifseg_rt.sinks.placing.files import AppendFile
from ifseg_rt.sinks.recording.encoder import Coding, encode, open_stream

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Ticks per second: MP4 takes any number, Matroska's muxer only this one.
TICKS = {"mp4": 90000, "mov": 90000, "matroska": 1000}
_FRAGMENTED = {
    "movflags": "empty_moov+default_base_moof+frag_discont+skip_trailer",
    "avoid_negative_ts": "disabled",
    "use_editlist": "1",
    "video_track_timescale": str(TICKS["mp4"]),
}
_OPTIONS = {"mp4": _FRAGMENTED, "mov": _FRAGMENTED, "matroska": {"live": "1"}}


class FragmentedVideo:
    """Encodes pictures of one size into a file, and hands every frame to the system before the next.

    FFmpeg's muxers keep the last frame until the next one comes. So each frame is muxed as a file of its own, with the
    shared header left out: 0.2 ms and, in MP4, 109 bytes a frame; in Matroska 24 bytes.

    Args:
        path: the file, which must not exist.
        container: ``"mp4"``, ``"mov"`` or ``"matroska"``.
        coding: how pictures become packets.
        size: width and height in pixels.
        rate: frames per second, about.

    Raises:
        OSError: the file cannot be made, or the encoder refuses the size.
    """

    def __init__(self, path: Path, container: str, coding: Coding, size: tuple[int, int], rate: float) -> None:
        import av

        self.path = path
        self.container = container
        self.frames = 0
        self._coding = coding
        self._tick = Fraction(1, TICKS[container])
        header = _Memory()
        # Kept open for its encoder; nothing but the header comes of it.
        self._first: Any = av.open(header, "w", format=container, options=dict(_OPTIONS[container]))
        try:
            self._stream: Any = open_stream(self._first, coding, *size, rate)
            self._stream.time_base = self._tick
            self._first.start_encoding()
        except av.FFmpegError as error:
            raise OSError(errno.EINVAL, f"{coding.codec} takes no pictures of {size[0]} x {size[1]} pixels") from error
        self._header = header.taken()
        self._file = AppendFile(path)

    def append(self, picture: NDArray[Any], tick: int, duration: int) -> None:
        """Add a picture, in the layout that the coding converts from.

        Args:
            picture: the picture.
            tick: when it is shown; more than that of the one before.
            duration: ticks until the next, as far as known.

        Raises:
            OSError: it did not fit or could not be encoded; the file holds all frames before it, and is whole.
        """
        import av

        try:
            packet = encode(self._stream, self._coding, picture, self.frames)
            packet.time_base = self._tick
            packet.pts = packet.dts = tick
            packet.duration = duration
            piece = self._muxed(packet)
        except (av.FFmpegError, ValueError) as error:
            raise OSError(errno.EIO, f"{self._coding.codec} could not encode the frame ({error})") from error
        self._file.append(piece if self.frames else self._header + piece)
        self.frames += 1

    def close(self) -> None:
        """Close the file; may be called twice.

        Raises:
            OSError: the system could not keep what it took.
        """
        first, self._first, self._stream = self._first, None, None
        if first is not None:
            first.close()  # lets go of the encoder and its threads now, not at some collection of garbage
        self._file.close()

    def _muxed(self, packet: Any) -> bytes:  # noqa: ANN401
        import av

        memory = _Memory()
        options = dict(_OPTIONS[self.container])
        if self.container != "matroska":
            options["fragment_index"] = str(self.frames + 1)
        with av.open(memory, "w", format=self.container, options=options) as single:
            stream = single.add_stream_from_template(self._stream)
            stream.time_base = self._tick
            single.start_encoding()
            memory.taken()
            packet.stream = stream
            single.mux(packet)
        return memory.taken()


class _Memory:
    """Takes what a muxer writes. It cannot seek, so nothing is ever changed afterwards."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, part: bytes) -> int:
        self._parts.append(bytes(part))
        return len(part)

    def taken(self) -> bytes:
        """Everything written since the last call."""
        parts, self._parts = self._parts, []
        return b"".join(parts)
