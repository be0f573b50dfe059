"""A source that does what a test tells it to: deliver, fail, hang; as cameras and servers do."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from ifseg_rt.errors import SourceError
from ifseg_rt.result import Result
from ifseg_rt.sources.base import Event, Frame, SourceLostError

Step = str | float | Event | Exception


class Scripted:
    """Follows one script for every connection, the last one again and again.

    A script is a sequence of: ``"frame"``; a number of seconds to wait; ``"hang"`` until it is closed; an event; an
    exception. At its end a live source is lost.
    """

    fps: float | None = None
    total: int | None = None
    path: Path | None = None

    def __init__(
        self, *scripts: Sequence[Step], live: bool = True, still: bool = False, name: str = "scripted"
    ) -> None:
        self.name = self.stem = name
        self.is_live, self.is_still = live, still
        self.connections = 0
        self.closes = 0
        self._scripts = scripts
        self._closed = threading.Event()
        self._is_open = False

    def open(self) -> None:
        if not self._is_open:
            self._is_open = True
            self._closed.clear()
            self.connections += 1

    def items(self) -> Iterator[Frame | Event]:
        self.open()
        index = 0
        for step in self._scripts[min(self.connections, len(self._scripts)) - 1]:
            if self._closed.is_set():
                break
            if isinstance(step, Exception):
                raise step
            if isinstance(step, Event):
                yield step
            elif step == "frame":
                yield Frame(np.full((8, 8, 3), index, np.uint8), index)
                index += 1
            elif step == "hang":
                self._closed.wait()
            else:
                time.sleep(float(step))
        if self.is_live:
            raise SourceLostError(f"{self.name} ended")

    def close(self) -> None:
        self.closes += 1
        self._is_open = False
        self._closed.set()


def segmenting(seconds: float = 0.0) -> Callable[[np.ndarray], Result]:
    """What labels a frame in so many seconds, all of it as the first category."""

    def segment(image: np.ndarray) -> Result:
        time.sleep(seconds)
        labels = np.zeros(image.shape[:2], np.uint8)
        probabilities = np.ones((1, 1, 1), np.float32)
        return Result(labels, probabilities, ("sky",), ((0, 0, 255),), timings={"total": seconds * 1e3})

    return segment


GONE = SourceError("the file is cut off")


def our_threads() -> list[str]:
    """Names of the stream's threads that still run a moment after it was closed."""
    deadline = time.monotonic() + 1
    while True:
        names = [thread.name for thread in threading.enumerate() if thread.name.startswith("ifseg-rt")]
        if not names or time.monotonic() > deadline:
            return names
        time.sleep(0.01)
