"""Ctrl-C, SIGTERM and SIGHUP: the first one ends the work in order, a second one at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from ifseg_rt.errors import INTERRUPTED_EXIT_CODE

_WORDS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}
if hasattr(signal, "SIGHUP"):  # a terminal that was closed, an ssh connection that broke; not on Windows
    _WORDS[signal.SIGHUP] = "hung up"


class SignalledError(KeyboardInterrupt):
    """A signal asked the process to end.

    Attributes:
        word: what happened, in a word.
        exit_code: 130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP.
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self.word = _WORDS[signal.Signals(number)]
        self.exit_code = INTERRUPTED_EXIT_CODE if number == signal.SIGINT else 128 + number


class _Handler:
    """What the process does when a signal comes."""

    def __init__(self) -> None:
        self.received: int | None = None
        self.ask_to_stop: Callable[[], None] | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None and self.ask_to_stop is not None:
            os._exit(SignalledError(number).exit_code)  # asked twice: not even files are finished
        self.received = number
        if self.ask_to_stop is None:
            raise SignalledError(number)
        self.ask_to_stop()


_handler = _Handler()


def received() -> SignalledError | None:
    """The signal that came in this command, if any.

    It may come while a library is being imported, which makes an error of its own of it.
    """
    return None if _handler.received is None else SignalledError(_handler.received)


@contextmanager
def signals_end_cleanly() -> Iterator[None]:
    """Turn the signals into :class:`SignalledError`; otherwise half-written files would stay."""
    if threading.current_thread() is not threading.main_thread():
        yield  # the caller owns the signals
        return
    # A signal that was ignored stays so: nohup, and jobs that a shell puts into the background.
    before = {number: signal.getsignal(number) for number in _WORDS}
    _handler.received = None
    for number, previous in before.items():
        if previous not in (signal.SIG_IGN, None):
            signal.signal(number, _handler)
    try:
        yield
    finally:
        for number, previous in before.items():
            if previous is not None:
                signal.signal(number, previous)


@contextmanager
def stopping_with(ask_to_stop: Callable[[], None]) -> Iterator[None]:
    """While the block runs, a signal calls ``ask_to_stop`` instead of raising; it raises when the block is done.

    Raises:
        SignalledError: a signal came, and the block has ended in order.
    """
    _handler.ask_to_stop = ask_to_stop
    try:
        yield
    finally:
        _handler.ask_to_stop = None
    if _handler.received is not None and threading.current_thread() is threading.main_thread():
        raise SignalledError(_handler.received)
