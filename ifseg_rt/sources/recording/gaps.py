"""Pictures whose packets never came, told by the times of the others."""

from __future__ import annotations

from array import array
from typing import NamedTuple

import numpy as np

_STEADY = 20  # of as many steps between pictures one may be another at a steady rate; of fewer, one as well
_AS_STATED = 3  # the same, where the usual step is the one that the recording states
_FEWEST = 8  # steps: fewer tell no rate


class Gap(NamedTuple):
    """Where a steady sequence of pictures is interrupted.

    Attributes:
        begin: presentation time of the last picture before, in the units of the stream.
        end: of the first after.
        missing: how many pictures would fit in between.
    """

    begin: int
    end: int
    missing: int


class Times:
    """The presentation times of all packets of a recording, eight bytes each."""

    def __init__(self) -> None:
        self._times: array[int] = array("q")

    def add(self, pts: int) -> None:
        """Take note of one, in any order."""
        self._times.append(pts)

    def gaps(self, stated: float | None = None) -> list[Gap]:
        """Find where pictures are missing; what is recorded at no steady rate has no gaps.

        Args:
            stated: the step between pictures that the recording itself states, in the units of its times. Where the
                pictures keep to it, more of the others are gaps.
        """
        if len(self._times) <= _FEWEST:
            return []
        times = np.sort(np.array(self._times, dtype=np.int64))
        steps = np.diff(times)
        usual = max(float(np.median(steps)), 1.0)
        steady = np.abs(steps - usual) <= 0.2 * usual + 1  # Matroska rounds times to milliseconds
        as_stated = stated is not None and abs(stated - usual) <= 0.05 * usual
        if np.count_nonzero(~steady) > max(1, len(steps) // (_AS_STATED if as_stated else _STEADY)):
            return []
        return [
            Gap(int(times[at]), int(times[at + 1]), max(1, round(float(steps[at] / usual)) - 1))
            for at in np.flatnonzero(steps > 1.5 * usual)
        ]
