"""What every output for one source offers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from ifseg_rt.errors import IfsegError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ifseg_rt.result import Result
    from ifseg_rt.sources.base import Frame


class SinkError(IfsegError):
    """An output that cannot be written: the disk is full, the place is read-only, the format cannot hold it.

    Args:
        message: see :class:`ifseg_rt.errors.IfsegError`.
        hint: the same.
        written: what of the same frame was stored nevertheless, as :meth:`Sink.write` would have given it.
    """

    def __init__(self, message: str, *, hint: str | None = None, written: Mapping[str, str] | None = None) -> None:
        super().__init__(message, hint=hint)
        self.written: dict[str, str] = dict(written or {})


class Sink(Protocol):
    """Takes the frames of one source."""

    @property
    def draws(self) -> bool:
        """Whether it needs the overlay; where nobody does, none is drawn."""

    @property
    def left_at(self) -> Mapping[str, str]:
        """After :meth:`close`: files that are not where :meth:`write` said, and where they are instead.

        A video that was not finished is one, where an earlier output of its name was not to be replaced by it.
        """

    def write(self, frame: Frame, result: Result, drawn: NDArray[np.uint8] | None) -> dict[str, str]:
        """Store one frame.

        Args:
            frame: the frame itself.
            result: its labels and probabilities.
            drawn: the overlay with its legend, H x W x 3 uint8 BGR; ``None`` where :attr:`draws` is false.

        Returns:
            What holds this frame now, by role (``overlay``, ``labels``, ``masks``, ...), as paths. A frame that is
            named here is in that file, whatever happens afterwards: while a video is written, and after a crash, under
            its partial name (``NAME.partial.mp4`` for ``NAME.mp4``).

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
