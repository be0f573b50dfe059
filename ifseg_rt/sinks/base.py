"""What every output for one source offers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ifseg_rt.result import Result
    from ifseg_rt.sources.base import Frame


class Sink(Protocol):
    """Takes the frames of one source."""

    def write(self, frame: Frame, result: Result, drawn: NDArray[np.uint8]) -> dict[str, str]:
        """Store one frame; ``drawn`` is the overlay with its legend, H x W x 3 uint8 BGR.

        Returns:
            What was written, by role (``overlay``, ``labels``), as paths.

        Raises:
            IfsegError: the file system refuses.
        """

    def close(self) -> None:
        """Finish the files; may be called twice."""
