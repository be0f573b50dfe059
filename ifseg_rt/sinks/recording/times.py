"""When the frames of one source are shown, in ticks that strictly increase."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ifseg_rt.sources.base import Frame

RATE_WHEN_UNKNOWN = 25.0
# MP4 keeps the time between two frames in 32 bits: 13 hours at 90 kHz. A longer gap, and a step back of more than a
# second, is a clock that was set anew.
_LONGEST_GAP = 12 * 3600.0
_RESET = 1.0


class FrameTimes:
    """Takes the times that the frames bring, and mends those that are missing or do not increase.

    Args:
        live: take the times at which frames were captured, counted from the first.
        rate: frames per second stated by the source, where no frame has a time; ``None`` where it states none.
        ticks: ticks per second.

    Attributes:
        mended: how many frames had no usable time of their own.
        step: ticks from one frame to the next as last seen; what the last frame lasts.
    """

    def __init__(self, *, live: bool, rate: float | None, ticks: int) -> None:
        self._live = live
        self._ticks = ticks
        known = rate is not None and math.isfinite(rate) and 0.01 <= rate <= 1000
        self.rate = float(rate) if known and rate is not None else RATE_WHEN_UNKNOWN
        self._rate_known = known
        self._origin: float | None = None
        self._offset = 0.0
        self._last: int | None = None
        self._shortest, self._longest = math.inf, 0.0
        self.mended = 0
        self.step = max(1, round(ticks / self.rate))

    def __call__(self, frame: Frame) -> int:
        """The time of the next frame, in ticks from the start of the source."""
        time = self._own(frame)
        if time is None:
            self.mended += 1
            tick = 0 if self._last is None else self._last + self.step
        elif self._last is None:
            self._offset = max(0.0, -time)  # no container starts before zero
            tick = round((time + self._offset) * self._ticks)
        else:
            tick = self._after(self._last, time)
        if self._last is not None:
            self.step = tick - self._last
            self._shortest = min(self._shortest, self.step)
            self._longest = max(self._longest, self.step)
        elif frame_duration(frame) is not None:
            self.step = max(1, round((frame_duration(frame) or 0.0) * self._ticks))
        self._last = tick
        return tick

    @property
    def uneven(self) -> bool:
        """Whether frames came at distances that differ by more than a tenth."""
        return self._longest > 1.1 * self._shortest

    def _own(self, frame: Frame) -> float | None:
        if self._live:
            if self._origin is None:
                self._origin = frame.captured
            return frame.captured - self._origin
        if frame.time is not None and math.isfinite(frame.time) and abs(frame.time) < 1e9:
            return frame.time
        return frame.index / self.rate if frame.time is None and self._rate_known else None

    def _after(self, last: int, time: float) -> int:
        tick = round((time + self._offset) * self._ticks)
        gap = (tick - last) / self._ticks
        if gap > _LONGEST_GAP or gap < -_RESET:
            self.mended += 1
            tick = last + self.step
            self._offset = tick / self._ticks - time
        elif tick <= last:
            self.mended += 1
            tick = last + max(1, self.step // 2)
        return tick


def frame_duration(frame: Frame) -> float | None:
    """How long the source shows a frame, in seconds, where it says so."""
    duration = getattr(frame, "duration", None)
    return duration if isinstance(duration, float) and math.isfinite(duration) and 0 < duration < 86400 else None
