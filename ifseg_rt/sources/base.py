"""What every source of frames offers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SourceKind = Literal["picture", "video", "camera"]


@dataclass(frozen=True)
class Frame:
    """One picture: H x W x 3 uint8 BGR, and its running number within its source, from 0."""

    image: NDArray[np.uint8]
    index: int


class Source(Protocol):
    """A picture, a video or a camera. Files deliver every frame; a camera only the freshest."""

    @property
    def name(self) -> str:
        """What the user called it."""

    @property
    def kind(self) -> SourceKind:
        """What it is."""

    @property
    def fps(self) -> float | None:
        """Frames per second as the file states it; ``None`` where that has no meaning or is unknown."""

    @property
    def total(self) -> int | None:
        """Number of frames, as far as known before reading."""

    @property
    def dropped(self) -> int:
        """Frames that arrived but were never handed out, so far. Always 0 for files."""

    def open(self) -> None:
        """Take hold of the file or the device, so that ``fps`` and ``total`` are known; may be called twice.

        Raises:
            SourceError: it cannot be opened.
        """

    def frames(self) -> Iterator[Frame]:
        """Open it where that has not been done, and hand out the frames.

        Raises:
            SourceError: it cannot be opened, is not what it claims, or ends before its end.
        """

    def close(self) -> None:
        """Let go of files and devices; may be called twice."""
