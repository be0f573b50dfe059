"""Which pictures of a stream were made from others that are missing or damaged."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

_BIDIRECTIONAL = 3  # pictures of which, as a rule, no others are made
_LONGEST = 300  # packets; x264 sets a key frame every 250, and a stream that has none must not be doubted for ever


class Doubt:
    """Doubt begins with a bad packet and ends with the next key frame. Told of every packet in order of decoding."""

    def __init__(self) -> None:
        self._left = 0  # packets that doubt lasts at most
        self._expected: int | None = None  # the key frame that ends the doubt, until it was seen
        self._spoiled_from: int | None = None  # what is shown from here on, until a key frame, was made from bad ones
        self._clean_from: int | None = None  # pictures shown before the key frame may be made from what came before it
        self._doubted: set[int] = set()  # presentation times; pictures leave the decoder in another order than packets

    @property
    def lasts(self) -> bool:
        """Whether the next picture to be decoded is in doubt."""
        return self._left > 0

    def failed(self, packet: Packet[VideoStream]) -> None:
        """The decoder refused a packet."""
        if not packet.is_disposable:
            self._left = _LONGEST
            self._clean_from = None

    def passed(self, packet: Packet[VideoStream]) -> None:
        """The decoder took a packet."""
        if packet.is_corrupt:
            self.failed(packet)
        elif packet.is_keyframe and self._left and packet.pts is not None:
            self._clean_from = self._expected = packet.pts
        if not self._left:
            return
        if self._clean_from is None or packet.pts is None or packet.pts < self._clean_from:
            self._left -= 1
            if packet.pts is not None:
                self._doubted.add(packet.pts)
        elif not packet.is_keyframe:  # shown after the key frame, as all that follow it but for its reordered ones
            self._left -= 1

    def about(self, frame: VideoFrame) -> bool:
        """Whether a picture was made from a missing or damaged one; asked once of each."""
        if frame.pts is None:
            return self.lasts
        if self._expected is not None and frame.pts >= self._expected:
            if frame.pts > self._expected or not frame.key_frame:
                # The container calls its packet a key frame, but the damage made something else of it, or nothing.
                self._spoiled_from, self._clean_from, self._left = self._expected, None, _LONGEST
            self._expected = None
        if frame.key_frame and self._spoiled_from is not None and frame.pts > self._spoiled_from:
            self._spoiled_from = None
        spoiled = self._spoiled_from is not None and frame.pts >= self._spoiled_from
        if frame.is_corrupt and not spoiled and frame.pict_type != _BIDIRECTIONAL:
            self._spoiled_from = frame.pts  # others are made from it
        if frame.pts in self._doubted:
            self._doubted.discard(frame.pts)
            return True
        return spoiled
