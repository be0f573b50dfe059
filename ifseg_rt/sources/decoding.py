"""Decodes the pictures of one opened container, packet by packet: one bad packet costs one packet."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from ifseg_rt.sources.base import Event, Frame
from ifseg_rt.sources.recording.doubt import Doubt
from ifseg_rt.sources.recording.due import Due
from ifseg_rt.sources.recording.gaps import Times
from ifseg_rt.sources.recording.orientation import Orientation
from ifseg_rt.sources.recording.promises import JpegEnds, pictures_listed, stated_duration
from ifseg_rt.sources.recording.streams import check_size, picture_stream, rough_limit

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream
    from numpy.typing import NDArray

__all__ = ["Decoding", "check_size", "picture_stream"]

# A decoder that guesses says so only on FFmpeg's log: of 1476 frames of 30 damaged H.264 clips, 955 wrong ones looked
# sound. Told to give up on what is invalid, and with everything doubted until the next key frame, 99 did.
_STRICT = {"err_detect": "explode"}
_TOLERANCE = 0.5  # seconds
_WITHOUT_INDEX = frozenset({"flv", "matroska,webm", "mpeg", "mpegts"})
_WITHOUT_END = frozenset({"h264", "hevc", "mjpeg", "mpeg", "mpegts", "mpegvideo", "m4v"})  # only the picture tells


class Decoding:
    """One pass over the pictures of one opened container.

    Neither a bad packet nor a bad end raises: the first is an event of kind ``corrupt``, the second is told by
    :attr:`broken` when :meth:`items` has ended.

    Args:
        container: an opened PyAV container; the caller closes it, in the thread that runs :meth:`items`.
        stream: its pictures, from :func:`picture_stream`.
        keep_damaged: whether pictures in doubt are handed out, marked; otherwise each becomes an event.
        max_pixels: width x height above which the pictures of a stream that grows are refused, each as a bad packet.
        connection: which connection to the source this is, from 1.
        first_index: running number of the first frame.
        low_delay: hand out each picture as soon as it is complete; for live streams.
        attempts: how often reading goes on after the container itself was found damaged; 0 for networks, where that
            is the end.

    Attributes:
        index: running number of the next frame. A packet that gave no picture leaves a gap.
        packets: how many packets of pictures were read.
        lost: how many of them gave no picture.
        damaged: how many pictures were in doubt, whether handed out or not.
        end: when the last picture ended, in seconds from the start; of its packet, where it could not be decoded.
        last_failed: whether the last packet gave no picture.
        broken: what stopped the reading where that was not an ordinary end.
    """

    def __init__(
        self,
        container: InputContainer,
        stream: VideoStream,
        *,
        keep_damaged: bool,
        max_pixels: int,
        connection: int = 1,
        first_index: int = 0,
        low_delay: bool = False,
        attempts: int = 0,
    ) -> None:
        self.index = first_index
        self.packets = 0
        self.lost = 0
        self.damaged = 0
        self.end = 0.0
        self.last_failed = False
        self.broken: str | None = None
        self._container = container
        self._stream = stream
        self._keep_damaged = keep_damaged
        self._connection = connection
        self._attempts = attempts
        self._origin = stream.start_time
        self._unit = float(stream.time_base or 0)  # seconds
        self._doubt = Doubt()
        self._orientation = Orientation(stream.codec_context.name)
        self._due = Due(stream.codec_context.name)
        self._max_pixels = max_pixels
        self._jpeg_ends = JpegEnds(stream)
        # A stream without an end would fill the memory; other containers list their pictures or count them.
        gaps_tell = not low_delay and container.format.name in _WITHOUT_INDEX
        self._times = Times() if gaps_tell else None
        context = stream.codec_context
        context.options = {
            **_STRICT,
            "max_pixels": str(rough_limit(max_pixels)),
            **({"flags": "low_delay"} if low_delay else {}),
        }
        # Threads by slice, never by frame: with those, an error comes with another packet than its own and takes
        # sound pictures with it, and every picture comes several frames late.
        stream.thread_type = "SLICE"
        from av.video.reformatter import VideoReformatter

        self._converter = VideoReformatter()  # one for all: setting it up again took a third of the time of a frame

    def items(self) -> Iterator[Frame | Event]:
        """Hand out every picture, and an event for everything that should have been one."""
        from av.error import FFmpegError

        for packet in self._demuxed():
            reason = None
            try:
                frames = packet.decode()
            except FFmpegError as error:
                frames, reason = [], _reason(error)
                self._doubt.failed(packet)
            else:
                self._doubt.passed(packet)
            if packet.size:
                reason = reason or self._jpeg_ends.missing_in(packet)
                self._note(packet, reason)
                if reason is not None and packet.pts is None and packet.dts is None:
                    yield self._lost(None, reason)
            for frame in frames:
                refused = self._due.take(frame)
                yield from (self._lost(due, reason) for due, reason in self._due.passed(frame))
                yield self._item(frame, refused)
        yield from (self._lost(due, reason) for due, reason in self._due.passed(None))
        yield from self._unfound() if self._container.format.name == "avi" else self._gaps()

    def _lost(self, pts: int | None, reason: str) -> Event:
        self.lost += 1
        return self._corrupt(self._seconds(pts), f"cannot be decoded ({reason})")

    def _unfound(self) -> Iterator[Event]:
        """Tell of pictures that the index of an AVI lists and that were not found where they should be."""
        count = pictures_listed(self._stream) - self.packets
        if count > 0:
            self.lost += count
            self.index += count
            details = {"frames": count, "time": None, "reason": "missing"}
            yield Event("corrupt", f"{count} frames are listed in it and were not found", details)

    def _note(self, packet: Packet[VideoStream], reason: str | None) -> None:
        """Remember that a picture is due, and whether the decoder refused its packet: it may come all the same."""
        self.packets += 1
        self.end = max(self.end, self._end_of(packet))
        self.last_failed = reason is not None or packet.is_corrupt
        if self._times is not None and packet.pts is not None:
            self._times.add(packet.pts)
        self._due.add(packet, reason, in_doubt=self._doubt.lasts)

    def _gaps(self) -> Iterator[Event]:
        """Tell of pictures whose packets never came; without other damage, they may never have been taken."""
        gaps = self._times.gaps(self._stated_step()) if self._times is not None else []
        if gaps and not (self.lost or self.damaged or self.broken):
            longest = max(gaps, key=lambda gap: gap.end - gap.begin)
            begin, end = self._seconds(longest.begin) or 0.0, self._seconds(longest.end) or 0.0
            more = f", and {len(gaps) - 1} more such gaps" if len(gaps) > 1 else ""
            text = f"it holds no frame between {begin:.2f} s and {end:.2f} s{more}"
            yield Event("note", text, {"frames": sum(gap.missing for gap in gaps), "gaps": len(gaps)})
            return
        for gap in gaps:
            begin = self._seconds(gap.begin) or 0.0
            details = {"frames": gap.missing, "time": begin, "reason": "missing"}
            self.lost += gap.missing
            self.index += gap.missing
            yield Event("corrupt", f"{gap.missing} frames are missing after {begin:.2f} s", details)

    def _stated_step(self) -> float | None:
        rate = self._stream.average_rate
        return 1.0 / (float(rate) * self._unit) if rate and self._unit else None

    def missing_packets(self) -> str | None:
        """Say which packets the container promised and did not deliver, when :meth:`items` has ended.

        Returns:
            Part of a sentence; ``None`` where none is known to be missing.
        """
        listed = pictures_listed(self._stream)
        if self._container.format.name.startswith("mov,") and self.packets < listed:
            return f"{listed} pictures are listed in it, {self.packets} were found"
        stated = stated_duration(self._stream)
        if stated is not None and self.end < stated - _TOLERANCE:
            return f"its pictures should last {stated:.2f} s and end at {self.end:.2f} s"
        if self.last_failed and self._container.format.name in _WITHOUT_END:
            return "its last picture is cut off"
        return None

    def _demuxed(self) -> Iterator[Packet[VideoStream]]:
        from av.error import EOFError as EndOfFile
        from av.error import FFmpegError

        attempts = self._attempts
        while True:
            try:
                yield from self._container.demux(self._stream)
                return
            except (EndOfFile, IndexError):  # the latter, after the end, where streams were found on the way
                return
            except (FFmpegError, OSError) as error:
                self.broken = _reason(error)
                if attempts == 0:
                    return
                attempts -= 1

    def _item(self, frame: VideoFrame, refused: str | None) -> Frame | Event:
        reason = "was made from a damaged one" if self._doubt.about(frame) else None
        if self._due.is_out_of_order(frame):
            reason = "comes after one that is shown later"
        if frame.is_corrupt or refused is not None:
            reason = "is damaged"
        time = self._seconds(frame.pts)
        if reason is not None:
            self.damaged += 1
            if not self._keep_damaged:
                return self._corrupt(time, reason)
        if frame.width * frame.height > self._max_pixels:
            return self._corrupt(time, f"is {frame.width} x {frame.height} pixels large: more than {self._max_pixels}")
        image = self._orientation.upright(self._bgr(frame), frame)
        index = self.index
        self.index += 1
        duration = getattr(frame, "duration", 0) or 0
        return Frame(
            image,
            index,
            time=time,
            duration=float(duration * self._unit) if duration > 0 else None,
            damaged=reason is not None,
            connection=self._connection,
        )

    def _bgr(self, frame: VideoFrame) -> NDArray[np.uint8]:
        return np.ascontiguousarray(self._converter.reformat(frame, format="bgr24").to_ndarray())

    def _corrupt(self, time: float | None, reason: str) -> Event:
        index = self.index
        self.index += 1
        when = "" if time is None else f" at {time:.2f} s"
        return Event("corrupt", f"frame {index}{when} {reason}", {"frame": index, "time": time, "reason": reason})

    def _seconds(self, pts: int | None) -> float | None:
        """Presentation time from the start of the stream; the first picture defines it where the stream does not."""
        if pts is None or not self._unit:
            return None
        if self._origin is None:
            self._origin = pts
        return (pts - self._origin) * self._unit

    def _end_of(self, packet: Packet[VideoStream]) -> float:
        return (self._seconds(packet.pts) or 0.0) + (packet.duration or 0) * self._unit


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error).strip() or type(error).__name__
