"""Times any ONNX file in ONNX Runtime, from a batch of pictures to labels at frame size; prints one JSON object.

In a process of its own, for what ``Segmenter`` does not take: models for batches, and other people's models. The file
has one input ``[B, 3, H, W]``; its first output, class scores ``[B, C, h, w]``, is up-sampled with this project's own
label step, which is many times faster than up-sampling every class.
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

from benchmarks.command import add_timing_options, run_command
from benchmarks.records.machine import machine_facts, peak_memory_mb
from benchmarks.records.other_work import OtherWork
from benchmarks.speed.flops import graph_flops
from benchmarks.speed.gemm_rate import gemm_gflops
from benchmarks.speed.timing import repeat, summaries, synthetic_frames
from ifseg_rt.cli.values import parse_size
from ifseg_rt.upsampling.labels import upsample_labels

_ERRORS_ONLY = 3


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = ArgumentParser(
        prog="python -m benchmarks.speed.processes.session",
        description=__doc__,
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", type=Path, help="the .onnx file")
    add_timing_options(parser)
    return run_command(parser, _time, argv)


def _time(options: Namespace) -> None:
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = _ERRORS_ONLY
    if options.threads is not None:
        settings.intra_op_num_threads = options.threads
        settings.inter_op_num_threads = 1
    rate = gemm_gflops(options.threads)
    opening = time.perf_counter()
    session = onnxruntime.InferenceSession(str(options.model), settings, providers=["CPUExecutionProvider"])
    load_ms = 1e3 * (time.perf_counter() - opening)
    entry, scores = session.get_inputs()[0], session.get_outputs()[0].name
    batch, _, height, width = entry.shape
    frame = parse_size(options.frame)

    def one(picture: NDArray[np.uint8]) -> dict[str, float]:
        started = time.perf_counter()
        resized = cv2.resize(picture, (width, height), interpolation=cv2.INTER_LINEAR)[:, :, ::-1]
        planes = np.ascontiguousarray(resized.transpose(2, 0, 1), np.float32) / 127.5 - 1
        images = np.repeat(planes[None], batch, axis=0)
        prepared = time.perf_counter()
        answers = session.run([scores], {entry.name: images})[0]
        inferred = time.perf_counter()
        for answer in answers:
            upsample_labels(answer, *frame)
        labelled = time.perf_counter()
        marks = (started, prepared, inferred, labelled)
        return {
            name: 1e3 * (end - begin)
            for name, begin, end in zip(("preprocess", "inference", "labels"), marks, marks[1:], strict=False)
        }

    with OtherWork() as others:
        stages = repeat(one, synthetic_frames(*frame), options.runs, options.warmup, options.seconds)
    peak = peak_memory_mb()
    rates = (rate, gemm_gflops(options.threads))
    data = options.model.with_name(options.model.name + ".data")
    record = {
        "size": f"{height}x{width}",
        "frame": f"{frame[0]}x{frame[1]}",
        "batch": batch,
        "model_mb": round(sum(p.stat().st_size for p in (options.model, data) if p.is_file()) / 1e6, 1),
        "device": "cpu",
        "threads": options.threads,
        "runs": len(stages["total"]),
        "load_ms": round(load_ms, 1),
        "stages_ms": summaries(stages),
        "peak_rss_mb": peak,
        "gemm_gflops": round(sum(rates) / 2, 1),
        "graph_gflop": graph_flops(options.model, options.threads),
        "other_cores": others.cores,
        "machine": machine_facts(),
    }
    sys.stdout.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    sys.exit(main())
