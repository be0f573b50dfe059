"""Label maps as PNG: coloured in every viewer, the category index in every pixel."""

from __future__ import annotations

import json
import stat
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from ifseg_rt.errors import SourceError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY, _PALETTE = 0, 3  # colour types
_KEYWORD = b"ifseg-rt\0"  # of the text chunk with the category names


def encode_labels(
    labels: NDArray[np.uint8] | NDArray[np.uint16],
    categories: Sequence[str],
    colors: Sequence[tuple[int, int, int]],
) -> bytes:
    """A PNG whose pixel values are the labels: 8 bits with a palette, or 16 bits of grey, which have none.

    Args:
        labels: H x W uint8 or uint16.
        categories: their names, kept in a text chunk.
        colors: RGB (0..255) of every category.

    Raises:
        ValueError: the picture is empty, or larger than PNG or OpenCV allow.
    """
    try:
        encoded, content = cv2.imencode(".png", labels)
    except cv2.error as error:
        raise ValueError(error.err) from error
    if not encoded:
        raise ValueError("encoding failed")
    # OpenCV writes no palettes. Rows of 8-bit samples are stored alike with one and without: only the header changes.
    head, *body = _chunks(content.tobytes())
    kind, header = head
    extra = []
    if labels.dtype == np.uint8:
        table = np.zeros((max(len(colors), int(labels.max(initial=0)) + 1), 3), np.uint8)
        table[: len(colors)] = np.asarray(colors, np.uint8).reshape(-1, 3)
        header = header[:9] + bytes([_PALETTE]) + header[10:]
        extra.append(_chunk(b"PLTE", table[:256].tobytes()))
    rest = b"".join(_chunk(*chunk) for chunk in body)
    # The checksum tells our own untouched file from one that somebody corrected by hand.
    about = json.dumps({"categories": list(categories), "crc32": zlib.crc32(rest)})
    extra.append(_chunk(b"tEXt", _KEYWORD + about.encode("ascii")))
    return _SIGNATURE + _chunk(kind, header) + b"".join(extra) + rest


def read_labels(path: str | Path) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Read a label map written by this package: H x W uint8 or uint16, category indices.

    Pillow gives the same with ``np.asarray(Image.open(path))``; ``cv2.imread`` gives the colours instead.

    Raises:
        SourceError: the file cannot be read or is no label map.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise SourceError(f"cannot read {path}: {error.strerror}") from error
    try:
        (kind, header), *body = _chunks(content)
        bits, color = header[8], header[9]
        if kind != b"IHDR" or (color, bits) not in ((_GREY, 8), (_GREY, 16), (_PALETTE, 8)):
            raise SourceError(
                f"{path} is no label map: expected a PNG of 8 bits with a palette, or 8 or 16 bits of grey"
            )
        grey = header[:9] + bytes([_GREY]) + header[10:]
        kept = (chunk for chunk in body if chunk[0] in (b"IDAT", b"IEND"))
        plain = _SIGNATURE + _chunk(kind, grey) + b"".join(_chunk(*chunk) for chunk in kept)
        labels = cv2.imdecode(np.frombuffer(plain, np.uint8), cv2.IMREAD_UNCHANGED)
    except (ValueError, IndexError, struct.error, cv2.error) as error:
        raise SourceError(f"{path} is no label map: its content is corrupt, cut off or of another kind") from error
    if labels is None:
        raise SourceError(f"{path} is no label map: its content is corrupt, cut off or of another kind")
    return labels  # type: ignore[return-value]


def is_our_own(path: Path) -> bool:
    """Whether a file is a label map written by :func:`encode_labels` and not altered since; links are not."""
    try:
        found = path.lstat()
        if not stat.S_ISREG(found.st_mode):
            return False
        check = 0
        about: bytes | None = None
        for kind, data in _chunks(path.read_bytes()):
            if about is not None:
                check = zlib.crc32(_chunk(kind, data), check)
            elif kind == b"tEXt" and data.startswith(_KEYWORD):
                about = data[len(_KEYWORD) :]
        return about is not None and json.loads(about)["crc32"] == check
    except (OSError, ValueError, KeyError, TypeError, struct.error):
        return False


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    if not content.startswith(_SIGNATURE):
        raise ValueError("not a PNG")
    position = len(_SIGNATURE)
    while position < len(content):
        length, kind = struct.unpack_from(">I4s", content, position)
        data = content[position + 8 : position + 8 + length]
        if len(data) < length:
            raise ValueError("cut off")
        yield kind, data
        position += 12 + length
