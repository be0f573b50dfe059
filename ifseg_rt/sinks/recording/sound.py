"""The sound track of a file, to be copied beside the pictures made of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.packet import Packet


class NoSoundError(Exception):
    """There is no sound to copy, or it cannot be copied; says why."""


class Sound:
    """The first sound track of a file; a context manager.

    Args:
        path: the file.
        begin: seconds after the start of its pictures from which sound is wanted; that moment becomes zero.
        end: the same for the end.

    Raises:
        NoSoundError: the file cannot be read or has no sound.
    """

    def __init__(self, path: Path, begin: float, end: float) -> None:
        import av

        self._begin, self._end = begin, end
        with ExitStack() as stack:
            try:
                # As an open file: no name is taken for an address, and no list inside it for a reason to open others.
                file = stack.enter_context(path.open("rb"))
                self._container: Any = stack.enter_context(
                    av.open(file, options={"protocol_whitelist": "none"}, metadata_errors="replace")
                )
            except (OSError, ValueError, av.FFmpegError) as error:
                raise NoSoundError(f"{path} cannot be read again: {error}") from error
            if not self._container.streams.audio:
                raise NoSoundError(f"{path} has none")
            self.stream: AudioStream = self._container.streams.audio[0]
            pictures = self._container.streams.video
            start = pictures[0].start_time if pictures else None
            self._zero = float(start * pictures[0].time_base) if start is not None else 0.0
            self._stack = stack.pop_all()

    def __enter__(self) -> Sound:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def codec(self) -> str:
        """FFmpeg's name of its coding."""
        return str(self.stream.codec_context.name)

    def packets(self) -> Iterator[tuple[float, Packet[Any]]]:
        """Its packets in the time wanted, with their time in seconds; packets that are damaged end it early."""
        import av

        unit = self.stream.time_base or 0
        last: int | None = None
        shift = round((self._zero + self._begin) / unit) if unit else 0
        try:
            for packet in self._container.demux(self.stream):
                if packet.pts is None or packet.dts is None or packet.is_corrupt:
                    continue
                if last is not None and packet.dts <= last:
                    continue
                last = packet.dts
                packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
                time = float(packet.pts * unit)
                if time > self._end - self._begin:
                    return
                if time >= 0:
                    yield time, packet
        except av.FFmpegError:
            return
