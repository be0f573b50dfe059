"""When a frame's GPU work is recorded as a CUDA graph, replayed, or launched piece by piece."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable
from typing import Literal, Protocol

from ifseg_rt.errors import IfsegError
from ifseg_rt.gpu.cuda_errors import explain

_LOG = logging.getLogger(__name__)

Step = Literal["launch", "record", "replay"]


class GraphPolicy:
    """Decides for every frame; kinds of work (a key each) are recorded one by one.

    The first frame of a kind is launched piece by piece: run times finish their preparations then, which a recording
    does not allow, and pictures of many sizes, each seen once, are not worth a recording. The second one is recorded.

    Attributes:
        refusal: why nothing can be recorded, or ``None``.
    """

    def __init__(self) -> None:
        self._seen: set[Hashable] = set()
        self._recorded: set[Hashable] = set()
        self.refusal: str | None = None

    def step(self, key: Hashable) -> Step:
        """What to do with a frame of this kind."""
        if self.refusal is not None or key not in self._seen:
            return "launch"
        return "replay" if key in self._recorded else "record"

    def launched(self, key: Hashable) -> None:
        """A frame of this kind was launched without an error."""
        self._seen.add(key)

    def recorded(self, key: Hashable) -> None:
        """A recording of this kind exists from now on."""
        self._recorded.add(key)

    def forget(self) -> None:
        """Recordings and preparations are void: the memory they work on is about to go."""
        self._seen.clear()
        self._recorded.clear()

    def refuse(self, reason: str) -> None:
        """Record nothing any more, and say why."""
        if self.refusal is None:
            _LOG.warning("frames are launched piece by piece, without a CUDA graph: %s", reason)
        self.refusal = reason
        self.forget()


class Recording(Protocol):
    """A recorded piece of work."""

    def launch(self) -> None:
        """Enqueue it."""

    def close(self) -> None:
        """Free it."""


class Recorder:
    """Runs work piece by piece or as a CUDA graph, as :class:`GraphPolicy` decides.

    Args:
        record: records what a function enqueues, without running it.
        why_not: asked once, before the first recording: why the work cannot be recorded, or ``None``.
        wanted: ``False`` never records, and says nothing about it.
    """

    def __init__(
        self, record: Callable[[Callable[[], None]], Recording], why_not: Callable[[], str | None], *, wanted: bool
    ) -> None:
        self._record = record
        self._why_not = why_not
        self._wanted = wanted
        self._asked = False
        self._policy = GraphPolicy()
        self._recordings: dict[Hashable, Recording] = {}

    @property
    def refusal(self) -> str | None:
        """Why nothing is recorded although it is wanted, or ``None``."""
        return self._policy.refusal

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
        step = self._policy.step(key) if self._wanted else "launch"
        if step == "record":
            step = self._try_to_record(key, pieces)
        if step == "replay":
            self._recordings[key].launch()
            return
        pieces()
        self._policy.launched(key)

    def forget(self) -> None:
        """Drop all recordings, because the memory they work on is about to go. Their stream must be done with them."""
        self._policy.forget()
        recordings, self._recordings = self._recordings, {}
        for recording in recordings.values():
            recording.close()

    def _try_to_record(self, key: Hashable, pieces: Callable[[], None]) -> Step:
        if not self._asked:
            self._asked = True
            try:
                reason = self._why_not()
            except Exception as error:  # the frame itself can still be launched
                reason = str(error if isinstance(error, IfsegError) else explain("preparing a recording", error))
            if reason is not None:
                self._policy.refuse(reason)
                return "launch"
        try:
            self._recordings[key] = self._record(pieces)
        except Exception as error:  # run times and drivers refuse with whatever class they have
            self._policy.refuse(str(error if isinstance(error, IfsegError) else explain("recording a frame", error)))
            return "launch"
        self._policy.recorded(key)
        return "replay"
