"""What a run tells whoever wants to know: frames, drops, notes and errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ifseg_rt.result import Result
    from ifseg_rt.sources.base import Frame, Source


class Observer:
    """Told how a run goes, in the thread of the run. Does nothing: override what is of interest."""

    def source_opened(self, source: Source, total: int | None) -> None:
        """A source begins, of which ``total`` frames are expected, as far as that is known."""

    def frame_done(self, source: Source, frame: Frame, result: Result, timings: Mapping[str, float]) -> None:
        """A frame is labelled, drawn and written; ``timings`` in milliseconds by stage, with their ``total``."""

    def frames_dropped(self, source: Source, count: int) -> None:
        """``count`` more frames of a live source arrived and were never labelled."""

    def source_closed(self, source: Source) -> None:
        """A source is done, or failed; also told when the run is interrupted."""

    def note(self, text: str) -> None:
        """Something worth knowing."""

    def error(self, text: str, hint: str | None = None) -> None:
        """A source failed; the run goes on with the next."""
