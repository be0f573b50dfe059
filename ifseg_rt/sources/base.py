"""What every source of frames offers, and what it hands out: frames and events."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ifseg_rt.errors import SourceError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class SourceLostError(SourceError):
    """A live source that was delivering, or could not be reached; trying again may help."""


@dataclass(frozen=True)
class Frame:
    """One picture of a source.

    Attributes:
        image: H x W x 3 uint8 BGR.
        index: its running number within its source, from 0. Frames that were dropped leave a gap.
        captured: when it was taken or read, in seconds of the monotonic clock; by default, now.
        taken: the same moment in seconds since 1970.
        time: presentation time, in seconds from the start of a recording; ``None`` where that has no meaning.
        duration: seconds until the next one is due, as the recording states it; ``None`` where it does not.
        damaged: whether the decoder had to guess parts of it.
        connection: which connection to its source delivered it, from 1; a camera that came back is the second.
    """

    image: NDArray[np.uint8]
    index: int
    captured: float = field(default_factory=time.monotonic)
    taken: float = field(default_factory=time.time)
    time: float | None = None
    duration: float | None = None
    damaged: bool = False
    connection: int = 1


@dataclass(frozen=True)
class Event:
    """Something that happened to a source beside its frames.

    Attributes:
        kind: one word: ``corrupt``, ``lost``, ``reconnected``, ``note``.
        text: one line for people.
        details: the same for programs, as JSON knows it.
        taken: when, in seconds since 1970.
    """

    kind: str
    text: str
    details: Mapping[str, Any] = field(default_factory=dict)
    taken: float = field(default_factory=time.time)


class Source(Protocol):
    """A picture, a video, a stream or a camera. Files deliver every frame; a live source what arrives."""

    @property
    def name(self) -> str:
        """What the user called it, without user names, passwords and keys."""

    @property
    def stem(self) -> str:
        """A file name without suffix for what is made from it; it holds no separators."""

    @property
    def path(self) -> Path | None:
        """The file it reads, which nothing may overwrite; ``None`` where it reads none."""

    @property
    def is_live(self) -> bool:
        """Whether frames arrive at a pace of their own, as from a camera, and without an end."""

    @property
    def is_still(self) -> bool:
        """Whether it is one single picture."""

    @property
    def fps(self) -> float | None:
        """Frames per second as stated by the source; ``None`` where that has no meaning or is unknown."""

    @property
    def total(self) -> int | None:
        """Number of frames, as far as known before reading; a guide for progress, never a proof."""

    def open(self) -> None:
        """Take hold of the file or the device, so that ``fps`` and ``total`` are known; may be called twice.

        After :meth:`close` it may be opened again: that is how a lost camera comes back.

        Raises:
            SourceLostError: a live source that is not there now.
            SourceError: it cannot be opened.
        """

    def items(self) -> Iterator[Frame | Event]:
        """Open it where that has not been done, and hand out frames, with events between them in their order.

        Raises:
            SourceLostError: a live source stopped delivering. A live source never just ends.
            SourceError: it cannot be opened, is not what it claims, or ends before its end; every frame that could be
                read has been handed out before.
        """

    def close(self) -> None:
        """Let go of files and devices; may be called twice, and from another thread: ``items`` then ends soon."""
