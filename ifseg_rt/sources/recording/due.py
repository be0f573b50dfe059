"""Which pictures are due: packets went into the decoder, and what they hold has not been shown yet."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

_REORDERED = 32  # pictures; H.264 and HEVC allow 16 between decoding and showing
_ONE_PICTURE_EACH = frozenset({"h264", "hevc", "mjpeg"})  # other formats have packets that show nothing


class Due:
    """Pictures that should come, by presentation time.

    Args:
        codec: name of the stream's codec.
    """

    def __init__(self, codec: str) -> None:
        self._one_each = codec in _ONE_PICTURE_EACH
        self._reasons: dict[int, str | None] = {}
        self._last_dts: int | None = None
        self._last_shown: int | None = None
        self._restarting = 0  # packets for which old and new times may mix, after the clock of the stream was set back

    def add(self, packet: Packet[VideoStream], refusal: str | None, *, in_doubt: bool) -> None:
        """Take note of a packet and of why the decoder refused it, where it did: its picture may come all the same."""
        if packet.dts is not None:
            if self._last_dts is not None and packet.dts < self._last_dts:
                self._reasons.clear()
                self._restarting = _REORDERED
            self._last_dts = packet.dts
        self._restarting = max(0, self._restarting - 1)
        pts = packet.dts if packet.pts is None else packet.pts
        must_show = (self._one_each or in_doubt) and not self._restarting
        if pts is not None and not packet.is_discard and (refusal is not None or must_show):
            self._reasons[pts] = refusal

    def take(self, frame: VideoFrame) -> str | None:
        """Say why the decoder refused the packet of a picture that came all the same; ``None`` where it did not."""
        return None if frame.pts is None else self._reasons.pop(frame.pts, None)

    def passed(self, frame: VideoFrame | None) -> list[tuple[int, str]]:
        """Pictures that should have come before this one, with the reason; all that are left for ``None``."""
        late = [due for due in self._reasons if frame is None or (frame.pts is not None and due < frame.pts)]
        if not late and len(self._reasons) > _REORDERED:
            late = [next(iter(self._reasons))]
        return [(due, self._reasons.pop(due) or "the decoder gave no picture") for due in sorted(late)]

    def is_out_of_order(self, frame: VideoFrame) -> bool:
        """Whether a picture comes at or before the time of the last one, and the clock was not set back."""
        if frame.pts is None:
            return False
        late = self._last_shown is not None and frame.pts <= self._last_shown
        self._last_shown = frame.pts
        if late and self._restarting:
            self._restarting = 0
            return False
        return late
