"""Keeps a live source alive: a thread reads it, another watches, and after a loss it is opened again.

States: connecting -> delivering -> lost -> (pause) -> connecting ... A source that is silent longer than it may counts
as lost whatever it claims itself; its reading thread is asked to end, and only then the source is opened again.
"""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from ifseg_rt.errors import IfsegError, SourceError
from ifseg_rt.sources.base import Event, Frame, Source, SourceLostError
from ifseg_rt.sources.settings import SourceSettings
from ifseg_rt.stream.inbox import Inbox
from ifseg_rt.stream.items import Closed, Happened, Opened, Taken
from ifseg_rt.stream.policy import StreamPolicy, pause_before

_LEEWAY = 0.4  # seconds that a source has to report its own time-out, in better words than ours, before we do


class LiveReader:
    """Reads one live source into the inbox, the newest frame only.

    Args:
        source: opened again after every loss.
        inbox: takes what it gives.
        policy: how long and how often to try.
        settings: the time limits of its connections.
        on_drop: called with every frame that a newer one replaced.
    """

    def __init__(
        self,
        source: Source,
        inbox: Inbox,
        policy: StreamPolicy,
        settings: SourceSettings,
        on_drop: Callable[[], None],
    ) -> None:
        self.source = source
        self._inbox = inbox
        self._policy = policy
        self._settings = settings
        self._on_drop = on_drop
        self._stop = threading.Event()
        self._connection = 0
        self._next_index = 0
        self._opened = False
        self._last_frame: float | None = None  # monotonic
        self._lost: tuple[float, int] | None = None  # when, and attempts since
        self._thread = threading.Thread(target=self._run, name=f"ifseg-rt watch {source.stem}", daemon=True)

    def start(self) -> None:
        """Begin to connect."""
        self._thread.start()

    def stop(self) -> None:
        """Read no more, in whatever state it is; does not wait."""
        self._stop.set()
        self.source.close()

    def join(self, timeout: float) -> None:
        """Wait for the threads to end, at most so many seconds; one that hangs in a driver is left behind."""
        self._thread.join(timeout)

    def _run(self) -> None:
        error: IfsegError | None = None
        try:
            while not self._stop.is_set() and error is None:
                reading = _Reading(self)
                self._watch(reading)
                if not self._stop.is_set():
                    error = self._after(reading)
        except Exception as caught:
            error = SourceError(f"{self.source.name} failed: {type(caught).__name__}: {caught}")
        finally:
            self._inbox.put(Closed(self.source, error))
            self._inbox.finish()

    def _watch(self, reading: _Reading) -> None:
        """Wait until a connection ends; say so when it is silent for too long."""
        reading.start()
        while not reading.done.wait(0.05) and not self._stop.is_set():
            if reading.silent_for() > reading.patience() and not reading.condemned:
                reading.condemned = True
                silence = f"{self.source.name} gave no frame for {reading.silent_for():.1f} seconds"
                self._say_lost(SourceLostError(silence))
                self.source.close()
        if self._stop.is_set():
            self.source.close()

    def _after(self, reading: _Reading) -> IfsegError | None:
        """What follows the end of a connection: a pause before the next, or the error that ends it all."""
        error = reading.error or SourceLostError(f"{self.source.name} ended")
        if not isinstance(error, SourceLostError) or not (self._opened or self._policy.wait):
            return error
        if self._lost is None:
            self._say_lost(error)
        since, attempts = self._lost or (time.monotonic(), 0)
        if self._policy.max_retries is not None and attempts >= self._policy.max_retries:
            return self._given_up(error, f"after {attempts} attempts")
        pause = pause_before(attempts + 1)
        limit = self._policy.reconnect_timeout
        if limit is not None and time.monotonic() + pause - since > limit:
            return self._given_up(error, f"after {limit:g} seconds")
        self._lost = since, attempts + 1
        self._stop.wait(pause)
        return None

    def _given_up(self, error: IfsegError, when: str) -> IfsegError:
        return SourceError(f"{error}; gave up {when}", hint=error.hint)

    def _say_lost(self, error: IfsegError) -> None:
        self._lost = self._last_frame or time.monotonic(), 0
        kind = "lost" if self._opened else "waiting"
        details = {"reason": str(error), "frames": self._next_index, "connection": self._connection}
        self._happened(Event(kind, f"{error}; trying again", details))

    def _happened(self, event: Event) -> None:
        self._inbox.put(Happened(self.source, event))

    def _delivered(self, frame: Frame, read_ms: float) -> None:
        """A frame arrived: number it on, say that the source is back, and keep it as the newest."""
        if not self._opened:
            self._opened = True
            self._inbox.put(Opened(self.source))
        if self._lost is not None:
            since, attempts = self._lost
            gap = time.monotonic() - since
            details: dict[str, Any] = {"gap_s": round(gap, 3), "attempts": attempts, "connection": self._connection}
            name = "reconnected" if self._connection > 1 or self._last_frame is not None else "connected"
            self._happened(Event(name, f"{self.source.name} is back after {gap:.1f} seconds", details))
            self._lost = None
        self._last_frame = time.monotonic()
        if self._inbox.put_newest(Taken(self.source, frame, read_ms)):
            self._on_drop()


class _Reading:
    """One connection, read in a thread of its own."""

    def __init__(self, reader: LiveReader) -> None:
        self._reader = reader
        self.done = threading.Event()
        self.error: IfsegError | None = None
        self.condemned = False
        self._frames = 0
        self._heard = time.monotonic()

    def start(self) -> None:
        name = f"ifseg-rt read {self._reader.source.stem}"
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def silent_for(self) -> float:
        """Seconds since the last frame or event, or since the beginning."""
        return time.monotonic() - self._heard

    def patience(self) -> float:
        settings = self._reader._settings
        waiting_for_the_first = 0.0 if self._frames else settings.open_timeout
        return waiting_for_the_first + settings.read_timeout + _LEEWAY

    def _run(self) -> None:
        reader, source = self._reader, self._reader.source
        shift = 0
        items: Iterator[Frame | Event] | None = None
        try:
            source.open()
            items = source.items()
            while not reader._stop.is_set() and not self.condemned:
                began = time.perf_counter()
                item = next(items, None)
                if item is None or self.condemned:
                    return
                self._heard = time.monotonic()
                if not isinstance(item, Frame):
                    reader._happened(item)
                    continue
                if not self._frames:
                    reader._connection += 1
                    # A source that begins with 0 again after a loss: no two of its frames may bear the same number.
                    shift = max(0, reader._next_index - item.index)
                self._frames += 1
                numbered = replace(item, index=item.index + shift, connection=reader._connection)
                reader._next_index = numbered.index + 1
                reader._delivered(numbered, (time.perf_counter() - began) * 1e3)
        except IfsegError as caught:
            self.error = caught
        except Exception as caught:  # whatever a driver raises must reach the thread that watches
            self.error = SourceLostError(f"{source.name} failed: {type(caught).__name__}: {caught}")
        finally:
            source.close()
            items = None
            # A decoder's threads live until it is collected: without this, losses in a row left up to 12 behind.
            gc.collect()
            self.done.set()
