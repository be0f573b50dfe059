"""Keeps Ctrl-C out of the moments that must not be cut in half."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def interrupt_held_back() -> Iterator[None]:
    """Within, Ctrl-C (SIGINT) is remembered; it is delivered on the way out, unless an error is on its way already.

    A block inside another leaves the delivery to the outer one. Outside the main thread, where Python delivers no
    signals, and where SIGINT is ignored, nothing changes.
    """
    previous = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(previous):
        yield
        return
    came: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
    if came:
        signal.raise_signal(signal.SIGINT)
