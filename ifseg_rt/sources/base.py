"""What every source of frames offers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Frame:
    """One picture of a source.

    Attributes:
        image: H x W x 3 uint8 BGR.
        index: its running number within its source, from 0.
        captured: when it was taken or read, in seconds of the monotonic clock; by default, now.
        time: when it is shown, in seconds from the start of a recording; ``None`` where that has no meaning.
    """

    image: NDArray[np.uint8]
    index: int
    captured: float = field(default_factory=monotonic)
    time: float | None = None


class Source(Protocol):
    """A picture, a video or a camera. Files deliver every frame; a live source only the freshest."""

    @property
    def name(self) -> str:
        """What the user called it."""

    @property
    def is_live(self) -> bool:
        """Whether frames arrive at a pace of their own, as from a camera, and without an end."""

    @property
    def is_still(self) -> bool:
        """Whether it is one single picture."""

    @property
    def fps(self) -> float | None:
        """Frames per second as the file states it; ``None`` where that has no meaning or is unknown."""

    @property
    def total(self) -> int | None:
        """Number of frames, as far as known before reading."""

    @property
    def dropped(self) -> int:
        """Frames that arrived but were never handed out, so far. Always 0 where it is not live."""

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
