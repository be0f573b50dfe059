"""Keeps native libraries from talking over the command's own messages."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_STDERR = 2


@contextmanager
def native_noise_hidden() -> Iterator[None]:
    """Send what C libraries write to standard error into the void while the block runs.

    libpng, FFmpeg and OpenCV's camera layer write there directly, up to ten lines for one missing camera; the error
    that is raised afterwards says the same in one. The whole process is affected, so keep the block short. Nothing is
    hidden while this package logs for debugging.
    """
    if logging.getLogger("ifseg_rt").isEnabledFor(logging.DEBUG):
        yield
        return
    try:
        sys.stderr.flush()
        saved = os.dup(_STDERR)
    except (OSError, ValueError, AttributeError):  # no standard error at all: nothing to hide
        yield
        return
    void = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(void, _STDERR)
        yield
    finally:
        os.dup2(saved, _STDERR)
        os.close(saved)
        os.close(void)


def quiet_environment() -> None:
    """Silence OpenCV's and its FFmpeg's logging; works only before OpenCV is imported, and never overrides the user."""
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
