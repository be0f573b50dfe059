"""When a frame's GPU work is recorded as a CUDA graph, replayed, or launched piece by piece."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING

from ifseg_rt.errors import IfsegError
from ifseg_rt.gpu.cuda_errors import explain

if TYPE_CHECKING:
    from ifseg_rt.gpu.device import RecordedGraph

_LOG = logging.getLogger(__name__)


class FrameRecorder:
    """Runs work piece by piece or as a CUDA graph; kinds of work (a key each) are recorded one by one.

    The first frame of a kind is launched piece by piece: run times finish their preparations then, which a recording
    does not allow, and pictures of many sizes, each seen once, are not worth a recording. The second one is recorded.
    Once anything cannot be recorded, everything is launched piece by piece.

    Args:
        record: records what a function enqueues, without running it.
        why_not: asked once, before the first recording: why the work cannot be recorded, or ``None``.
        wanted: ``False`` never records, and says nothing about it.

    Attributes:
        refusal: why nothing is recorded although it is wanted, or ``None``.
    """

    def __init__(
        self, record: Callable[[Callable[[], None]], RecordedGraph], why_not: Callable[[], str | None], *, wanted: bool
    ) -> None:
        self._record = record
        self._why_not = why_not
        self._wanted = wanted
        self._asked = False
        self._seen: set[Hashable] = set()
        self._recordings: dict[Hashable, RecordedGraph] = {}
        self.refusal: str | None = None

    @property
    def kept(self) -> int:
        """How many recordings there are."""
        return len(self._recordings)

    def run(self, key: Hashable, pieces: Callable[[], None]) -> None:
        """Enqueue ``pieces``; calls with the same ``key`` must do the same on the same memory.

        Raises:
            Exception: what ``pieces`` raises when launched. What a recording raises is logged, and nothing is recorded
                any more.
        """
        if self._wanted and key in self._seen and self._is_recorded(key, pieces):
            self._recordings[key].launch()
            return
        pieces()
        self._seen.add(key)

    def forget(self) -> None:
        """Drop all recordings, because the memory they work on is about to go. Their stream must be done with them."""
        self._seen.clear()
        recordings, self._recordings = self._recordings, {}
        for recording in recordings.values():
            recording.close()

    def _is_recorded(self, key: Hashable, pieces: Callable[[], None]) -> bool:
        """Record ``pieces`` unless they are recorded already or cannot be."""
        if self.refusal is None and key not in self._recordings:
            try:
                self.refusal = self._refusal_of_the_work()
                if self.refusal is None:
                    self._recordings[key] = self._record(pieces)
            except Exception as error:  # run times and drivers refuse with whatever class they have
                self.refusal = _told("recording a frame", error)
            if self.refusal is not None:
                _LOG.warning("frames are launched piece by piece, without a CUDA graph: %s", self.refusal)
        return self.refusal is None

    def _refusal_of_the_work(self) -> str | None:
        if self._asked:
            return None
        self._asked = True
        try:
            return self._why_not()
        except Exception as error:  # the frame itself can still be launched
            return _told("preparing a recording", error)


def _told(doing: str, error: Exception) -> str:
    return str(error if isinstance(error, IfsegError) else explain(doing, error))
