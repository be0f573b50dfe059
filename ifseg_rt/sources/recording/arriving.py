"""Whether the end of a video is there that comes through a pipe: the same as for files, seen as it goes by."""

from __future__ import annotations

from typing import Protocol

_TS_PACKETS = (188, 192)  # bytes of a packet of a transport stream; Blu-ray discs add four
_HEADER = 12  # bytes of an element's name and size in Matroska, at most
_PARENTS = frozenset({0x18538067, 0x1F43B675})  # the segment and its clusters: their parts are looked at


class Watch(Protocol):
    """Looks at what goes by."""

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes."""

    def missing(self) -> str | None:
        """Say, at the end, what shows that more should have come; part of a sentence, or ``None``."""


class TransportStream:
    """Packets of one size each."""

    def __init__(self) -> None:
        self._count = 0

    def feed(self, chunk: bytes) -> None:
        """See :class:`Watch`."""
        self._count += len(chunk)

    def missing(self) -> str | None:
        """See :class:`Watch`."""
        return "its last packet is cut off" if all(self._count % size for size in _TS_PACKETS) else None


class Matroska:
    """Elements that state their size, down to blocks; segments and clusters of live recordings leave theirs open."""

    def __init__(self) -> None:
        self._seen = 0
        self._at = 0  # where the next header begins
        self._header = bytearray()
        self._promised = 0
        self._lost = False  # not what it seemed: nothing is claimed any more

    def feed(self, chunk: bytes) -> None:
        """See :class:`Watch`."""
        begin, self._seen = self._seen, self._seen + len(chunk)
        while not self._lost and self._at < self._seen:
            position = self._at + len(self._header) - begin
            self._header += chunk[position : position + _HEADER - len(self._header)]
            if len(self._header) < _HEADER:
                return
            self._element(bytes(self._header))
            self._header.clear()

    def missing(self) -> str | None:
        """See :class:`Watch`."""
        if self._lost or self._promised <= self._seen:
            return None
        return f"a part of it should end at byte {self._promised}, and {self._seen} came"

    def _element(self, header: bytes) -> None:
        name_length, length_length = _length(header[0]), 0
        if 0 < name_length <= 4:
            length_length = _length(header[name_length])
        if not length_length:
            self._lost = True
            return
        name = int.from_bytes(header[:name_length], "big")
        every = (1 << 7 * length_length) - 1
        size = int.from_bytes(header[name_length : name_length + length_length], "big") & every
        content = self._at + name_length + length_length
        if size != every:
            self._promised = max(self._promised, content + size)
        elif name not in _PARENTS:
            self._lost = True
            return
        self._at = content if name in _PARENTS else content + size


def _length(first: int) -> int:
    """How many bytes a number has whose first byte this is; 0 where it is none."""
    return 9 - first.bit_length() if first else 0


def watch_for(kind: str) -> Watch | None:
    """What looks at videos of a kind of container, as :mod:`~ifseg_rt.sources.content.kinds` names it."""
    watches: dict[str, type[TransportStream] | type[Matroska]] = {"MPEG-TS": TransportStream, "Matroska": Matroska}
    return watches[kind]() if kind in watches else None
