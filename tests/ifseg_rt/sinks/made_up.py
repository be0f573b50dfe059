"""Made-up sources and results, and what a finished video holds for other programs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ifseg_rt.result import Result
from ifseg_rt.sources.base import Event, Frame


@dataclass
class MadeUpSource:
    """A source of which only the description matters."""

    path: Path | None
    is_still: bool = True
    is_live: bool = False
    fps: float | None = None
    total: int | None = None

    @property
    def name(self) -> str:
        return str(self.path) if self.path is not None else "camera 0"

    @property
    def stem(self) -> str:
        return self.path.stem if self.path is not None else "camera_0"

    def open(self) -> None:
        pass

    def items(self) -> Iterator[Frame | Event]:
        return iter(())

    def close(self) -> None:
        pass


def result_of(labels: np.ndarray, categories: int = 3) -> Result:
    names = tuple(f"c{index}" for index in range(categories))
    colors = tuple((index % 256, 10, 20) for index in range(categories))
    return Result(labels, np.zeros((categories, 2, 2), np.float32), names, colors, timings={"total": 1.0})


def feed(
    sink: Any, times: list[float | None], size: tuple[int, int] = (48, 64), first: int = 0
) -> list[dict[str, str]]:
    """Write one grey picture for every time; frame ``i`` has the grey level ``10 + 4 i`` and the label ``i % 3``."""
    written = []
    for index, time in enumerate(times, first):
        picture = np.full((*size, 3), 10 + 4 * index % 240, np.uint8)
        result = result_of(np.full(size, index % 3, np.uint8))
        written.append(sink.write(Frame(picture, index, time=time), result, picture if sink.draws else None))
    return written


def seen(path: Path) -> tuple[list[float], list[int], tuple[int, int]]:
    """Times in seconds, frame numbers by their grey level, and width and height of a video, as PyAV reads it."""
    import av

    with path.open("rb") as file, av.open(file) as container:
        frames = [(frame.time, frame.to_ndarray(format="gray")) for frame in container.decode(video=0)]
    numbers = [round((float(grey.mean()) - 10) / 4) for _, grey in frames]
    return [float(time or 0.0) for time, _ in frames], numbers, frames[0][1].shape[::-1]


def count_by_opencv(path: Path) -> int:
    capture, count = cv2.VideoCapture(str(path)), 0
    while capture.read()[0]:
        count += 1
    return count
