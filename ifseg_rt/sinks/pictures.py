"""Picture outputs: the overlay, and the label map as a PNG whose pixel values are category indices."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import cv2

from ifseg_rt.sinks.base import SinkError
from ifseg_rt.sinks.palette import encode_labels
from ifseg_rt.sinks.placing.files import Place, in_words, write_whole

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ifseg_rt.result import Result
    from ifseg_rt.sources.base import Frame

_JPEG = (".jpg", ".jpeg")
_JPEG_QUALITY = 92
_LONGEST_SIDE = {".jpg": 65500, ".jpeg": 65500, ".webp": 16383}  # pixels, by the formats themselves


class OverlaySink:
    """Writes the overlay of one picture.

    Args:
        place: where it goes; the suffix chooses the format.
    """

    draws = True
    left_at: Mapping[str, str] = {}

    def __init__(self, place: Place) -> None:
        self._place = place

    def write(self, frame: Frame, result: Result, drawn: NDArray[np.uint8] | None) -> dict[str, str]:
        """See :meth:`ifseg_rt.sinks.base.Sink.write`."""
        if drawn is not None:
            write_picture(self._place, drawn)
        return {"overlay": str(self._place.path)} if drawn is not None else {}

    def close(self, *, complete: bool = True) -> None:
        """Every picture is complete once written."""


class LabelsSink:
    """Writes label maps as PNG: 8 bits and a palette for up to 255 categories, else 16 bits of grey.

    Args:
        place: gives the place of a frame by its index; asked once for every frame. A missing last folder is made.
    """

    draws = False
    left_at: Mapping[str, str] = {}

    def __init__(self, place: Callable[[int], Place]) -> None:
        self._place = place

    def write(self, frame: Frame, result: Result, drawn: NDArray[np.uint8] | None) -> dict[str, str]:
        """See :meth:`ifseg_rt.sinks.base.Sink.write`."""
        place = self._place(frame.index)
        try:
            place.path.parent.mkdir(exist_ok=True)
            write_whole(place, encode_labels(result.labels, result.categories, result.colors))
        except OSError as error:
            raise SinkError(f"cannot write {place.path}: {in_words(error)}") from error
        except ValueError as error:
            raise SinkError(f"cannot write {place.path}: {error}") from error
        return {"labels": str(place.path)}

    def close(self, *, complete: bool = True) -> None:
        """Every picture is complete once written."""


def write_picture(place: Place | Path, picture: NDArray[np.uint8] | NDArray[np.uint16]) -> None:
    """Encode and write a picture in one atomic step.

    Args:
        place: where it goes; a bare path replaces what is there.
        picture: H x W (x 3, BGR), uint8 or uint16.

    Raises:
        SinkError: the format is unknown or too small for it, or the file system refuses.
    """
    place = place if isinstance(place, Place) else Place(place, replaces=True)
    path, suffix = place.path, place.path.suffix.lower()
    longest = _LONGEST_SIDE.get(suffix)
    height, width = picture.shape[:2]
    if longest is not None and max(height, width) > longest:
        raise SinkError(
            f"cannot write {path}: {suffix} holds at most {longest} x {longest} pixels, found {width} x {height}",
            hint="name a .png or .tiff file",
        )
    # Other encoders warn about a setting that is not theirs.
    settings = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY] if suffix in _JPEG else []
    try:
        encoded, content = cv2.imencode(path.suffix, picture, settings)
    except cv2.error as error:
        raise SinkError(f"cannot write {path}: OpenCV has no writer for such {suffix} files") from error
    if not encoded:
        raise SinkError(f"cannot write {path}: encoding {width} x {height} pixels failed")
    try:
        write_whole(place, content.tobytes())
    except OSError as error:
        raise SinkError(f"cannot write {path}: {in_words(error)}") from error
