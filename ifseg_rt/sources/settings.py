"""How sources are read: cameras' wishes, time limits, damaged frames, sizes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Corrupt = Literal["skip", "keep"]
MAX_PIXELS = 100_000_000  # a picture of 12000 x 12000 in a file of 17 kB would take 2.2 GB before anything is seen


@dataclass(frozen=True)
class SourceSettings:
    """What a user may wish about every source.

    Attributes:
        corrupt: what becomes of damaged frames: ``"skip"`` or ``"keep"`` (marked); ``None`` keeps those of files and
            skips those of live sources.
        max_pixels: width x height above which a picture or video is refused.
        open_timeout: seconds to wait for a connection.
        read_timeout: seconds without any data after which a live source counts as lost.
        camera_size: width and height asked of cameras; ``None`` for their own choice.
        camera_fps: frames per second asked of cameras.
        camera_format: pixel format asked of cameras, four letters such as ``MJPG``.
    """

    corrupt: Corrupt | None = None
    max_pixels: int = MAX_PIXELS
    open_timeout: float = 5.0
    read_timeout: float = 2.0
    camera_size: tuple[int, int] | None = None
    camera_fps: float | None = None
    camera_format: str | None = None
