"""Single picture files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from ifseg_rt.errors import SourceError
from ifseg_rt.native_noise import native_noise_hidden
from ifseg_rt.sources.base import Frame

if TYPE_CHECKING:
    from numpy.typing import NDArray

PICTURE_SUFFIXES = frozenset(
    {".bmp", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"}
)


class PictureSource:
    """One picture file, read when asked for."""

    is_live = False
    is_still = True
    fps: float | None = None
    total: int | None = 1
    dropped = 0

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = str(path)

    def open(self) -> None:
        """A picture is read in one go by :meth:`frames`."""

    def frames(self) -> Iterator[Frame]:
        """See :meth:`ifseg_rt.sources.base.Source.frames`."""
        yield Frame(read_picture(self.path), 0)

    def close(self) -> None:
        """Nothing is held open."""


def read_picture(path: Path) -> NDArray[np.uint8]:
    """Read a picture as H x W x 3 uint8 BGR, turned upright as its EXIF data says; alpha is dropped.

    Raises:
        SourceError: the file cannot be read, or is no complete picture.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SourceError(f"cannot read {path}: {error.strerror}") from error
    if not content:
        raise SourceError(f"{path} is not a readable picture: the file is empty")
    try:
        with native_noise_hidden():
            # Through memory: any file name works, and OpenCV 5 refuses cut-off files that cv2.imread fills with grey.
            picture = cv2.imdecode(np.frombuffer(content, dtype=np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise SourceError(f"{path} is not a readable picture: {error.err}") from error
    if picture is None or picture.size == 0 or _is_cut_off_jpeg(content):
        raise SourceError(f"{path} is not a readable picture: its content is corrupt, cut off or of another kind")
    return picture  # type: ignore[return-value]


def _is_cut_off_jpeg(content: bytes) -> bool:
    # OpenCV 4 decodes a JPEG whose end is missing and fills the rest with grey. Inside the picture data 0xFF is always
    # followed by 0 or a restart mark, so the end mark can only be the end; a thumbnail's lies before the data starts.
    if not content.startswith(b"\xff\xd8"):
        return False
    position = 2
    while position + 4 <= len(content) and content[position] == 0xFF:
        mark = content[position + 1]
        if mark == 0xDA:  # start of scan
            return content.find(b"\xff\xd9", position) < 0
        position += 1 if mark == 0xFF else 2 + int.from_bytes(content[position + 2 : position + 4], "big")
    return False
