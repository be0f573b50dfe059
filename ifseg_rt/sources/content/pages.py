"""How many pictures a picture file holds, told by its directory and blocks; nothing is decoded."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

_MOST_PAGES = 65_536  # a directory that leads back to itself must come to an end
_MOST_TAGS = 4096
_REDUCED = 1  # bit of the tag NewSubfileType: a smaller copy of another page, such as a thumbnail


def is_animated_png(path: Path) -> bool:
    """Whether a PNG has an animation chunk, which comes before its first picture data."""
    with path.open("rb") as file:
        file.seek(8)
        while len(header := file.read(8)) == 8:
            size, name = struct.unpack(">I4s", header)
            if name in (b"acTL", b"IDAT", b"IEND"):
                return bool(name == b"acTL")
            file.seek(size + 4, 1)
    return False


def is_animated_gif(path: Path) -> bool:
    """Whether a GIF holds more than one picture."""
    with path.open("rb") as file:
        header = file.read(13)
        if len(header) < 13:
            return False
        _skip_colors(file, header[10])
        pictures = 0
        while pictures < 2:
            mark = file.read(1)
            if mark == b",":
                pictures += 1
                descriptor = file.read(9)
                if len(descriptor) < 9:
                    return False
                _skip_colors(file, descriptor[8])
                file.read(1)
            elif mark == b"!":
                file.read(1)
            else:
                return False
            while (size := file.read(1)) not in (b"", b"\0"):
                file.seek(size[0], 1)
    return True


def _skip_colors(file: BinaryIO, flags: int) -> None:
    if flags & 0x80:
        file.seek(3 << ((flags & 7) + 1), 1)


def tiff_pages(path: Path) -> int:
    """Count the pages of a TIFF, smaller copies of others left out; at least 1."""
    with path.open("rb") as file:
        return max(1, sum(not tags.get(254, 0) & _REDUCED for tags in tiff_directories(file)))


def tiff_directories(file: BinaryIO) -> list[dict[int, int]]:
    """Read the directories of a TIFF: for each, its tags of one whole number each."""
    head = file.read(16)
    order = "<" if head[:2] == b"II" else ">"
    big = len(head) == 16 and struct.unpack(order + "H", head[2:4])[0] == 43
    if len(head) < 8:
        return []
    at = struct.unpack(order + ("Q" if big else "I"), head[8:16] if big else head[4:8])[0]
    count_form, entry_size, next_form = ("Q", 20, "Q") if big else ("H", 12, "I")
    found: list[dict[int, int]] = []
    seen: set[int] = set()
    while at and at not in seen and len(found) < _MOST_PAGES:
        seen.add(at)
        file.seek(at)
        count = _unpack(file, order + count_form)
        if count is None or count > _MOST_TAGS:
            break
        entries = file.read(entry_size * count)
        found.append(
            dict(filter(None, (_tag(entries[i : i + entry_size], order) for i in _steps(entries, entry_size))))
        )
        at = _unpack(file, order + next_form) or 0
    return found


def _steps(entries: bytes, size: int) -> range:
    return range(0, len(entries) - size + 1, size)


def _tag(entry: bytes, order: str) -> tuple[int, int] | None:
    tag, form = struct.unpack(order + "HH", entry[:4])
    value = entry[12:] if len(entry) == 20 else entry[8:]
    letter = {1: "B", 3: "H", 4: "I", 16: "Q"}.get(form)
    if letter is None or struct.calcsize(letter) > len(value):
        return None
    return tag, struct.unpack(order + letter, value[: struct.calcsize(letter)])[0]


def _unpack(file: BinaryIO, form: str) -> int | None:
    data = file.read(struct.calcsize(form))
    return struct.unpack(form, data)[0] if len(data) == struct.calcsize(form) else None
