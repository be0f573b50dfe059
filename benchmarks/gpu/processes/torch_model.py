"""Times one way of running a model in PyTorch on a GPU, in a process of its own; prints one JSON object.

``plain`` is the specification as it stands, in half precision: the stand-in for the reference. ``compile`` is the same
through ``torch.compile``. ``frozen`` is the module that exports are written from, with all constants folded, the whole
frame recorded in a CUDA graph; ``frozen-kernels`` has this project's kernels around it in place of PyTorch's operators.
"""

from __future__ import annotations

import json
import sys
import time
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.command import add_timing_options, run_command
from benchmarks.gpu.items import TORCH_PATHS
from ifseg_rt.cli.values import parse_size

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from train.models.ofa.model import IFSegModel

HostCall = Callable[["NDArray[np.uint8]"], "NDArray[Any]"]
DeviceCall = Callable[["Tensor"], "Tensor"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = ArgumentParser(
        prog="python -m benchmarks.gpu.processes.torch_model",
        description=__doc__,
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument("checkpoint", help="ckpt.pt")
    parser.add_argument("--path", choices=TORCH_PATHS, default="plain", help="which way")
    parser.add_argument("--size", default="512", help="input size, 512 or 384x640")
    parser.add_argument("--precision", choices=("fp16", "fp32"), default="fp16", help="fp32 is for trying it out")
    parser.add_argument("--device", default="cuda", help="cpu is for trying it out")
    parser.add_argument("--labels", type=Path, help="write the labels of the first frame here (.npy)")
    add_timing_options(parser)
    return run_command(parser, _time, argv)


def _time(options: Namespace) -> None:
    import torch

    from benchmarks.speed.timing import repeat, summaries, synthetic_frames
    from train import load_model

    frame = parse_size(options.frame)
    frames = synthetic_frames(*frame)
    model = load_model(options.checkpoint).module
    beginning = time.perf_counter()
    host, device = _ways(model, options, frame)
    labels = host(frames[0])
    first_ms = 1e3 * (time.perf_counter() - beginning)
    if options.labels:
        np.save(options.labels, labels)

    def from_host(picture: NDArray[np.uint8]) -> dict[str, float]:
        host(picture)
        return {}

    def on_device(picture: Tensor) -> dict[str, float]:
        device(picture)
        if options.device == "cuda":
            torch.cuda.synchronize()
        return {}

    timing = (options.runs, options.warmup, options.seconds)
    host_ms = summaries(repeat(from_host, frames, *timing))["total"]
    there = [torch.from_numpy(picture).to(options.device) for picture in frames]
    device_ms = summaries(repeat(on_device, there, *timing))["total"]
    record: dict[str, Any] = {
        "host_ms": host_ms,
        "device_ms": device_ms,
        "ready_ms": round(first_ms, 1),
        "runs": options.runs,
        "precision": options.precision,
    }
    if options.device == "cuda":
        record["gpu_memory_mb"] = round(torch.cuda.max_memory_reserved() / 1e6, 1)
    sys.stdout.write(json.dumps(record) + "\n")


def _ways(model: IFSegModel, options: Namespace, frame: tuple[int, int]) -> tuple[HostCall, DeviceCall]:
    """How a frame on the host, and one on the device, become labels there."""
    import torch

    size = parse_size(options.size)
    if options.path in ("plain", "compile"):
        from benchmarks.speed.plain import PlainSegmenter

        dtype = torch.float16 if options.precision == "fp16" else torch.float32
        compiled = options.path == "compile"
        plain = PlainSegmenter(model, size, device=options.device, dtype=dtype, compiled=compiled)
        return lambda picture: plain(picture)[0], plain.on_device
    from benchmarks.gpu.frozen import FrozenFrame

    frozen = FrozenFrame(
        model,
        size,
        frame,
        device=options.device,
        precision=options.precision,
        our_kernels=options.path == "frozen-kernels",
    )
    return frozen.from_host, frozen.on_device


if __name__ == "__main__":
    sys.exit(main())
