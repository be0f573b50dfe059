"""Reads files one after the other, ahead of the labelling: nothing is dropped, the order is kept."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from contextlib import closing

from ifseg_rt.errors import IfsegError, SourceError
from ifseg_rt.sources.base import Frame, Source
from ifseg_rt.stream.inbox import Inbox
from ifseg_rt.stream.items import Closed, Happened, Opened, Taken


class FileReader:
    """One thread that reads pictures and videos in their order into the inbox, which holds it up while it is full."""

    def __init__(self, sources: Sequence[Source], inbox: Inbox, max_frames: int | None) -> None:
        self._sources = sources
        self._inbox = inbox
        self._max_frames = max_frames
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ifseg-rt files", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self) -> None:
        """Read no more; does not wait."""
        self._stop.set()

    def join(self, timeout: float) -> None:
        """Wait for the thread to end, at most so many seconds."""
        self._thread.join(timeout)

    def _run(self) -> None:
        try:
            for source in self._sources:
                if self._stop.is_set():
                    return
                error: IfsegError | None = None
                try:
                    self._read(source)
                except IfsegError as caught:
                    error = caught
                except Exception as caught:  # whatever a decoder raises: it must not end the run, nor this thread
                    error = SourceError(f"{source.name} cannot be read: {type(caught).__name__}: {caught}")
                self._inbox.put(Closed(source, error))
        finally:
            self._inbox.finish()

    def _read(self, source: Source) -> None:
        left = None if source.is_still else self._max_frames
        with closing(source):
            source.open()
            self._inbox.put(Opened(source))
            items = source.items()
            while not self._stop.is_set() and left != 0:
                began = time.perf_counter()
                item = next(items, None)
                if item is None:
                    return
                if isinstance(item, Frame):
                    left = None if left is None else left - 1
                    self._inbox.put(Taken(source, item, (time.perf_counter() - began) * 1e3))
                else:
                    self._inbox.put(Happened(source, item))
