"""Sources in, labelled frames out: readers, the labelling thread, and bounded queues between them."""

from __future__ import annotations

import atexit
import queue
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING

from ifseg_rt.errors import IfsegError, SourceError
from ifseg_rt.sources.settings import SourceSettings
from ifseg_rt.stream.counts import frames_of
from ifseg_rt.stream.files import FileReader
from ifseg_rt.stream.inbox import Inbox
from ifseg_rt.stream.items import Closed, FromReader, FromStream, Happened, Labelled, Taken
from ifseg_rt.stream.live import LiveReader
from ifseg_rt.stream.policy import StreamPolicy

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ifseg_rt.result import Result
    from ifseg_rt.sources.base import Source

_JOIN = 1.5  # seconds that threads get to end; together with the frame being labelled, stopping stays below two
# At the end of the process no thread may be inside a native library; see ifseg_rt.leaving.
_running: weakref.WeakSet[LabelStream] = weakref.WeakSet()
_WAITING = 1  # labelled frames that may wait to be written: more would only be older


class LabelStream:
    """Reads, labels and hands out frames, each in a thread of its own.

    Live sources run side by side, each giving its newest frame in turn; files come before them, one after the other,
    every frame in its order. Use it as a context manager: leaving it stops everything within two seconds, in every
    state, also while connecting.

    Args:
        segment: labels one H x W x 3 uint8 BGR frame.
        sources: what to read.
        policy: what happens when frames come too fast, too late or not at all.
        settings: the time limits that the sources were made with.

    Example:
        >>> with LabelStream(segmenter, find_sources(["rtsp://camera/1"]).found) as stream:
        ...     for item in stream:
        ...         if isinstance(item, Labelled):
        ...             steer(item.result.mask("path"), item.latency_ms)
    """

    def __init__(
        self,
        segment: Callable[[NDArray[np.uint8]], Result],
        sources: Sequence[Source],
        policy: StreamPolicy | None = None,
        settings: SourceSettings | None = None,
    ) -> None:
        self._segment = segment
        self._policy = policy or StreamPolicy()
        settings = settings or SourceSettings()
        files = [source for source in sources if not source.is_live]
        live = [source for source in sources if source.is_live]
        self._inbox = Inbox(readers=len(live) + bool(files))
        self._outbox: queue.Queue[FromStream | BaseException | None] = queue.Queue(maxsize=_WAITING)
        self._dropped: dict[int, dict[str, int]] = {
            id(source): {"slow": 0, "stale": 0, "corrupt": 0} for source in live
        }
        self._labelled: dict[int, int] = {}
        self._draining = threading.Event()
        self._closed = threading.Event()
        self._readers: dict[int, LiveReader] = {
            id(source): LiveReader(source, self._inbox, self._policy, settings, self._counter(source))
            for source in live
        }
        self._files = FileReader(files, self._inbox, self._policy.max_frames) if files else None
        self._worker = threading.Thread(target=self._work, name="ifseg-rt labels", daemon=True)

    def __enter__(self) -> LabelStream:
        _running.add(self)
        self._worker.start()
        for reader in self._all_readers():
            reader.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[FromStream]:
        """Everything in its order, until all sources are done.

        Raises:
            DeviceError: the device failed, which ends the whole stream.
        """
        while True:
            item = self._outbox.get()
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            yield item

    def drain(self) -> None:
        """Read no more: the frame being labelled is still handed out, then the iteration ends. Does not wait."""
        self._draining.set()
        for reader in self._all_readers():
            reader.stop()
        self._inbox.close()

    def close(self) -> None:
        """Stop everything and wait for it, but not for a thread that hangs in a driver. May be called again."""
        self.drain()
        self._closed.set()
        deadline = time.monotonic() + _JOIN
        while self._worker.is_alive() and time.monotonic() < deadline:
            self._discard()  # the worker may be waiting for room
            self._worker.join(0.02)
        self._discard()
        self._outbox.put_nowait(None)  # for whoever iterates in another thread
        for reader in self._all_readers():
            reader.join(max(0.0, deadline - time.monotonic()))

    def _all_readers(self) -> list[LiveReader | FileReader]:
        return [*([self._files] if self._files is not None else []), *self._readers.values()]

    def _counter(self, source: Source) -> Callable[[], None]:
        def count() -> None:
            self._dropped[id(source)]["slow"] += 1

        return count

    def _discard(self) -> None:
        with suppress(queue.Empty):
            self._outbox.get_nowait()

    def _work(self) -> None:
        last: BaseException | None = None
        try:
            while (item := self._inbox.take()) is not None:
                passed = self._handle(item)
                if passed is not None:
                    self._outbox.put(passed)
                if self._closed.is_set():
                    break
        except BaseException as caught:
            last = caught
        if not self._closed.is_set():
            self._outbox.put(last)

    def _handle(self, item: FromReader) -> FromStream | None:
        if isinstance(item, Happened):
            dropped = self._dropped.get(id(item.source))
            if dropped is not None and item.event.kind == "corrupt":
                dropped["corrupt"] += frames_of(item.event)
        return self._label(item) if isinstance(item, Taken) else item

    def _label(self, taken: Taken) -> Labelled | Closed | None:
        source = taken.source
        dropped = self._dropped.get(id(source))
        if dropped is not None:
            if self._finished(source):
                return None  # enough frames: what still arrives until the reader ends is not counted
            waiting, taken = taken, self._inbox.fresher(taken)
            dropped["slow"] += taken is not waiting
        frame = taken.frame
        if dropped is not None:
            oldest = self._policy.max_staleness
            if oldest is not None and time.monotonic() - frame.captured > oldest:
                dropped["stale"] += 1
                return None
        before = dict(dropped or {})  # what is dropped during the labelling has higher numbers
        result = self._segment(frame.image)
        self._labelled[id(source)] = self._labelled.get(id(source), 0) + 1
        if dropped is not None and self._finished(source):
            self._readers[id(source)].stop()
        latency_ms = (time.monotonic() - frame.captured) * 1e3
        return Labelled(source, frame, result, latency_ms, taken.read_ms, before)

    def _finished(self, source: Source) -> bool:
        limit = self._policy.max_frames
        return limit is not None and self._labelled.get(id(source), 0) >= limit


@atexit.register
def _close_running() -> None:
    for stream in list(_running):
        stream.close()


def raise_failed(failed: Sequence[tuple[str, IfsegError]], total: int) -> None:
    """Raise what a run over ``total`` sources ends with, when some of them failed.

    Raises:
        IfsegError: the error itself where there was one source, else how many failed and their names.
    """
    if not failed:
        return
    if total == 1:
        raise failed[0][1]
    names = ", ".join(name for name, _ in failed[:3]) + (", ..." if len(failed) > 3 else "")
    raise SourceError(f"{len(failed)} of {total} sources failed: {names}")
