"""The end of the process: nobody may be inside a native library then.

While Python shuts down, a daemon thread that comes back from a library is ended on the spot; in C++ that unwinds
through code that allows no such thing, and the whole process aborts (exit code 134) whatever it had to say.
"""

from __future__ import annotations

import atexit
import threading
from types import TracebackType

_PATIENCE = 5.0  # seconds for the calls that still run; a GPU that hangs must not keep the process for ever


class _NativeWork:
    """Counts the calls that are inside native code. A context manager, for any number of threads."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._running = 0
        self._leaving = False

    def __enter__(self) -> None:
        with self._changed:
            while self._leaving:  # this thread's work is over; it waits for the end of the process
                self._changed.wait()
            self._running += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._running -= 1
            self._changed.notify_all()

    def end(self) -> None:
        """Let no further call begin, and wait for those that run."""
        with self._changed:
            self._leaving = True
            self._changed.wait_for(lambda: self._running == 0, _PATIENCE)


native_work = _NativeWork()
atexit.register(native_work.end)
