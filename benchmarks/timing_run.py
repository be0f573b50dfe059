"""Times one exported model stage by stage, in a process of its own, and prints one JSON object.

Separate because PyTorch, once loaded, keeps threads that take time from ONNX Runtime's: a model that is built and timed
in the same process looks slower than it is. This process loads the run time and not PyTorch.
"""

from __future__ import annotations

import json
import sys
import time
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.command import run_command
from benchmarks.machine import load_average, machine_facts, peak_memory_mb
from ifseg_rt import Segmenter
from ifseg_rt.errors import UsageError
from train.image_size import parse_size

# Frames in turn: one frame over and over would stay in the processor's caches, which a camera's never does.
_DIFFERENT_FRAMES = 4


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = ArgumentParser(
        prog="python -m benchmarks.timing_run", description=__doc__, formatter_class=RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path, help="model.onnx with its sidecar")
    parser.add_argument("--label", help="name of the model in the record (default: the artifact's)")
    parser.add_argument("--frame", default="480x640", help="frame size, height x width")
    parser.add_argument("--frames", type=int, default=50, help="timed frames")
    parser.add_argument("--warmup", type=int, default=5, help="frames before the timing starts")
    parser.add_argument("--threads", type=int, help="threads of the inference run time (default: its own choice)")
    parser.add_argument("--no-refine", action="store_true", help="without the kNN refinement")
    return run_command(parser, _time, argv)


def synthetic_frames(height: int, width: int, count: int, seed: int = 0) -> list[NDArray[np.uint8]]:
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
    """Return median, 95th percentile and minimum, rounded to a microsecond."""
    values = np.asarray(milliseconds, np.float64)
    return {
        "median": round(float(np.median(values)), 3),
        "p95": round(float(np.percentile(values, 95)), 3),
        "min": round(float(values.min()), 3),
    }


def _time(options: Namespace) -> None:
    if options.frames < 1 or options.warmup < 0:
        raise UsageError(f"--frames {options.frames} --warmup {options.warmup}: expected at least 1 and 0")
    height, width = parse_size(options.frame)
    frames = synthetic_frames(height, width, _DIFFERENT_FRAMES)
    opening = time.perf_counter()
    with Segmenter(options.model, threads=options.threads, refine=not options.no_refine) as segmenter:
        opened = time.perf_counter()
        segmenter(frames[0])
        first = time.perf_counter()
        for index in range(options.warmup):
            segmenter(frames[index % len(frames)])
        load_before = load_average()
        stages: dict[str, list[float]] = {}
        for index in range(options.frames):
            frame = frames[index % len(frames)]
            started = time.perf_counter()
            timings = dict(segmenter(frame).timings)
            timings["total"] = 1e3 * (time.perf_counter() - started)  # the whole call, as the caller waits for it
            for stage, value in timings.items():
                stages.setdefault(stage, []).append(value)
        artifact, device = segmenter.artifact, segmenter.device
    record = {
        "benchmark": "stages",
        "model": options.label or artifact.name,
        "categories": len(artifact.categories),
        "size": f"{artifact.preprocess.height}x{artifact.preprocess.width}",
        "frame": f"{height}x{width}",
        "precision": artifact.precision,
        "refinement": not options.no_refine,
        "model_mb": round(sum(file.bytes for file in artifact.files) / 1e6, 1),
        "device": device,
        "threads": options.threads,
        "frames": options.frames,
        "open_ms": round(1e3 * (opened - opening), 1),
        "first_frame_ms": round(1e3 * (first - opened), 1),
        "stages_ms": {stage: summary(values) for stage, values in stages.items()},
        "peak_rss_mb": peak_memory_mb(),
        "load_before": load_before,
        "machine": machine_facts(),
    }
    sys.stdout.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    sys.exit(main())
