"""The width and height that a picture file declares, read without decoding it."""

from __future__ import annotations

import io
import re
import struct

from ifseg_rt.sources.content.pages import tiff_directories


def declared_size(content: bytes) -> tuple[int, int] | None:
    """Read what a picture says about its size; the largest, where it holds several.

    Args:
        content: the whole file, or as much as there is of it.

    Returns:
        Width and height; ``None`` where the format is unknown or the header damaged: decoders refuse those.
    """
    try:
        return _size(content)
    except (struct.error, ValueError, IndexError):
        return None


def _size(content: bytes) -> tuple[int, int] | None:
    if content.startswith(b"\x89PNG"):
        return _pair(content, ">II", 16)
    if content.startswith(b"\xff\xd8"):
        return _jpeg(content)
    if content.startswith(b"GIF8"):
        return _pair(content, "<HH", 6)
    if content.startswith(b"BM"):
        small = content[14] == 12  # the header of OS/2
        width, height = _pair(content, "<HH" if small else "<ii", 18)
        return abs(width), abs(height)
    if content.startswith(b"RIFF"):
        return _webp(content)
    if content[:2] in (b"II", b"MM"):
        sizes = [(tags[256], tags[257]) for tags in tiff_directories(io.BytesIO(content)) if {256, 257} <= set(tags)]
        return max(sizes, key=lambda size: size[0] * size[1], default=None)
    if content.startswith(b"\xff\x4f\xff\x51"):
        return _codestream(content, 0)
    if content[4:8] == b"jP  ":
        return _codestream(content, content.index(b"\xff\x4f\xff\x51"))
    if content[4:8] == b"ftyp":
        found = [_pair(content, ">II", match.end() + 4) for match in re.finditer(b"ispe", content[:65536])]
        return max(found, key=lambda size: size[0] * size[1], default=None)
    return _text(content[:4096])


def _pair(content: bytes, form: str, at: int) -> tuple[int, int]:
    first, second = struct.unpack_from(form, content, at)
    return first, second


def _jpeg(content: bytes) -> tuple[int, int] | None:
    at = 2
    while at + 4 <= len(content) and content[at] == 0xFF:
        mark = content[at + 1]
        if mark == 0xFF:
            at += 1
        elif 0xC0 <= mark <= 0xCF and mark not in (0xC4, 0xC8, 0xCC):  # start of frame
            height, width = _pair(content, ">HH", at + 5)
            return width, height
        else:
            at += 2 + int.from_bytes(content[at + 2 : at + 4], "big")
    return None


def _webp(content: bytes) -> tuple[int, int] | None:
    chunk = content[12:16]
    if chunk == b"VP8X":
        return 1 + int.from_bytes(content[24:27], "little"), 1 + int.from_bytes(content[27:30], "little")
    if chunk == b"VP8L":
        bits = int.from_bytes(content[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if chunk == b"VP8 ":
        width, height = _pair(content, "<HH", 26)
        return width & 0x3FFF, height & 0x3FFF
    return None


def _codestream(content: bytes, at: int) -> tuple[int, int]:
    right, bottom, left, top = struct.unpack_from(">IIII", content, at + 8)
    return right - left, bottom - top


def _text(head: bytes) -> tuple[int, int] | None:
    """PNM, PFM (numbers in words, with comments between them) and Radiance."""
    if head[:2] == b"P7":
        named = dict(re.findall(rb"^(WIDTH|HEIGHT)\s+(\d+)", head, re.M))
        return int(named[b"WIDTH"]), int(named[b"HEIGHT"])
    if head[:1] == b"P":
        numbers = re.sub(rb"#[^\n]*\n", b" ", head[2:]).split()
        return int(numbers[0]), int(numbers[1])
    sizes = re.search(rb"^[-+]Y (\d+) [-+]X (\d+)", head, re.M)
    return (int(sizes[2]), int(sizes[1])) if sizes else None
