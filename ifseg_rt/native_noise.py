"""Keeps native libraries from talking over the command's own messages.

libpng, FFmpeg and OpenCV's camera layer write to descriptor 2 directly, up to ten lines for one missing camera; the
error that is raised afterwards says the same in one.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_STDERR = 2


@contextmanager
def native_noise_hidden() -> Iterator[None]:
    """Send what C libraries write to standard error into the void while the block runs, where nobody else writes there.

    The whole process is affected: with other threads running nothing is done, because their messages would be lost too.
    Nothing is hidden either while this package logs for debugging.
    """
    alone = threading.active_count() == 1 and threading.current_thread() is threading.main_thread()
    if not alone or logging.getLogger("ifseg_rt").isEnabledFor(logging.DEBUG):
        yield
        return
    try:
        sys.stderr.flush()
        saved = os.dup(_STDERR)
    except (OSError, ValueError, AttributeError):  # no standard error at all: nothing to hide
        yield
        return
    try:
        _to_null(_STDERR)
        yield
    finally:
        os.dup2(saved, _STDERR)
        os.close(saved)


@contextmanager
def own_stderr() -> Iterator[None]:
    """Give Python's standard error a descriptor of its own for the block, and native libraries the void.

    For a process that belongs to us, before it starts threads: afterwards they all write what they like, and no message
    of ours is lost. Python's handlers that hold the old stream keep it. Nothing is done where standard error is not
    descriptor 2 (a notebook, a test that captures it).
    """
    stderr = sys.stderr
    try:
        stderr.flush()
        ours = stderr.fileno() == _STDERR
    except (OSError, ValueError, AttributeError):
        ours = False
    if not ours:
        yield
        return
    saved = os.dup(_STDERR)
    sys.stderr = open(saved, "w", encoding=stderr.encoding, errors="backslashreplace", buffering=1)  # noqa: SIM115, PTH123
    _to_null(_STDERR)
    try:
        yield
    finally:
        own, sys.stderr = sys.stderr, stderr
        with suppress(OSError):  # the reader of our messages has gone: there is nobody to tell
            own.flush()
        os.dup2(saved, _STDERR)
        with suppress(OSError):
            own.close()


def standard_descriptors() -> None:
    """Open descriptors 0, 1 and 2 on the null device where they are closed, and give Python its streams.

    Cron and services start programs that way. The next file that is opened would get such a number, and take whatever
    is written to it.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123


def quiet_environment() -> None:
    """Silence OpenCV's and its FFmpeg's logging; works only before OpenCV is imported, and never overrides the user."""
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")


def _to_null(number: int) -> None:
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, number)
    os.close(null)
