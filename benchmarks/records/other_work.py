"""How much of the processor others took while something was timed: a time measured beside other work is not clean."""

from __future__ import annotations

import os
import time
from pathlib import Path
from types import TracebackType

# Above it a time is marked in every table: with a quarter of a core gone, two-core times are off by tens of per cent.
CLEAN_BELOW = 0.25
_STAT = Path("/proc/stat")
_IDLE_FIELDS = (3, 4)  # idle, waiting for the disk


class OtherWork:
    """Watches the length of a ``with`` block.

    Attributes:
        cores: how many cores other processes kept busy on average; ``None`` where the system does not tell (not Linux).
    """

    cores: float | None = None

    def __enter__(self) -> OtherWork:
        self._before = self._now()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        after = self._now()
        if self._before is None or after is None:
            return
        seconds, busy, own = (end - begin for begin, end in zip(self._before, after, strict=True))
        self.cores = round(max(0.0, busy - own) / max(seconds, 1e-3), 2)

    @staticmethod
    def _now() -> tuple[float, float, float] | None:
        """Wall clock, processor seconds of everybody, processor seconds of this process."""
        try:
            fields = [int(text) for text in _STAT.read_text(encoding="ascii").splitlines()[0].split()[1:9]]
            ticks = os.sysconf("SC_CLK_TCK")
        except (OSError, ValueError, IndexError, AttributeError):
            return None
        busy = sum(value for number, value in enumerate(fields) if number not in _IDLE_FIELDS)
        return time.perf_counter(), busy / ticks, time.process_time()
