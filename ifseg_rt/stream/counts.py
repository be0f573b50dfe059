"""What is counted of every source."""

from __future__ import annotations

import statistics
from collections import Counter, deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ifseg_rt.sources.base import Event
    from ifseg_rt.stream.items import Labelled

_REMEMBERED = 1000  # latencies; a run may last for weeks


def frames_of(event: Event) -> int:
    """How many frames a ``corrupt`` event stands for: missing packets come as one event."""
    return int(event.details.get("frames", 1))


class Counts:
    """Frames and what became of them, of one source.

    Attributes:
        frames: labelled frames.
        damaged: those of them that the decoder had to guess in part.
        dropped: frames of a live source that were never labelled, by cause, as the last labelled frame told.
        skipped: damaged frames that were left out, or never came, where the source could tell.
        events: by kind: ``corrupt``, ``lost``, ``reconnected``, ...
    """

    def __init__(self) -> None:
        self.frames = 0
        self.damaged = 0
        self.skipped = 0
        self.dropped: dict[str, int] = {}
        self.events: Counter[str] = Counter()
        self._latencies: deque[float] = deque(maxlen=_REMEMBERED)

    def frame(self, labelled: Labelled) -> None:
        """Count a labelled frame."""
        self.frames += 1
        self.damaged += labelled.frame.damaged
        self.dropped = dict(labelled.dropped)
        self._latencies.append(labelled.latency_ms)

    def event(self, event: Event) -> None:
        """Count an event."""
        self.events[event.kind] += 1
        if event.kind == "corrupt":
            self.skipped += frames_of(event)

    @property
    def latency_ms(self) -> tuple[float, float] | None:
        """Median and 95th percentile from capture to labels over the last 1000 frames, in milliseconds."""
        if not self._latencies:
            return None
        ordered = sorted(self._latencies)
        return statistics.median(ordered), ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]
