"""Clips and pictures made from code, every frame numbered."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from tests.faults.making.numbering import numbered

FPS = 25
FRAMES = 24


@dataclass(frozen=True)
class Recipe:
    """How a clip is made: container, codec, options of the codec and of the container."""

    suffix: str
    codec: str
    options: tuple[tuple[str, str], ...] = ()
    container: tuple[tuple[str, str], ...] = ()
    sound: bool = False
    pixels: str = "yuv420p"


_X264 = (("preset", "ultrafast"), ("g", "8"), ("crf", "20"))
RECIPES = {
    "mp4": (
        Recipe("mp4", "libx264", _X264),
        Recipe("mp4", "libx264", (*_X264, ("bf", "2"))),
        Recipe("mp4", "mpeg4", (("g", "8"), ("qmin", "2"), ("qmax", "4"))),
        Recipe("mp4", "libx264", _X264, (("movflags", "frag_keyframe+empty_moov"),)),
        Recipe("mp4", "libx264", _X264, (("movflags", "faststart"),), sound=True),
    ),
    "mkv": (
        Recipe("mkv", "libx264", _X264),
        Recipe("mkv", "libx264", (*_X264, ("bf", "2")), sound=True),
        Recipe("mkv", "mpeg4", (("g", "8"), ("qmin", "2"), ("qmax", "4"))),
        Recipe("mkv", "ffv1"),
    ),
    "ts": (
        Recipe("ts", "libx264", _X264),
        Recipe("ts", "libx264", (*_X264, ("bf", "2")), sound=True),
        Recipe("ts", "mpeg2video", (("g", "8"), ("qmin", "2"), ("qmax", "4"))),
    ),
    "mjpeg": (
        Recipe("avi", "mjpeg", (("qmin", "2"), ("qmax", "4"))),
        Recipe("mjpeg", "mjpeg", (("qmin", "2"), ("qmax", "4"))),
    ),
}


def make_clip(path: Path, recipe: Recipe, numbers: Iterable[int] = range(FRAMES)) -> Path:
    """Encode the numbered frames at 25 per second; returns ``path``."""
    write_clip(path, recipe, (numbered(number) for number in numbers))
    return path


def write_clip(path: Path, recipe: Recipe, pictures: Iterable[NDArray[np.uint8]]) -> None:
    """Encode pictures (BGR, of one size) at 25 per second."""
    with av.open(str(path), "w", options=dict(recipe.container)) as container:
        stream = None
        sound = container.add_stream("mp2" if recipe.suffix == "ts" else "aac", rate=48000) if recipe.sound else None
        for count, picture in enumerate(pictures):
            if stream is None:
                stream = container.add_stream(recipe.codec, rate=FPS, options=dict(recipe.options))
                stream.width, stream.height = picture.shape[1], picture.shape[0]
                stream.pix_fmt = "yuvj420p" if recipe.codec == "mjpeg" else recipe.pixels
            frame = av.VideoFrame.from_ndarray(picture, format="bgr24")
            frame.pts, frame.time_base = count, Fraction(1, FPS)
            container.mux(stream.encode(frame))
            if sound is not None:
                container.mux(sound.encode(_tone(count)))
        if stream is not None:
            container.mux(stream.encode(None))
        if sound is not None:
            container.mux(sound.encode(None))


def _tone(count: int) -> av.AudioFrame:
    samples = 48000 // FPS
    wave = (np.sin(np.arange(samples) / 20) * 8000).astype(np.int16).reshape(1, -1)
    frame = av.AudioFrame.from_ndarray(wave, format="s16", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = 48000, count * samples, Fraction(1, 48000)
    return frame


PICTURE_SUFFIXES = ("jpg", "png", "webp", "tif", "bmp")


def make_picture(path: Path, number: int = 0) -> Path:
    """Write one numbered picture in the format of the suffix; returns ``path``."""
    done, data = cv2.imencode(path.suffix, numbered(number))
    if not done:
        raise RuntimeError(f"OpenCV cannot encode {path.suffix}")
    path.write_bytes(data.tobytes())
    return path
