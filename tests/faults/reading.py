"""What an independent reader (PyAV, packet by packet) finds in a file: frames, their numbers, what is damaged."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import av
import av.logging

from tests.faults.making.numbering import read_number

av.logging.set_level(av.logging.PANIC)
_GAP = 1.5  # frame intervals between two presentation times that make a hole


@dataclass(frozen=True)
class Reading:
    """What was found.

    Attributes:
        opened: whether it could be opened and holds pictures.
        numbers: the number in every frame decoded, ``None`` where it cannot be read.
        suspect: for every frame decoded, whether it is marked corrupt, or follows damage and no key frame has come.
        marked: how many frames are marked corrupt.
        undecodable: how many packets could not be decoded.
        holes: whether presentation times or the stated number of frames show that something is missing.
        cut: whether reading ended with an error instead of the end of the file.
    """

    opened: bool = False
    numbers: tuple[int | None, ...] = ()
    suspect: tuple[bool, ...] = ()
    marked: int = 0
    undecodable: int = 0
    holes: bool = False
    cut: bool = False

    @property
    def damaged(self) -> int:
        """Frames that a run has to count as damaged."""
        return self.marked + self.undecodable

    @property
    def sound(self) -> bool:
        """Whether nothing at all can be seen to be wrong."""
        return self.opened and not (self.damaged or self.holes or self.cut)


def read(path: Path, *, strict: bool = False) -> Reading:
    """Read a video file as far as it goes; ``strict`` tells the decoder to give up on whatever is invalid."""
    try:
        container = av.open(str(path))
    except (av.FFmpegError, OSError, ValueError):
        return Reading(cut=True)
    with container:
        if not container.streams.video or container.streams.video[0].codec_context is None:
            return Reading(cut=True)
        return _read(container, strict)


def _read(container: av.container.InputContainer, strict: bool) -> Reading:
    stream = container.streams.video[0]
    if strict:
        stream.codec_context.options = {"err_detect": "explode"}
    stream.thread_type = "NONE"
    numbers: list[int | None] = []
    suspect: list[bool] = []
    times: list[float] = []
    marked = undecodable = 0
    cut = tainted = False
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            break
        except (av.FFmpegError, OSError, ValueError):
            cut = True
            break
        tainted |= packet.is_corrupt
        try:
            frames = packet.decode()
        except (av.FFmpegError, OSError, ValueError):
            undecodable += 1
            tainted = True
            continue
        for frame in frames:
            tainted = frame.is_corrupt or (tainted and not frame.key_frame)
            marked += frame.is_corrupt
            suspect.append(tainted)
            numbers.append(read_number(frame.to_ndarray(format="bgr24")))
            if frame.time is not None:
                times.append(frame.time)
    stated = stream.frames or len(numbers)
    return Reading(
        opened=bool(numbers),
        numbers=tuple(numbers),
        suspect=tuple(suspect),
        marked=marked,
        undecodable=undecodable,
        holes=stated > len(numbers) or _has_hole(times, float(stream.average_rate or 0)),
        cut=cut,
    )


def _has_hole(times: list[float], rate: float) -> bool:
    steps = [after - before for before, after in pairwise(times)]
    return rate > 0 and any(not 0 < step <= _GAP / rate for step in steps)


def count_frames(path: Path) -> int | None:
    """Return how many frames of a video can be decoded, ``None`` where it cannot be opened or a packet is bad."""
    reading = read(path)
    whole = reading.opened and not reading.undecodable and not reading.cut
    return len(reading.numbers) if whole else None


def numbers_shown(path: Path) -> list[int | None]:
    """Return the numbers in the frames of a video, in order."""
    return list(read(path).numbers)
