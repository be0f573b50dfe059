"""One picture in, one packet out."""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from typing import TYPE_CHECKING, Any

import cv2

if TYPE_CHECKING:
    import numpy as np
    from av.packet import Packet
    from av.video.stream import VideoStream
    from numpy.typing import NDArray

H264, MPEG4, MJPEG, FFV1 = "libx264", "mpeg4", "mjpeg", "ffv1"
_BT601, _STUDIO_RANGE = 6, 1  # what OpenCV's conversion makes; unnamed, players guess by the height


@dataclass(frozen=True)
class Coding:
    """How pictures become packets.

    Attributes:
        codec: FFmpeg's name of the encoder.
        pixels: FFmpeg's name of the pixel format.
        given: the same of what ``convert`` makes; FFmpeg does the rest.
        options: the encoder's options.
        key_every: frames from one that can be sought to the next.
        convert: brings a picture into the pixel format.
    """

    codec: str
    pixels: str
    given: str
    convert: Callable[[NDArray[Any]], NDArray[Any]]
    options: Mapping[str, str] = field(default_factory=dict)
    key_every: int = 50


def even(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """H x W x 3 with an even height and width: an odd last row or column is repeated, because half the size is kept
    for colours and the encoder would cut it off."""
    height, width = picture.shape[:2]
    if height % 2 == 0 and width % 2 == 0:
        return picture
    return cv2.copyMakeBorder(picture, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)  # type: ignore[return-value]


def as_yuv420(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """BGR, of even size, as planar YUV: 3/2 H x W."""
    return cv2.cvtColor(picture, cv2.COLOR_BGR2YUV_I420)  # type: ignore[return-value]


@cache
def has_encoder(name: str) -> bool:
    """Whether this PyAV was built with an encoder."""
    import av

    try:
        av.codec.Codec(name, "w")
    except ValueError:
        return False
    return True


def for_pictures() -> Coding:
    """H.264 where the PyAV at hand can encode it, which every browser plays; else MPEG-4."""
    if has_encoder(H264):
        # 640 x 480 on two cores: superfast 3.2 ms and 7.3 kB a frame, ultrafast 1.4 ms and 12 kB, veryfast 5 ms and
        # 7.4 kB. zerolatency gives every frame out at once: nothing is lost with the process.
        options = {"preset": "superfast", "tune": "zerolatency", "crf": "23"}
        return Coding(H264, "yuv420p", "yuv420p", as_yuv420, options)
    return Coding(MPEG4, "yuv420p", "yuv420p", as_yuv420, {"qmin": "2", "qmax": "6"})


def for_avi() -> Coding:
    """Motion JPEG, which is what old programs that ask for AVI read."""
    return Coding(MJPEG, "yuvj420p", "bgr24", lambda picture: picture, {"qmin": "3", "qmax": "3"}, key_every=1)


def for_labels(*, wide: bool) -> Coding:
    """FFV1: the same values after decoding; 8 bits, or 16 where ``wide``."""
    pixels = "gray16le" if wide else "gray"
    return Coding(FFV1, pixels, pixels, lambda labels: labels, {"level": "3"}, key_every=1)


def open_stream(container: Any, coding: Coding, width: int, height: int, rate: float) -> VideoStream:  # noqa: ANN401
    """Add an encoding stream to an output container of PyAV.

    Args:
        container: the container.
        coding: how.
        width: pixels.
        height: pixels.
        rate: frames per second, which guides how bits are spent.
    """
    # MPEG-4 takes no denominator above 65535.
    steady = Fraction(min(max(rate, 1.0), 300.0)).limit_denominator(200)
    stream: VideoStream = container.add_stream(coding.codec, rate=steady, options=dict(coding.options))
    stream.width, stream.height, stream.pix_fmt = width, height, coding.pixels
    context = stream.codec_context
    context.time_base = 1 / steady
    context.gop_size = coding.key_every
    if coding.convert is as_yuv420:
        context.colorspace, context.color_primaries, context.color_trc = _BT601, _BT601, _BT601
        context.color_range = _STUDIO_RANGE
    return stream


def encode(stream: VideoStream, coding: Coding, picture: NDArray[Any], number: int) -> Packet[Any]:
    """Encode one picture.

    Raises:
        av.FFmpegError: the encoder refuses.
        OSError: it keeps the frame for later.
    """
    import av

    frame = av.VideoFrame.from_ndarray(coding.convert(picture), format=coding.given)
    frame.pts, frame.time_base = number, stream.codec_context.time_base
    packets = stream.codec_context.encode(frame)
    if len(packets) != 1:
        raise OSError(errno.EIO, f"the encoder {coding.codec} gave {len(packets)} packets for a frame")
    return packets[0]
