"""Turns what the user named into a live source, where it is not a file."""

from __future__ import annotations

import stat
from pathlib import Path

from ifseg_rt.sources.base import Source
from ifseg_rt.sources.camera import CameraSource
from ifseg_rt.sources.settings import SourceSettings


def live_source(argument: str, settings: SourceSettings) -> Source | None:
    """Make the live source that an argument names.

    Args:
        argument: a camera's number or device path.
        settings: what is asked of it.

    Returns:
        The source, not opened; ``None`` where the argument names none.
    """
    del settings
    if argument.isdecimal():
        return CameraSource(int(argument))
    path = Path(argument)
    if argument.startswith("/dev/video") or (path.exists() and stat.S_ISCHR(path.stat().st_mode)):
        return CameraSource(argument)
    return None
