"""Where readers leave what they read: bounded for files, the newest frame only for live sources."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING

from ifseg_rt.stream.items import Taken

if TYPE_CHECKING:
    from ifseg_rt.stream.items import FromReader


_LONGEST_STEP = 0.2  # seconds between frames; of slower sources, the frame at hand is taken
_LATE = 0.004  # seconds that a frame may come later than expected


class Inbox:
    """Takes items of any number of readers, for one that labels them.

    Args:
        readers: how many readers will call :meth:`finish`.
        capacity: frames of files that may wait before their reader has to.
    """

    def __init__(self, readers: int, capacity: int = 2) -> None:
        self._items: deque[FromReader] = deque()
        self._changed = threading.Condition()
        self._readers = readers
        self._capacity = capacity
        self._closed = False
        self._arrivals: dict[int, tuple[float, float | None]] = {}  # when the last frame was captured, and the step

    def put(self, item: FromReader) -> bool:
        """Add an item in its order; a frame waits for room. ``False`` once nobody takes items any more."""
        with self._changed:
            if isinstance(item, Taken):
                self._changed.wait_for(lambda: self._closed or self._waiting() < self._capacity)
            if not self._closed:
                self._items.append(item)
                self._changed.notify_all()
            return not self._closed

    def put_newest(self, item: Taken) -> bool:
        """Add a frame in place of one of the same source that still waits. Returns whether one was dropped."""
        with self._changed:
            if self._closed:
                return False
            self._note_arrival(item)
            after = 0  # items of the same source behind its waiting frame
            for position in range(len(self._items) - 1, -1, -1):
                other = self._items[position]
                if other.source is not item.source:
                    continue
                if not isinstance(other, Taken):
                    after += 1
                    continue
                if after:  # a loss or a reconnection lies between the two: that order must show
                    del self._items[position]
                    break
                # In its place: at the end of the queue a fast camera would wait behind a slow one for ever.
                self._items[position] = item
                return True
            else:
                position = -1
            self._items.append(item)
            self._changed.notify_all()
            return position >= 0

    def finish(self) -> None:
        """One reader has nothing more."""
        with self._changed:
            self._readers -= 1
            self._changed.notify_all()

    def take(self) -> FromReader | None:
        """The next item, waiting for it; ``None`` once there will be none any more."""
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._closed or self._readers <= 0)
            if self._closed or not self._items:
                return None
            item = self._items.popleft()
            self._changed.notify_all()
            return item

    def fresher(self, item: Taken) -> Taken:
        """A newer frame of the same live source in its place, where waiting for that makes the labels newer.

        Of a camera at 30 frames a second, the frame at hand is up to 33 ms old; where the next one is due sooner than
        that, its labels are of a younger world, for little waiting. Nobody waits where other sources have frames.
        """
        with self._changed:
            captured, step = self._arrivals.get(id(item.source), (0.0, None))
            now = time.monotonic()
            due = captured + (step or 0.0) - now
            if step is None or step > _LONGEST_STEP or self._items or not 0 < due < now - item.frame.captured:
                return item
            self._changed.wait_for(lambda: self._items or self._closed or self._readers <= 0, due + _LATE)
            newer = self._items[0] if self._items else None
            if isinstance(newer, Taken) and newer.source is item.source:
                self._items.popleft()
                return newer
            return item

    def close(self) -> None:
        """Let go of what waits; readers and the one that takes are told."""
        with self._changed:
            self._closed = True
            self._items.clear()
            self._changed.notify_all()

    def _note_arrival(self, item: Taken) -> None:
        key, captured = id(item.source), item.frame.captured
        before, step = self._arrivals.get(key, (captured, None))
        passed = captured - before
        if step is None:
            step = passed or None
        else:
            step += 0.1 * (min(passed, 3 * step) - step)  # a pause must not make a slow camera of a fast one
        self._arrivals[key] = captured, step

    def _waiting(self) -> int:
        return sum(isinstance(item, Taken) for item in self._items)
