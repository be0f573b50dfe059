"""How every benchmark times: the frames it feeds, the warm-up, and what it keeps of many repetitions."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

Prepared = TypeVar("Prepared")

# Frames in turn: one frame over and over would stay in the processor's caches, which a camera's never does.
DIFFERENT_FRAMES = 4
_FEWEST = 3


def synthetic_frames(height: int, width: int, count: int = DIFFERENT_FRAMES, seed: int = 0) -> list[NDArray[np.uint8]]:
    """Return ``count`` uint8 ``[height, width, 3]`` frames of coloured patches with fine grain, the same every time."""
    random = np.random.default_rng(seed)
    frames = []
    for _ in range(count):
        patches = random.integers(0, 256, (6, 8, 3)).astype(np.uint8)
        smooth = cv2.resize(patches, (width, height), interpolation=cv2.INTER_CUBIC).astype(np.int16)
        grain = random.integers(-12, 13, smooth.shape, np.int16)
        frames.append(np.clip(smooth + grain, 0, 255).astype(np.uint8))
    return frames


def summary(milliseconds: Sequence[float]) -> dict[str, float]:
    """Return median, 95th and 99th percentile and minimum, rounded to a microsecond."""
    values = np.asarray(milliseconds, np.float64)
    return {
        "median": round(float(np.median(values)), 3),
        "p95": round(float(np.percentile(values, 95)), 3),
        "p99": round(float(np.percentile(values, 99)), 3),
        "min": round(float(values.min()), 3),
    }


def repeat(
    call: Callable[[Prepared], Mapping[str, float]],
    inputs: Sequence[Prepared],
    runs: int,
    warmup: int,
    seconds: float | None = None,
) -> dict[str, list[float]]:
    """Call with the inputs in turn and collect every stage.

    Args:
        call: does one frame and returns the milliseconds of its stages; ``total`` is added as its caller waits for it.
        inputs: fed in turn.
        runs: timed calls, at least 1.
        warmup: calls before the timing starts.
        seconds: no further call is begun when the timed ones have taken so long, but at least three are made.

    Returns:
        Per stage the milliseconds of every timed call.
    """
    for index in range(warmup):
        call(inputs[index % len(inputs)])
    stages: dict[str, list[float]] = {}
    beginning = time.perf_counter()
    for index in range(runs):
        if seconds is not None and index >= _FEWEST and time.perf_counter() - beginning > seconds:
            break
        started = time.perf_counter()
        timings = dict(call(inputs[index % len(inputs)]))
        timings["total"] = 1e3 * (time.perf_counter() - started)
        for stage, value in timings.items():
            stages.setdefault(stage, []).append(value)
    return stages


def summaries(stages: Mapping[str, Sequence[float]]) -> dict[str, dict[str, float]]:
    """Return the summary of every stage."""
    return {stage: summary(values) for stage, values in stages.items()}
