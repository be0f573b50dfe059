"""Times ``Segmenter`` on a GPU, in a process of its own without PyTorch; prints one JSON object.

From a frame on the host to labels on the host, and from a frame on the GPU to labels that stay there.
"""

from __future__ import annotations

import json
import sys
import time
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.command import add_timing_options, run_command
from benchmarks.speed.timing import repeat, summaries, synthetic_frames
from ifseg_rt import Segmenter
from ifseg_rt.cli.values import parse_size

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ifseg_rt.gpu.device import Gpu


class CudaFrame:
    """A frame in GPU memory, offered as every array library does.

    Args:
        gpu: where it lies; its stream carries the upload.
        picture: ``H x W x 3`` uint8.
    """

    def __init__(self, gpu: Gpu, picture: NDArray[np.uint8]) -> None:
        self._gpu, self._shape = gpu, picture.shape
        self._memory, staging = gpu.allocate(picture.nbytes), gpu.allocate_pinned(picture.nbytes)
        np.copyto(staging.array(picture.shape, np.uint8), picture)
        gpu.copy(self._memory.address, staging.address, picture.nbytes)
        gpu.synchronize()

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        address = (self._memory.address, False)
        return {"shape": self._shape, "typestr": "|u1", "data": address, "strides": None, "version": 3}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = ArgumentParser(
        prog="python -m benchmarks.gpu.processes.segmenter",
        description=__doc__,
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", type=Path, help="model.onnx or model.engine")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or tensorrt")
    parser.add_argument("--labels", type=Path, help="write the labels of the first frame here (.npy)")
    parser.add_argument("--against", type=Path, help="compare these labels with those of this model.onnx on the CPU")
    add_timing_options(parser)
    return run_command(parser, _time, argv)


def _time(options: Namespace) -> None:
    frames = synthetic_frames(*parse_size(options.frame))
    beginning = time.perf_counter()
    with Segmenter(options.model, device=options.device) as segmenter:
        labels = segmenter(frames[0]).labels

        def from_host(picture: NDArray[np.uint8]) -> dict[str, float]:
            segmenter(picture)
            return {}

        record: dict[str, Any] = {
            "ready_ms": round(1e3 * (time.perf_counter() - beginning), 1),
            "runs": options.runs,
            "runs_on": segmenter.device,
            "fallback_reason": segmenter.fallback_reason,
            "precision": segmenter.artifact.precision,
        }
        timing = (options.runs, options.warmup, options.seconds)
        record["host_ms"] = summaries(repeat(from_host, frames, *timing))["total"]
        if segmenter.device != "cpu":
            record |= _on_device(segmenter, frames, timing)
    if options.labels:
        np.save(options.labels, labels)
    if options.against:
        with Segmenter(options.against, device="cpu") as other:
            record["label_agreement"] = round(float((other(frames[0]).labels == labels).mean()), 5)
    sys.stdout.write(json.dumps(record) + "\n")


def _on_device(
    segmenter: Segmenter, frames: Sequence[NDArray[np.uint8]], timing: tuple[int, int, float | None]
) -> dict[str, Any]:
    """Frames that are on the GPU already; why not, where this segmenter works around the host."""
    try:
        from ifseg_rt.gpu.device import Gpu

        gpu = Gpu()
        with gpu.current():
            there = [CudaFrame(gpu, picture) for picture in frames]

        def on_device(picture: CudaFrame) -> dict[str, float]:
            # The caller's stream: the result is there when it is done, as for a caller who goes on working on the GPU.
            segmenter.on_device(picture, stream=gpu.stream_address)
            with gpu.current():
                gpu.synchronize()
            return {}

        return {"device_ms": summaries(repeat(on_device, there, *timing))["total"]}
    except Exception as error:  # the way over the host was measured and shall be kept
        return {"device_failed": str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__}


if __name__ == "__main__":
    sys.exit(main())
