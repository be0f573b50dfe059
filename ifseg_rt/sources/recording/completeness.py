"""Whether the end of a video file is there, by the sizes that its container states; counts of frames are not asked.

Frame counts are no measure: an edit list hides frames, sound runs on after the pictures, encoders drop frames. What a
container says about its own bytes is exact.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from ifseg_rt.sources.recording.transport import cut_off_unit


def missing_end(path: Path) -> str | None:
    """Say what shows that the end of a video file is missing.

    Args:
        path: a file that could be opened as a video.

    Returns:
        Part of a sentence, such as ``"its last part should end at byte 9000 and the file at 6000"``; ``None`` where
        nothing is known to be missing.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        head = file.read(16)
        for fits, parts in _CONTAINERS:
            if fits(head):
                return _beyond(parts(file, size), size)
        for fits, check in _ENDS:
            if fits(head):
                return check(file, size)
    return None


def doubtful_end(path: Path) -> str | None:
    """Say what makes it likely, but not certain, that the end of a video file is missing; as :func:`missing_end`."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        if not _is_transport_stream(file.read(16)):
            return None
        cut = cut_off_unit(file, size)
        return cut[0] if cut is not None else None


def _is_transport_stream(head: bytes) -> bool:
    return (head[:1] == b"G" and head[:4] != b"GIF8") or head[4:5] == b"G"


def _beyond(ends: Iterator[int], size: int) -> str | None:
    for end in ends:
        if end > size:
            return f"a part of it should end at byte {end}, and it has {size}"
    return None


def _boxes(file: BinaryIO, size: int) -> Iterator[int]:
    """Ends of the top-level boxes of MP4 and QuickTime."""
    at = 0
    while at + 8 <= size:
        file.seek(at)
        header = file.read(16)
        length = int.from_bytes(header[:4], "big")
        if not header[4:8].isalnum() or length == 0:  # zeros after the end, or a box up to the end
            return
        if length == 1:
            length = int.from_bytes(header[8:16], "big")
        if length < 8:
            return
        at += length
        yield at


def _chunks(file: BinaryIO, size: int) -> Iterator[int]:
    """Ends of the RIFF chunks of an AVI; recorders that do not know them state 0 or the largest number."""
    at = 0
    while at + 12 <= size:
        file.seek(at)
        name, length = struct.unpack("<4sI", file.read(8))
        if name != b"RIFF" or length in (0, 0xFFFFFFFF):
            return
        at += 8 + length + (length & 1 if at + 8 + length < size else 0)
        yield at


_SEGMENT = 0x18538067
_PARENTS = frozenset({_SEGMENT, 0x1F43B675})  # the segment and its clusters, whose size live recordings leave open


def _elements(file: BinaryIO, size: int) -> Iterator[int]:
    """Ends of the elements of Matroska and WebM, down to blocks where a size is left open."""
    at = 0
    while at < size:
        file.seek(at)
        name, name_length = _number(file.read(4), keep_marker=True)
        file.seek(at + name_length)
        length, length_length = _number(file.read(8))
        if not name_length or not length_length:
            return
        begin = at + name_length + length_length
        open_ended = length == (1 << 7 * length_length) - 1
        if open_ended and name not in _PARENTS:
            return
        if not open_ended:
            yield begin + length
        at = begin if open_ended else begin + length


def _number(data: bytes, *, keep_marker: bool = False) -> tuple[int, int]:
    """A number whose leading zeros tell its length in bytes."""
    length = 9 - data[0].bit_length() if data and data[0] else 0
    if not length or length > len(data):
        return 0, 0
    number = int.from_bytes(data[:length], "big")
    return (number if keep_marker else number & ((1 << 7 * length) - 1)), length


def _packets(file: BinaryIO, size: int) -> str | None:
    cut = cut_off_unit(file, size)
    return cut[0] if cut is not None and cut[1] else None


def _tags(file: BinaryIO, size: int) -> str | None:
    """Flash video: each tag is followed by its size."""
    file.seek(size - 4)
    length = int.from_bytes(file.read(4), "big")
    begin = size - 4 - length
    if length == 0 and size <= 13:
        return None
    if 13 <= begin < size:
        file.seek(begin)
        if int.from_bytes(file.read(4)[1:], "big") + 11 == length:
            return None
    return "its last tag is cut off"


def _trailer(mark: bytes, name: str) -> Callable[[BinaryIO, int], str | None]:
    def check(file: BinaryIO, size: int) -> str | None:
        file.seek(max(0, size - 64))
        return None if mark in file.read() else f"its end mark ({name}) is missing"

    return check


_CONTAINERS: tuple[tuple[Callable[[bytes], bool], Callable[[BinaryIO, int], Iterator[int]]], ...] = (
    (lambda head: head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"skip", b"free", b"styp"), _boxes),
    (lambda head: head[:4] == b"RIFF" and head[8:12] == b"AVI ", _chunks),
    (lambda head: head[:4] == b"\x1a\x45\xdf\xa3", _elements),
)
_ENDS: tuple[tuple[Callable[[bytes], bool], Callable[[BinaryIO, int], str | None]], ...] = (
    (_is_transport_stream, _packets),
    (lambda head: head[:3] == b"FLV", _tags),
    (lambda head: head[:4] == b"GIF8", _trailer(b";", "trailer")),
    (lambda head: head[:4] == b"\x89PNG", _trailer(b"IEND", "IEND")),
)
