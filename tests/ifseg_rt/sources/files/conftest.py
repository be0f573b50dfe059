"""Clips made on the spot, whose frames tell their number by their grey."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import av
import numpy as np
import pytest

from ifseg_rt.errors import SourceError
from ifseg_rt.sources.base import Event, Frame, Source


class Clip(Protocol):
    def __call__(
        self,
        path: Path,
        times: Sequence[int] = ...,
        *,
        codec: str = ...,
        sound: float = ...,
        options: dict[str, str] = ...,
        turn: tuple[int, bool, bool] = ...,
    ) -> Path: ...


def picture(number: int) -> np.ndarray:
    """A dark corner above left, and noise that no encoder can shorten to a few bytes."""
    image = np.random.default_rng(number).integers(100, 140, (48, 64, 3), dtype=np.uint8)
    image[:, :] += np.uint8(5 * number % 100)
    image[:12, :24] = 0
    return image


@pytest.fixture
def clip() -> Clip:
    """Write a clip with frames at the given milliseconds."""

    def write(
        path: Path,
        times: Sequence[int] = tuple(range(0, 2400, 40)),
        *,
        codec: str = "mpeg4",
        sound: float = 0,
        options: dict[str, str] | None = None,
        turn: tuple[int, bool, bool] = (0, False, False),
    ) -> Path:
        with av.open(f"file:{path}", "w", options=options or {}) as container:
            stream = container.add_stream(codec, rate=25)
            stream.width, stream.height = 64, 48
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            unit = Fraction(1, 1000) if any(time % 40 for time in times) else Fraction(1, 25)
            stream.time_base = stream.codec_context.time_base = unit
            stream.bit_rate = 4_000_000  # or most frames would be too small to be damaged
            stream.codec_context.gop_size = 12
            stream.codec_context.max_b_frames = 0
            if turn != (0, False, False):
                stream.set_display_rotation(turn[0], hflip=turn[1], vflip=turn[2])
            audio = container.add_stream("aac", rate=16000) if sound else None
            for number, time in enumerate(times):
                frame = av.VideoFrame.from_ndarray(picture(number), format="bgr24")
                frame.pts, frame.time_base = time, Fraction(1, 1000)
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
            if audio is not None:
                for start in range(0, int(sound * 16000), 1024):
                    silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
                    silence.sample_rate, silence.pts, silence.time_base = 16000, start, Fraction(1, 16000)
                    container.mux(audio.encode(silence))
                container.mux(audio.encode())
        return path

    return write


@pytest.fixture
def read() -> Callable[[Source], tuple[list[Frame], list[Event], str]]:
    """Read a source to its end: frames, events, and what it ended with."""

    def run(source: Source) -> tuple[list[Frame], list[Event], str]:
        frames: list[Frame] = []
        events: list[Event] = []
        try:
            for item in source.items():
                if isinstance(item, Frame):
                    frames.append(item)
                else:
                    events.append(item)
        except SourceError as error:
            return frames, events, str(error)
        finally:
            source.close()
        return frames, events, ""

    return run
