"""Picture outputs: the overlay, and the label map as a PNG whose pixel values are category indices."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import cv2

from ifseg_rt.errors import IfsegError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ifseg_rt.result import Result
    from ifseg_rt.sources.base import Frame

_JPEG = (".jpg", ".jpeg")
_JPEG_QUALITY = 92


class PictureSink:
    """Writes one picture's overlay and label map.

    Args:
        overlay: path of the overlay; its suffix chooses the format.
        labels: path of the label map, a PNG: 8 bits for up to 255 categories, else 16.
    """

    def __init__(self, overlay: Path, labels: Path) -> None:
        self._overlay = overlay
        self._labels = labels

    def write(self, frame: Frame, result: Result, drawn: NDArray[np.uint8]) -> dict[str, str]:
        """See :meth:`ifseg_rt.sinks.base.Sink.write`."""
        write_picture(self._overlay, drawn)
        write_picture(self._labels, result.labels)
        return {"overlay": str(self._overlay), "labels": str(self._labels)}

    def close(self) -> None:
        """Every picture is complete once written."""


def write_picture(path: Path, picture: NDArray[np.uint8] | NDArray[np.uint16]) -> None:
    """Encode and write a picture in one atomic step.

    Raises:
        IfsegError: the format is unknown or the file system refuses.
    """
    # Other encoders warn about a setting that is not theirs.
    settings = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY] if path.suffix.lower() in _JPEG else []
    try:
        encoded, content = cv2.imencode(path.suffix, picture, settings)
    except cv2.error as error:
        raise IfsegError(f"cannot write {path}: OpenCV has no writer for {path.suffix} files") from error
    if not encoded:
        raise IfsegError(f"cannot write {path}: encoding failed")
    partial = path.with_name(f".{path.name}.part")
    try:
        partial.write_bytes(content.tobytes())
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise IfsegError(f"cannot write {path}: {error.strerror}") from error
