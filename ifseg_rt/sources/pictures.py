"""Single pictures in files: by what they hold, upright, in 8 bits."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from ifseg_rt.errors import SourceError
from ifseg_rt.native_noise import native_noise_hidden
from ifseg_rt.sources.base import Event, Frame
from ifseg_rt.sources.content.depths import eight_bits
from ifseg_rt.sources.content.headers import declared_size
from ifseg_rt.sources.content.kinds import PICTURE_SUFFIXES
from ifseg_rt.sources.content.names import file_stem, read_file, readable_name
from ifseg_rt.sources.content.soundness import is_damaged, prepare
from ifseg_rt.sources.recording.streams import check_size
from ifseg_rt.sources.settings import SourceSettings

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["PICTURE_SUFFIXES", "PictureSource", "read_picture"]


class PictureSource:
    """One picture of a picture file, read when asked for.

    Args:
        path: the file.
        settings: its limit of pixels is respected.
        page: which of several pages, from 1; ``None`` for a file of one.
    """

    is_live = False
    is_still = True
    fps: float | None = None
    total: int | None = 1

    def __init__(self, path: Path, settings: SourceSettings | None = None, *, page: int | None = None) -> None:
        self.path = path
        self.name = readable_name(path) if page is None else f"{readable_name(path)} page {page}"
        self.stem = file_stem(path) if page is None else f"{file_stem(path)}_page{page}"
        self._settings = settings or SourceSettings()
        self._page = page

    def open(self) -> None:
        """A picture is read in one go by :meth:`items`; what checks it may take a while to load."""
        prepare(self.path)

    def items(self) -> Iterator[Frame | Event]:
        """See :meth:`ifseg_rt.sources.base.Source.items`."""
        content = read_file(self.path, self.name)
        picture, note = _decoded(content, self.name, self._settings.max_pixels, (self._page or 1) - 1)
        if note is not None:
            yield Event("note", f"{self.name}: {note}", {"note": note})
        damaged = is_damaged(content)
        if damaged and self._settings.corrupt == "skip":
            raise SourceError(f"{self.name} is damaged inside", hint="to label it all the same: --corrupt keep")
        yield Frame(picture, 0, damaged=damaged)

    def close(self) -> None:
        """Nothing is held open."""


def read_picture(path: Path, settings: SourceSettings | None = None) -> NDArray[np.uint8]:
    """Read a picture, the first of a file of pages, turned upright as its EXIF data says; alpha is dropped.

    Returns:
        H x W x 3 uint8 BGR.

    Raises:
        SourceError: the file cannot be read, is no complete picture, or is too large.
    """
    name = readable_name(path)
    return _decoded(read_file(path, name), name, (settings or SourceSettings()).max_pixels, 0)[0]


def _decoded(content: bytes, name: str, max_pixels: int, page: int) -> tuple[NDArray[np.uint8], str | None]:
    if not content:
        raise SourceError(f"{name} is not a readable picture: the file is empty")
    size = declared_size(content)
    if size is not None:
        check_size(*size, name, max_pixels)
    data = np.frombuffer(content, dtype=np.uint8)
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH
    try:
        with native_noise_hidden():
            # Through memory: any file name works, and OpenCV 5 refuses cut-off files that cv2.imread fills with grey.
            picture = _page_of(data, flags, page)
            if picture is None and content[:2] in (b"II", b"MM"):
                # TIFFs of grey fractions or large numbers are not read as colours.
                picture = _page_of(data, cv2.IMREAD_UNCHANGED, page)
    except cv2.error as error:
        raise SourceError(f"{name} is not a readable picture: {error.err}") from error
    if picture is None or picture.size == 0 or _is_cut_off(content):
        raise SourceError(f"{name} is not a readable picture: its content is corrupt, cut off or of another kind")
    scaled, note = eight_bits(_turned(picture, content), name)
    if scaled.ndim == 2:
        scaled = cv2.cvtColor(scaled, cv2.COLOR_GRAY2BGR)  # type: ignore[assignment]
    return np.ascontiguousarray(scaled[:, :, :3]), note


def _page_of(data: NDArray[np.uint8], flags: int, page: int) -> NDArray[np.generic] | None:
    if page == 0:
        return cv2.imdecode(data, flags)
    _, pages = cv2.imdecodemulti(data, flags, range=(page, page + 1))
    return pages[0] if pages else None


def _turned(picture: NDArray[np.generic], content: bytes) -> NDArray[np.generic]:
    """Turn an AVIF upright; OpenCV does so by the EXIF data of all other formats, but leaves AVIF's own notes alone."""
    if content[4:8] != b"ftyp":
        return picture
    quarters, mirror = (
        re.search(box + rb"(.)", content[:65536], re.S) for box in (b"\0\0\0\x09irot", b"\0\0\0\x09imir")
    )
    if quarters:
        picture = np.rot90(picture, quarters[1][0] & 3)
    if mirror:
        picture = np.flip(picture, mirror[1][0] & 1)
    return np.ascontiguousarray(picture)


def _is_cut_off(content: bytes) -> bool:
    if content.startswith(b"\xff\xd8"):
        return _is_cut_off_jpeg(content)
    return content.startswith(b"RIFF") and len(content) < 8 + int.from_bytes(content[4:8], "little")


def _is_cut_off_jpeg(content: bytes) -> bool:
    # OpenCV 4 decodes a JPEG whose end is missing and fills the rest with grey. Inside the picture data 0xFF is always
    # followed by 0 or a restart mark, so the end mark can only be the end; a thumbnail's lies before the data starts.
    position = 2
    while position + 4 <= len(content) and content[position] == 0xFF:
        mark = content[position + 1]
        if mark == 0xDA:  # start of scan
            return content.find(b"\xff\xd9", position) < 0
        position += 1 if mark == 0xFF else 2 + int.from_bytes(content[position + 2 : position + 4], "big")
    return False
