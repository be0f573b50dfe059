"""Finds the pictures in an opened container, and refuses what is too large."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ifseg_rt.errors import SourceError

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream


def picture_stream(container: InputContainer, name: str, max_pixels: int) -> VideoStream:
    """Find the pictures of a container; a cover picture attached to music is none.

    Args:
        container: an opened PyAV container.
        name: what messages call it.
        max_pixels: width x height above which it is refused, before anything is decoded.

    Raises:
        SourceError: it holds no pictures, in no known format, or too large ones.
    """
    from av.stream import Disposition

    streams = container.streams.video
    moving = [stream for stream in streams if not stream.disposition & Disposition.attached_pic]
    if not moving:
        held = "music with a cover picture" if streams else "no pictures"
        raise SourceError(f"{name} holds {held}, no video", hint="name a video or a picture")
    best: VideoStream | None = container.streams.best("video")  # type: ignore[assignment]
    stream = best if best in moving else moving[0]
    if stream.codec_context is None:
        raise SourceError(f"{name} holds a video that FFmpeg {_ffmpeg()} cannot decode", hint="convert it to H.264")
    width, height = stream.codec_context.width, stream.codec_context.height
    check_size(width, height, name, max_pixels)
    if not width or not height:  # FFmpeg was told the limit, and forgets a size above it
        raise SourceError(f"{name} states no size, or one above {max_pixels} pixels", hint="try --max-pixels 500000000")
    return stream


def check_size(width: int, height: int, name: str, max_pixels: int) -> None:
    """Refuse a picture that is too large, before memory is taken for it.

    Raises:
        SourceError: ``width`` x ``height`` is above ``max_pixels``.
    """
    if width * height > max_pixels:
        raise SourceError(
            f"{name} is {width} x {height} pixels large: more than {max_pixels}",
            hint=f"if that is right: --max-pixels {width * height}",
        )


def rough_limit(max_pixels: int) -> int:
    """The limit to give to FFmpeg, which also counts what decoders add at the borders to fill whole blocks."""
    return 2 * max_pixels + (1 << 20)


def _ffmpeg() -> str:
    import av

    return str(getattr(av, "ffmpeg_version_info", ""))
