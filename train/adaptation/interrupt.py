"""Keeps Ctrl-C and other requests to end out of the moments that must not be cut in half."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


@contextmanager
def interrupt_held_back() -> Iterator[None]:
    """Within, Ctrl-C (SIGINT), SIGTERM and SIGHUP are remembered.

    The first that came is delivered on the way out, unless an error is on its way already. A block inside another
    leaves the delivery to the outer one. Outside the main thread, where Python delivers no signals, and for a signal
    that is ignored or that nobody in this process handles, nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    previous = {number: signal.getsignal(number) for number in _SIGNALS}
    held = {number: handler for number, handler in previous.items() if callable(handler)}
    for number in held:
        signal.signal(number, lambda number, _: came.append(number))
    try:
        yield
    finally:
        for number, handler in held.items():
            signal.signal(number, handler)
    if came:
        signal.raise_signal(came[0])
