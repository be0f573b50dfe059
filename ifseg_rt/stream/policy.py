"""What a stream does when frames come too fast, too late or not at all."""

from __future__ import annotations

import random
from dataclasses import dataclass

from ifseg_rt.errors import UsageError

_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 10.0  # seconds
_JITTER = 0.25  # share of a pause: many robots must not knock at a restarted server at the same moment


@dataclass(frozen=True)
class StreamPolicy:
    """How live sources are treated. Files know none of this: their frames are never dropped and keep their order.

    Attributes:
        max_staleness: seconds after its capture when a frame is no longer worth labelling; ``None`` for any age.
        max_retries: attempts to reconnect after one loss; ``None`` goes on for ever.
        reconnect_timeout: seconds after one loss when the source counts as failed; ``None`` goes on for ever.
        wait: whether the first connection may fail too, and is tried again in the same way.
        max_frames: frames of each video or live source after which it ends; ``None`` for all.

    Raises:
        UsageError: a number is negative, or not a number.
    """

    max_staleness: float | None = None
    max_retries: int | None = None
    reconnect_timeout: float | None = None
    wait: bool = False
    max_frames: int | None = None

    def __post_init__(self) -> None:
        for name in ("max_staleness", "max_retries", "reconnect_timeout"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise UsageError(f"{name} must be 0 or more, found {value!r}")
        if self.max_frames is not None and not self.max_frames >= 1:
            raise UsageError(f"max_frames must be at least 1, found {self.max_frames!r}")


def pause_before(attempt: int) -> float:
    """Seconds to wait before the given attempt (from 1) to reconnect: 0.5 doubling to 10, a quarter more or less."""
    pause = min(_FIRST_PAUSE * 2.0 ** min(attempt - 1, 10), _LONGEST_PAUSE)
    return pause * random.uniform(1.0 - _JITTER, 1.0 + _JITTER)
