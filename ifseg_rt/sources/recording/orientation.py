"""Sets pictures of turned or mirrored recordings upright, by the display matrix that comes with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

if TYPE_CHECKING:
    from av.video.frame import VideoFrame
    from numpy.typing import NDArray

# PyAV 18.1 crashes when it frees the side data of PNG frames that hold a colour profile.
_CRASHING = frozenset({"apng", "png"})


class Orientation:
    """How the frames of one stream lie; asked of the first frame, and again when the angle changes.

    Not of every frame: in PyAV a frame whose side data was looked at is freed late, by the garbage collector alone.

    Args:
        codec: name of the stream's codec.
    """

    def __init__(self, codec: str) -> None:
        self._has_matrix = codec not in _CRASHING
        self._angle: int | None = None
        self._matrix: NDArray[np.int32] | None = None

    def upright(self, image: NDArray[np.uint8], frame: VideoFrame) -> NDArray[np.uint8]:
        """Return the picture of a frame, H x W x 3, as it is meant to be seen."""
        angle = round(frame.rotation)
        if angle != self._angle:
            self._angle = angle
            self._matrix = _matrix_of(frame) if self._has_matrix else None
        return turned(image, self._matrix)


def turned(image: NDArray[np.uint8], matrix: NDArray[np.int32] | None) -> NDArray[np.uint8]:
    """Turn and mirror a picture as its display matrix says, to the nearest right angle.

    Args:
        image: H x W x 3.
        matrix: 3 x 3 in FFmpeg's form: where a pixel at (x, y) goes to is ``(x, y, 1) @ matrix``. ``None``: upright.

    Returns:
        H x W x 3 or W x H x 3, contiguous.
    """
    if matrix is None:
        return image
    swapped = abs(int(matrix[0, 0])) < abs(int(matrix[0, 1]))
    if swapped:
        image = cv2.transpose(image)  # type: ignore[assignment]
    across, down = (matrix[1, 0], matrix[0, 1]) if swapped else (matrix[0, 0], matrix[1, 1])
    if across < 0 and down < 0:
        image = cv2.flip(image, -1)  # type: ignore[assignment]
    elif across < 0 or down < 0:
        image = cv2.flip(image, 1 if across < 0 else 0)  # type: ignore[assignment]
    return image


def _matrix_of(frame: VideoFrame) -> NDArray[np.int32] | None:
    try:
        data: Any = frame.side_data.get("DISPLAYMATRIX")
    except ValueError:  # side data of a kind that PyAV does not know yet hides the rest
        return _rotation(frame.rotation)
    return None if data is None else np.frombuffer(bytes(data), dtype=np.int32).reshape(3, 3)


def _rotation(angle: float) -> NDArray[np.int32]:
    """The display matrix for an angle in degrees, anticlockwise."""
    cosine, sine = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    matrix = np.rint(65536 * np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 16384]]))
    return matrix.astype(np.int32)  # type: ignore[no-any-return]
