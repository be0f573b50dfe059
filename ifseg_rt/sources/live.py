"""What a word means that is no file: an address, a camera, a screen, a test pattern, standard input."""

from __future__ import annotations

import os
import re
import stat
import sys
from pathlib import Path

from ifseg_rt.errors import UsageError
from ifseg_rt.sources.base import Source
from ifseg_rt.sources.camera import CameraSource
from ifseg_rt.sources.gstreamer import GStreamerSource, jetson_camera
from ifseg_rt.sources.network.streams import network_source
from ifseg_rt.sources.network.urls import parse, scheme_of
from ifseg_rt.sources.pattern import TestPattern
from ifseg_rt.sources.screen.source import ScreenSource
from ifseg_rt.sources.settings import SourceSettings
from ifseg_rt.sources.stdin import StdinSource

_DEVICE = re.compile(r"/dev/video\d+|/dev/v4l/.+")
_V4L2 = 81  # the number that Linux gives to video devices, whatever name a link to one has


def live_source(argument: str, settings: SourceSettings) -> Source | None:
    """Say what an argument means when no file of that name exists. Nothing is opened yet.

    Args:
        argument: a camera (``0``, ``/dev/video1``, ``csi://0``), an address (``rtsp://...``), ``-`` for standard input,
            ``screen:``, ``test:``, ``gst:PIPELINE``, each with what may follow.
        settings: for the source.

    Returns:
        The source, or ``None`` where it is none of these; a ``file://`` address is left to
        :func:`ifseg_rt.sources.network.urls.file_of_url`.

    Raises:
        UsageError: it is meant as one of these, but is malformed.
    """
    if argument == "-":
        return StdinSource(settings)
    if argument.isascii() and argument.isdecimal():
        return CameraSource(int(argument), settings=settings)
    if _DEVICE.fullmatch(argument) or _is_video_device(argument):
        return CameraSource(argument, settings=settings)
    if argument.startswith("screen:"):
        return ScreenSource(argument, settings)
    if argument.startswith("test:"):
        return TestPattern(argument)
    if argument.startswith("gst:"):
        return GStreamerSource(argument.removeprefix("gst:"), settings)
    scheme = scheme_of(argument)
    if scheme == "csi":
        number = argument[len("csi://") :]
        if not (number.isascii() and number.isdecimal()):
            raise UsageError(f"{argument} is no camera of a Jetson: expected csi:// and a number, such as csi://0")
        return GStreamerSource(jetson_camera(int(number), settings), settings, name=argument)
    if scheme is None or scheme == "file":
        return None
    return network_source(parse(argument), settings)


def _is_video_device(argument: str) -> bool:
    if not sys.platform.startswith("linux"):
        return False
    try:
        status = Path(argument).stat()
    except (OSError, ValueError):
        return False
    return stat.S_ISCHR(status.st_mode) and os.major(status.st_rdev) == _V4L2
