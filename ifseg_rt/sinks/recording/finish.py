"""Turns a recording made of fragments into an ordinary file: the same packets, with an index and exact durations."""

from __future__ import annotations

import errno
import heapq
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from fractions import Fraction
from io import BytesIO, FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from ifseg_rt.sinks.placing.files import beside, new_file, sync
from ifseg_rt.sinks.recording.sound import NoSoundError, Sound

if TYPE_CHECKING:
    from av.packet import Packet

CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".avi": "avi"}
# Of the index in front of an MP4: size, place, time and key mark of a packet, with room to spare.
_BYTES_PER_PACKET = 32
_SOUND_PACKETS_PER_SECOND = 100
_OF_AVI = ("mp3", "pcm_", "ac3")  # anything goes into it, but packets of varying length lose their times


@dataclass(frozen=True)
class Length:
    """What a recording holds.

    Attributes:
        frames: how many frames.
        begin: seconds from the start of the source to what is zero here.
        end: the same to the end of the last frame.
        last: seconds that the last frame lasts.
    """

    frames: int
    begin: float
    end: float
    last: float


def finished(recording: Path, place: Path, length: Length, *, sound: Path | None, note: Callable[[str], None]) -> Path:
    """Write an ordinary file beside its place by copying the packets of a recording.

    Args:
        recording: a file made by :class:`ifseg_rt.sinks.recording.fragments.FragmentedVideo`.
        place: where it will go; the suffix chooses the container.
        length: what the recording holds.
        sound: a file whose first sound track is copied too.
        note: told why sound could not be kept.

    Returns:
        The new file, under a random name in the folder of ``place``.

    Raises:
        OSError: the disk is full, say; nothing is left of it.
    """
    import av

    made = beside(place)
    descriptor = new_file(made)
    try:
        with os.fdopen(descriptor, "w+b", buffering=0) as target, recording.open("rb") as source:
            file = _Patient(target)
            try:
                copied = _copy(source, file, CONTAINERS[place.suffix.lower()], length, sound, note)
            except (av.FFmpegError, ValueError) as error:
                raise file.failure or OSError(
                    errno.EIO, f"it could not be copied into {place.suffix} ({error})"
                ) from error
            if file.failure is not None:
                raise file.failure
            if copied < length.frames:
                raise OSError(errno.EIO, f"{copied} of {length.frames} frames could be copied")
            sync(target.fileno())
    except BaseException:
        with suppress(OSError):
            made.unlink()
        raise
    return made


class _Patient:
    """A file for PyAV that remembers the first error and takes everything from then on.

    FFmpeg writes on after an error, to end the file properly; PyAV prints a traceback for each further one.
    """

    def __init__(self, file: FileIO) -> None:
        self._file = file
        self._position = 0
        self._end = 0
        self.failure: OSError | None = None

    def write(self, part: bytes) -> int:
        if self.failure is None:
            try:
                self._file.seek(self._position)
                rest = memoryview(part)
                while rest:
                    rest = rest[self._file.write(rest) or 0 :]
            except OSError as error:
                self.failure = error
        self._position += len(part)
        self._end = max(self._end, self._position)
        return len(part)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._end}[whence]
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        return self._position


def _copy(
    source: BinaryIO, file: _Patient, container: str, length: Length, path: Path | None, note: Callable[[str], None]
) -> int:
    import av

    with ExitStack() as stack:
        recorded: Any = stack.enter_context(av.open(source))
        sound = None
        if path is not None:
            try:
                sound = stack.enter_context(Sound(path, length.begin, length.end))
                _check_fits(sound, container)
            except NoSoundError as error:
                note(f"no sound: {error}")
                sound = None
        out: Any = stack.enter_context(
            av.open(file, "w", format=container, options=_options(container, length, with_sound=sound is not None))
        )
        pictures = recorded.streams.video[0]
        steady = _mean_rate(length) if container == "avi" else None
        streams = [out.add_stream_from_template(pictures)]
        streams[0].time_base = pictures.time_base if steady is None else 1 / steady
        parts = [_timed(recorded.demux(pictures), length.last, steady)]
        if sound is not None:
            streams.append(out.add_stream_from_template(sound.stream))
            parts.append((time, 1, packet) for time, packet in sound.packets())
        count = 0
        for _, number, packet in heapq.merge(*parts, key=lambda part: part[:2]):
            if file.failure is not None:
                break
            packet.stream = streams[number]
            out.mux(packet)
            count += number == 0
    return count


def _options(container: str, length: Length, *, with_sound: bool) -> dict[str, str]:
    if container not in ("mp4", "mov"):
        return {}
    packets = length.frames + (round((length.end - length.begin + 1) * _SOUND_PACKETS_PER_SECOND) if with_sound else 0)
    return {
        # The index goes to the front, as players on the web want it, into room kept for it.
        "moov_size": str(4096 + packets * _BYTES_PER_PACKET),
        # In milliseconds, as usual, the start of the first frame would be rounded.
        "movie_timescale": "90000",
    }


def _mean_rate(length: Length) -> Fraction:
    """AVI knows frames a second and no times."""
    seconds = length.end - length.begin
    rate = length.frames / seconds if seconds > 0 else 25.0
    return Fraction(min(max(rate, 0.1), 1000.0)).limit_denominator(1001)


def _timed(
    packets: Iterator[Packet[Any]], last: float, steady: Fraction | None
) -> Iterator[tuple[float, int, Packet[Any]]]:
    """Packets of pictures with their time in seconds, each lasting until the next."""
    waiting: Packet[Any] | None = None
    number = 0
    for packet in _with_end(packets):
        if waiting is not None:
            if steady is not None:
                waiting.time_base = 1 / steady
                waiting.pts = waiting.dts = number
                waiting.duration = 1
                number += 1
            elif packet is not None and packet.pts is not None and waiting.pts is not None:
                waiting.duration = packet.pts - waiting.pts
            else:
                waiting.duration = max(1, round(last / (waiting.time_base or 1)))
            yield float((waiting.pts or 0) * (waiting.time_base or 0)), 0, waiting
        waiting = packet


def _with_end(packets: Iterator[Packet[Any]]) -> Iterator[Packet[Any] | None]:
    for packet in packets:
        if packet.pts is not None:  # the last one of the demuxer is empty
            yield packet
    yield None


def _check_fits(sound: Sound, container: str) -> None:
    """Write a header for the sound alone, to nowhere.

    Raises:
        NoSoundError: the container cannot hold it.
    """
    import av

    if container == "avi" and not sound.codec.startswith(_OF_AVI):
        raise NoSoundError(f"the container avi cannot hold {sound.codec} in step")
    try:
        with av.open(BytesIO(), "w", format=container) as trial:
            trial.add_stream_from_template(sound.stream)
            trial.start_encoding()
    except (av.FFmpegError, ValueError) as error:
        raise NoSoundError(f"the container {container} cannot hold {sound.codec}") from error
