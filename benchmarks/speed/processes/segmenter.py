"""Times one exported model stage by stage through ``Segmenter``, in a process of its own; prints one JSON object.

Separate because PyTorch, once loaded, keeps threads that take time from ONNX Runtime's: a model that is built and timed
in the same process looks slower than it is. This process loads the run time and not PyTorch. The machine's own rate of
matrix products is taken just before and just after the frames, because clocks of shared machines drift by some per cent
from minute to minute.
"""

from __future__ import annotations

import json
import sys
import time
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence
from pathlib import Path
from statistics import mean

import numpy as np
from numpy.typing import NDArray

from benchmarks.command import add_timing_options, run_command
from benchmarks.records.machine import machine_facts, peak_memory_mb
from benchmarks.records.other_work import OtherWork
from benchmarks.speed.first_label import first_label
from benchmarks.speed.flops import graph_flops
from benchmarks.speed.gemm_rate import gemm_gflops
from benchmarks.speed.timing import repeat, summaries, synthetic_frames
from ifseg_rt import Segmenter
from ifseg_rt.cli.values import parse_size


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = ArgumentParser(
        prog="python -m benchmarks.speed.processes.segmenter",
        description=__doc__,
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", type=Path, help="model.onnx or model.engine with its sidecar")
    add_timing_options(parser)
    parser.add_argument("--device", default="cpu", help="auto, cpu or cuda")
    parser.add_argument("--no-refine", action="store_true", help="without the kNN refinement")
    parser.add_argument("--bare", action="store_true", help="only the frames: no matrix products, no operation count")
    return run_command(parser, _time, argv)


def _time(options: Namespace) -> None:
    height, width = parse_size(options.frame)
    started = {} if options.bare else first_label(options.model, (height, width), options.threads)
    rates = [] if options.bare else [gemm_gflops(options.threads)]
    frames = synthetic_frames(height, width)
    opening = time.perf_counter()
    with Segmenter(
        options.model, threads=options.threads, device=options.device, refine=not options.no_refine
    ) as segmenter:
        load_ms = 1e3 * (time.perf_counter() - opening)

        def one(frame: NDArray[np.uint8]) -> dict[str, float]:
            timings = dict(segmenter(frame).timings)
            # The name of this stage until there was more to it than up-sampling.
            return {"labels" if stage == "upsampling" else stage: value for stage, value in timings.items()}

        with OtherWork() as others:
            stages = repeat(one, frames, options.runs, options.warmup, options.seconds)
        artifact, device, refined = segmenter.artifact, segmenter.device, segmenter.refinement is not None
    peak = peak_memory_mb()
    if not options.bare:
        rates.append(gemm_gflops(options.threads))
    counted = None if options.bare or options.model.suffix != ".onnx" else graph_flops(options.model, options.threads)
    record = {
        "name": artifact.name,
        "categories": len(artifact.categories),
        "size": f"{artifact.preprocess.height}x{artifact.preprocess.width}",
        "frame": f"{height}x{width}",
        "precision": artifact.precision,
        "refinement": refined,
        "model_mb": round(sum(file.bytes for file in artifact.files) / 1e6, 1),
        "device": device,
        "threads": options.threads,
        "runs": len(stages["total"]),
        "load_ms": round(load_ms, 1),
        **started,
        "stages_ms": summaries(stages),
        "peak_rss_mb": peak,
        "gemm_gflops": round(mean(rates), 1) if rates else None,
        "graph_gflop": counted,
        "other_cores": others.cores,
        "machine": machine_facts(),
    }
    sys.stdout.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    sys.exit(main())
