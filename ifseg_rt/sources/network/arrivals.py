"""What arrives from a network, with the moment it arrived and the reason why nothing more does."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ifseg_rt.sources.base import Event
from ifseg_rt.sources.connection import now

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.stream import Stream
    from av.video.stream import VideoStream

_LONGEST_WAIT = 20.0  # seconds for the first key frame; x264 sets one every 250 frames unless told otherwise
_SIGN_OF_LIFE = 3.0  # seconds between notes while waiting


class Arrivals:
    """Stands in for a container before :class:`~ifseg_rt.sources.decoding.Decoding`: one of its streams.

    PyAV's own time limit is for any packet: sound that goes on would hide pictures that stopped.

    Args:
        container: what delivers.
        stream: what is looked at.
        patience: seconds without a packet of it after which it counts as silent.

    Attributes:
        newest: when the newest packet arrived, on both clocks.
        end: why reading ended, where that was not an ordinary end.
        size: bytes of the whole, where that is known.
        format: the container's.
    """

    def __init__(self, container: InputContainer, stream: Stream, patience: float) -> None:
        self.newest = now()
        self.end: str | None = None
        self.size = container.size
        self.format = container.format
        self._container = container
        self._stream = stream
        self._patience = patience
        self._packets = self._arriving()
        self._first: Packet[VideoStream] | None = None

    def first_key_frame(self, name: str) -> Iterator[Event]:
        """Skip what comes before the first key frame: it is made from pictures that nobody here has seen.

        Streams that refresh their pictures without one are shown as they come after a while.

        Args:
            name: of the source, for the notes that it is still waiting.
        """
        begun = told = time.monotonic()
        for packet in self._packets:
            moment = time.monotonic()
            if packet.is_keyframe or not packet.size or moment - begun > _LONGEST_WAIT:
                self._first = packet
                return
            if moment - told > _SIGN_OF_LIFE:
                told = moment
                waited = round(moment - begun, 1)
                yield Event("note", f"{name} has sent no key frame for {waited:g} s; waiting", {"waited_s": waited})

    def demux(self, stream: Stream) -> Iterator[Packet[VideoStream]]:
        """The packets. An end of any kind ends it, after one that makes the decoder hand out what it holds."""
        if self._first is not None:
            yield self._first
        yield from self._packets

    def _arriving(self) -> Iterator[Packet[VideoStream]]:
        import av

        last = time.monotonic()
        packet: Any
        try:
            for packet in self._container.demux():
                arrived = now()
                silent = arrived[0] - last > self._patience
                if packet.stream.index == self._stream.index:
                    # At its time limit FFmpeg first hands out the packet it held back, and would then wait once more.
                    if not silent:
                        self.newest = arrived
                    yield packet
                    last = time.monotonic()  # a slow reader is not silence
                if silent:
                    self.end = f"sent no picture for {self._patience:g} s"
                    break
            else:
                return
        except av.error.ExitError:
            self.end = f"sent nothing for {self._patience:g} s"
        except (av.error.FFmpegError, OSError) as error:
            self.end = f"broke off ({error.strerror or error})"
        packet = av.Packet()
        packet.stream = self._stream
        yield packet
