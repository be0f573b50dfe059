"""What a run tells whoever wants to know: frames, events, notes and errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ifseg_rt.sources.base import Event, Source
    from ifseg_rt.stream.counts import Counts
    from ifseg_rt.stream.items import Labelled


class Observer:
    """Told how a run goes, in the thread of the run. Does nothing: override what is of interest."""

    def source_opened(self, source: Source, total: int | None) -> None:
        """A source begins, of which about ``total`` frames are expected, as far as that is known."""

    def frame_done(self, labelled: Labelled, timings: Mapping[str, float]) -> None:
        """A frame is labelled, drawn and written; ``timings`` in milliseconds by stage, with their ``total``."""

    def event(self, source: Source, event: Event) -> None:
        """A source was lost or came back, a frame was damaged, or the source has something to say."""

    def source_closed(self, source: Source, counts: Counts) -> None:
        """A source is done, or failed; also told when the run is interrupted."""

    def note(self, text: str) -> None:
        """Something worth knowing."""

    def error(self, text: str, hint: str | None = None) -> None:
        """A source or an output failed; the run goes on."""
