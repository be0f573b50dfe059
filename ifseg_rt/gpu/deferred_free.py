"""Gives memory back, but never while a frame is being recorded."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress


class DeferredFree:
    """What waits to be freed.

    Memory is dropped by any thread at any time, also by the garbage collector in the middle of a recording: page-locked
    memory freed then spoils the recording, and memory of the GPU freed on its stream would become a part of it. One
    object serves the whole process, because a recording forbids its thread to free anything, whosever it is.
    """

    def __init__(self) -> None:
        self._waiting: deque[Callable[[], None]] = deque()
        self._lock = threading.RLock()
        self._recording = False

    def free(self, release: Callable[[], None]) -> None:
        """Call ``release`` now, or as soon as nothing is recorded any more. Its errors are swallowed."""
        self._waiting.append(release)
        self.sweep()

    def sweep(self) -> None:
        """Free what waits, if that is allowed now; never blocks."""
        # Waiting for the lock could last for ever: a finaliser may interrupt the very thread that holds it.
        if not self._lock.acquire(blocking=False):
            return
        try:
            while not self._recording:
                try:
                    release = self._waiting.popleft()
                except IndexError:
                    return
                with suppress(Exception):
                    release()
        finally:
            self._lock.release()

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Free nothing during the block; one block at a time."""
        with self._lock:
            self._recording = True
            try:
                yield
            finally:
                self._recording = False
        self.sweep()
