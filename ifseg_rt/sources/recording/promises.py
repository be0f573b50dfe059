"""What a container or a picture promises about itself, to be compared with what was found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from av.packet import Packet
    from av.video.stream import VideoStream

_PADDING = 32  # bytes at the end of a JPEG in which its end mark must lie


def pictures_listed(stream: VideoStream) -> int:
    """How many pictures the index of the container lists, those without content left out; 0 where there is none."""
    entries: Any = getattr(stream, "index_entries", ())  # older versions of PyAV show none
    return sum(entry.size > 0 for entry in entries)


def stated_duration(stream: VideoStream) -> float | None:
    """How many seconds the pictures last, which Matroska states apart from the sound, as ``00:00:04.000000000``."""
    parts = (stream.metadata.get("DURATION") or "").split(":")
    try:
        hours, minutes, seconds = (float(part) for part in parts)
    except ValueError:
        return None
    return 3600 * hours + 60 * minutes + seconds


class JpegEnds:
    """Looks for the end marks of JPEGs: FFmpeg fills one that is cut off with grey and says nothing.

    Args:
        stream: of any format; only JPEGs are looked at.
    """

    def __init__(self, stream: VideoStream) -> None:
        self._looks = stream.codec_context.name == "mjpeg"
        self._seen = False

    def missing_in(self, packet: Packet[VideoStream]) -> str | None:
        """Say what is missing in a packet. Where the first has no end mark, none is expected: some cameras set none."""
        if not self._looks:
            return None
        has_mark = b"\xff\xd9" in bytes(memoryview(packet)[-_PADDING:])
        self._looks = has_mark or self._seen
        self._seen = True
        return None if has_mark or not self._looks else "its end is missing"
