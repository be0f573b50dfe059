"""What every output for one source offers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from ifseg_rt.errors import IfsegError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ifseg_rt.result import Result
    from ifseg_rt.sources.base import Frame


class SinkError(IfsegError):
    """An output that cannot be written: the disk is full, the place is read-only, the format cannot hold it."""


class Sink(Protocol):
    """Takes the frames of one source."""

    @property
    def draws(self) -> bool:
        """Whether it needs the overlay; where nobody does, none is drawn."""

    def write(self, frame: Frame, result: Result, drawn: NDArray[np.uint8] | None) -> dict[str, str]:
        """Store one frame.

        Args:
            frame: the frame itself.
            result: its labels and probabilities.
            drawn: the overlay with its legend, H x W x 3 uint8 BGR; ``None`` where :attr:`draws` is false.

        Returns:
            What holds this frame now, by role (``overlay``, ``labels``, ``masks``, ...), as paths. A frame that is
            named here is in that file, whatever happens afterwards.

        Raises:
            SinkError: it could not be stored; frames stored before are safe. A sink of a video takes no more frames
                afterwards; :meth:`close` still finishes what it has.
        """

    def close(self, *, complete: bool = True) -> None:
        """Finish the files; may be called twice.

        Args:
            complete: ``False`` where the source failed: what was written is kept under a name that says so when the
                place is taken by an earlier output.

        Raises:
            SinkError: the files could not be finished.
        """
