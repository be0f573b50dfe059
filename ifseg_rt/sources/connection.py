"""What live sources share: opening again after a loss, running numbers, an end that another thread may ask for."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from ifseg_rt.errors import SourceError
from ifseg_rt.sources.base import Event, Frame, SourceLostError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

T = TypeVar("T")
Items: TypeAlias = "Generator[Frame | Event, None, None]"


class Connection:
    """One connection to a source: an iterator over what arrives, and how to let go of it.

    Args:
        items: frames and events, read by one thread at a time.
        release: called once, in the thread that reads, or where nobody does.
        stop: set when the connection is to end.
    """

    def __init__(self, items: Items, release: Callable[[], None], stop: threading.Event) -> None:
        self.stop = stop
        self._items = items
        self._release = release
        self._released = False
        self._reading = threading.Lock()

    def next(self) -> Frame | Event | None:
        """Wait for the next item; ``None`` at the end and after :meth:`close`."""
        with self._reading:
            ended = self._released or self.stop.is_set()
            try:
                item = None if ended else next(self._items, None)
            except SourceError:
                if not self.stop.is_set():
                    raise
                item = None  # whatever was wrong when it was to end anyway
        if self.stop.is_set():
            self.close()
            return None
        return item

    def close(self) -> None:
        """Let go at once, or leave that to the thread that is reading: to pull a stream from under it may crash."""
        self.stop.set()
        if not self._reading.acquire(blocking=False):
            return
        try:
            if not self._released:
                self._released = True
                self._items.close()
                self._release()
        finally:
            self._reading.release()


class ConnectedSource(ABC):
    """A source that is connected to, and can be connected to again.

    Running numbers go on over connections, so that no two frames of one source bear the same.

    Args:
        name: what people call it, without credentials.
        stem: a file name without suffix for what is made from it.
    """

    path: Path | None = None
    is_live = True
    is_still = False
    total: int | None = None

    def __init__(self, name: str, stem: str) -> None:
        self.name = name
        self.stem = stem
        self.fps: float | None = None
        self._number = 0  # of the connection; the first is 1
        self._next_index = 0
        self._current: Connection | None = None
        self._stop = threading.Event()
        self._guard = threading.Lock()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"

    def open(self) -> None:
        """See :meth:`ifseg_rt.sources.base.Source.open`."""
        with self._guard:
            if self._current is not None:
                return
            stop = self._stop = threading.Event()
        items, release = self._connect(stop)
        connection = Connection(items, release, stop)
        with self._guard:
            if not stop.is_set():
                self._number += 1
                self._current = connection
                return
        connection.close()
        raise self._lost("was closed while it was being opened")

    def items(self) -> Iterator[Frame | Event]:
        """See :meth:`ifseg_rt.sources.base.Source.items`."""
        self.open()
        with self._guard:
            connection = self._current
        while connection is not None:
            item = connection.next()
            if item is not None:
                # A frame that was lost has had its number too.
                number = item.index if isinstance(item, Frame) else item.details.get("frame", -1)
                self._next_index = max(self._next_index, number + 1)
                yield item
            elif connection.stop.is_set() or not self.is_live:
                return
            else:
                raise self._lost("ended")

    def close(self) -> None:
        """See :meth:`ifseg_rt.sources.base.Source.close`."""
        with self._guard:
            connection, self._current = self._current, None
            self._stop.set()
        if connection is not None:
            connection.close()

    @abstractmethod
    def _connect(self, stop: threading.Event) -> tuple[Items, Callable[[], None]]:
        """Connect; gives what arrives, and the way to let go. Soon ends once ``stop`` is set.

        Raises:
            SourceLostError: it is not there now.
            SourceError: it never will be.
        """

    def _frame(self, image: NDArray[np.uint8], captured: float, taken: float) -> Frame:
        """The next frame of the present connection."""
        index = self._next_index
        self._next_index += 1
        return Frame(image, index, captured=captured, taken=taken, connection=self._number)

    def _lost(self, what: str, hint: str | None = None) -> SourceLostError:
        return SourceLostError(f"{self.name} {what}", hint=hint)


def in_time(call: Callable[[], T], stop: threading.Event, too_late: Callable[[T], None]) -> T | None:
    """Run a call that cannot be interrupted, but wait for it only until ``stop`` is set.

    Args:
        call: what may block for long, such as connecting to a network.
        stop: ends the waiting.
        too_late: what to do with a result that nobody waits for any more; runs in the call's own thread.

    Returns:
        What the call returned, or ``None`` after ``stop``.
    """
    answers: list[tuple[T | None, BaseException | None]] = []
    done = threading.Event()
    claim = threading.Lock()

    def run() -> None:
        result: T | None = None
        error: BaseException | None = None
        try:
            result = call()
        except BaseException as caught:  # raised again in the thread that waits
            error = caught
        with claim:
            answers.append((result, error))
            abandoned = done.is_set()
            done.set()
        if abandoned and result is not None:
            too_late(result)

    thread = threading.Thread(target=run, name="connecting", daemon=True)
    thread.start()
    while not done.wait(0.02):
        if stop.is_set():
            with claim:
                if not done.is_set():
                    done.set()
                    return None
    thread.join()
    result, error = answers[0]
    if error is not None:
        raise error
    return result


def now() -> tuple[float, float]:
    """The moment on both clocks: monotonic, and seconds since 1970."""
    return time.monotonic(), time.time()
