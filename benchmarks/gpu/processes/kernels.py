"""Times this project's kernels on a GPU against the time that moving their bytes once takes; prints one JSON object.

The floor is bytes read and written, each once, over the bandwidth of a large copy measured in the same process.
Launches are recorded in a CUDA graph of many, or the Python that starts them would be what is timed. Arrays of this
size stay in the GPU's cache from launch to launch, as they do within a frame: a kernel may come below the floor.
"""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.command import run_command
from ifseg_rt.host.refinement import softmax
from ifseg_rt.kernels.launches import Launch, plan_labels, plan_preprocess, plan_refine, plan_softmax
from ifseg_rt.upsampling.labels import resize_plane

if TYPE_CHECKING:
    from ifseg_rt.gpu.device import Gpu
    from ifseg_rt.gpu.memory import Memory

GRID, INPUT = (32, 32), (512, 512)
STORED_NEIGHBOURS, NEIGHBOURS, ROUNDS = 8, 3, 25
FRAMES = ((480, 640), (1080, 1920))
CLASSES = (12, 150)
_PATCHES = GRID[0] * GRID[1]
_LAUNCHES, _REPLAYS = 50, 7
_COPY_BYTES, _COPIES = 1 << 29, 20
_MEAN = _STD = (0.5, 0.5, 0.5)


@dataclass(frozen=True)
class Work:
    """One kernel on one shape.

    Attributes:
        kernel: its name, or several.
        shape: for people.
        bytes: that must be read and written at least.
    """

    kernel: str
    shape: str
    bytes: int
    classes: int = 0
    frame: tuple[int, int] = (0, 0)
    content: str = "smooth"


def works() -> list[Work]:
    """Return every kernel with the shapes that matter."""
    pixels = INPUT[0] * INPUT[1]
    found = []
    for height, width in FRAMES:
        # Bilinear reads four pixels per pixel that comes out, however large the frame is.
        read = min(3 * height * width, 4 * 3 * pixels)
        shape = f"{height}x{width} to {INPUT[0]}x{INPUT[1]} fp16"
        found.append(Work("preprocess", shape, read + 2 * 3 * pixels, frame=(height, width)))
    for classes in CLASSES:
        scores = 4 * _PATCHES * classes
        near = 4 * _PATCHES * STORED_NEIGHBOURS
        grid = f"{classes} x {GRID[0]}x{GRID[1]}"
        found.append(Work("softmax", grid, 2 * scores, classes))
        found.append(Work("refine", f"{grid}, {ROUNDS} rounds of {NEIGHBOURS}", 2 * scores + near, classes))
        for height, width in FRAMES:
            for content in ("smooth", "noise"):
                shape = f"{grid} to {height}x{width}, {content}"
                found.append(Work("labels", shape, scores + height * width, classes, (height, width), content))
    height, width = FRAMES[-1]
    classes = CLASSES[-1]
    scores = 4 * _PATCHES * classes
    moved = 3 * scores + 4 * _PATCHES * STORED_NEIGHBOURS + height * width
    shape = f"{classes} x {GRID[0]}x{GRID[1]} to {height}x{width}, smooth"
    found.append(Work("refine + labels", shape, moved, classes, (height, width)))
    return found


def arrays_of(work: Work, seed: int = 0) -> dict[str, NDArray[Any]]:
    """Return what a kernel reads: ``frame``, or ``logits``, ``planes`` and ``neighbours``."""
    random = np.random.default_rng(seed)
    if work.kernel == "preprocess":
        return {"frame": random.integers(0, 256, (*work.frame, 3), np.uint8)}
    logits = random.normal(0, 2, (_PATCHES, work.classes)).astype(np.float32)
    if work.content == "smooth":
        coarse = random.normal(0, 4, (work.classes, 5, 5)).astype(np.float32)
        logits = np.stack([resize_plane(plane, *GRID).ravel() for plane in coarse], axis=1)
    near = random.integers(0, _PATCHES, (_PATCHES, STORED_NEIGHBOURS)).astype(np.int32)
    near[:, 0] = np.arange(_PATCHES)  # a patch is its own nearest
    planes = np.ascontiguousarray(softmax(logits).T)
    return {"logits": np.ascontiguousarray(logits), "planes": planes, "neighbours": near}


def launches_of(work: Work, place: dict[str, int], shared_limit: int) -> Iterator[Launch]:
    """Yield what a work launches.

    Args:
        work: which.
        place: addresses of the arrays it reads, of ``out`` and of ``labels``.
        shared_limit: bytes of shared memory that a block may ask for.
    """
    height, width = work.frame
    if work.kernel == "preprocess":
        yield plan_preprocess(
            place["frame"],
            height,
            width,
            3 * width,
            swap=True,
            out=place["out"],
            out_height=INPUT[0],
            out_width=INPUT[1],
            mean=_MEAN,
            std=_STD,
            half=True,
        )
        return
    if work.kernel == "softmax":
        yield plan_softmax(place["logits"], _PATCHES, work.classes, planes=place["out"])
        return
    planes = place["planes"]
    if work.kernel.startswith("refine"):
        settings = (_PATCHES, work.classes, STORED_NEIGHBOURS, NEIGHBOURS, ROUNDS)
        yield plan_refine(planes, place["neighbours"], *settings, out=place["out"], shared_limit=shared_limit)
        planes = place["out"]
    if work.kernel.endswith("labels"):
        labels, wide = place["labels"], False
        yield plan_labels(planes, work.classes, *GRID, labels=labels, height=height, width=width, wide=wide)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = ArgumentParser(
        prog="python -m benchmarks.gpu.processes.kernels",
        description=__doc__,
        formatter_class=RawDescriptionHelpFormatter,
    )
    return run_command(parser, _time, argv)


def _time(options: Namespace) -> None:
    from ifseg_rt.gpu.device import Gpu

    gpu = Gpu()
    with gpu.current():
        bandwidth = _bandwidth(gpu)
        timed = []
        for work in works():
            found: dict[str, Any] = {"kernel": work.kernel, "shape": work.shape}
            try:
                milliseconds = _milliseconds(gpu, work)
                found |= {"ms": milliseconds, "floor_ms": 1e3 * work.bytes / bandwidth, "bytes": work.bytes}
            except Exception as error:  # the others still count
                found["failed"] = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            timed.append(found)
    sys.stdout.write(json.dumps({"bandwidth_gb_s": round(bandwidth / 1e9, 1), "kernels": timed}) + "\n")


def _bandwidth(gpu: Gpu) -> float:
    """Bytes per second, read and written, of a copy within the GPU."""
    source, target = gpu.allocate(_COPY_BYTES), gpu.allocate(_COPY_BYTES)
    gpu.copy(target.address, source.address, _COPY_BYTES)

    def copies() -> None:
        for _ in range(_COPIES):
            gpu.copy(target.address, source.address, _COPY_BYTES)

    return 2 * _COPY_BYTES * _COPIES / (_between_marks(gpu, copies) / 1e3)


def _milliseconds(gpu: Gpu, work: Work) -> float:
    kept: list[Memory] = []
    place = {}
    for name, array in arrays_of(work).items():
        memory, staging = gpu.allocate(array.nbytes), gpu.allocate_pinned(array.nbytes)
        np.copyto(staging.array(array.shape, array.dtype.type), array)
        gpu.copy(memory.address, staging.address, array.nbytes)
        gpu.synchronize()
        kept.append(memory)
        place[name] = memory.address
    out = max(2 * 3 * INPUT[0] * INPUT[1], 4 * _PATCHES * work.classes)
    for name, size in (("out", out), ("labels", max(1, work.frame[0] * work.frame[1]))):
        kept.append(gpu.allocate(size))
        place[name] = kept[-1].address
    launches = list(launches_of(work, place, gpu.shared_limit))
    for launch in launches:
        gpu.launch(launch)
    gpu.synchronize()

    def many() -> None:
        for launch in launches * _LAUNCHES:
            gpu.launch(launch)

    replay = gpu.record(many)
    try:
        replay.launch()
        found = sorted(_between_marks(gpu, replay.launch) for _ in range(_REPLAYS))
    finally:
        gpu.synchronize()
        replay.close()
    return found[_REPLAYS // 2] / _LAUNCHES


def _between_marks(gpu: Gpu, enqueued: Callable[[], None]) -> float:
    """Milliseconds that the GPU takes for what is enqueued."""
    gpu.synchronize()
    first = gpu.mark()
    enqueued()
    second = gpu.mark()
    gpu.synchronize()
    return gpu.milliseconds(first, second)


if __name__ == "__main__":
    sys.exit(main())
