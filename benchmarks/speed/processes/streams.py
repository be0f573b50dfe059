"""Times several ``Segmenter``\\ s at once, one per thread, as a robot with several cameras runs them; prints JSON.

Every stream has a model of its own and an equal share of the cores. ``frames_per_second`` is what all of them together
get done, the stages are those of single frames while the others run beside them.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.command import add_timing_options, run_command
from benchmarks.records.machine import machine_facts, peak_memory_mb, usable_cores
from benchmarks.records.other_work import OtherWork
from benchmarks.speed.timing import repeat, summaries, synthetic_frames
from ifseg_rt import Segmenter
from ifseg_rt.cli.values import parse_size, positive
from ifseg_rt.errors import DeviceError


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = ArgumentParser(
        prog="python -m benchmarks.speed.processes.streams",
        description=__doc__,
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", type=Path, help="model.onnx or model.engine with its sidecar")
    parser.add_argument("--streams", type=positive, default=2, help="how many at once")
    add_timing_options(parser)
    return run_command(parser, _time, argv)


def _time(options: Namespace) -> None:
    frame = parse_size(options.frame)
    threads = max(1, (options.threads or usable_cores()) // options.streams)
    segmenters = [Segmenter(options.model, threads=threads, device="cpu") for _ in range(options.streams)]
    frames = synthetic_frames(*frame)
    together = threading.Barrier(options.streams + 1)
    collected: list[dict[str, list[float]]] = []

    def stream(segmenter: Segmenter) -> None:
        def one(picture: NDArray[np.uint8]) -> dict[str, float]:
            segmenter(picture)
            return {}

        try:
            repeat(one, frames, 1, options.warmup)
            together.wait()
            collected.append(repeat(one, frames, options.runs, 0, options.seconds))
        except BaseException:
            together.abort()  # or the others would wait for this one for ever
            raise

    workers = [threading.Thread(target=stream, args=(segmenter,), daemon=True) for segmenter in segmenters]
    for worker in workers:
        worker.start()
    try:
        together.wait()
    except threading.BrokenBarrierError:
        raise DeviceError("a stream failed before the timing started", hint="its traceback stands above") from None
    started = time.perf_counter()
    with OtherWork() as others:
        for worker in workers:
            worker.join()
    seconds = time.perf_counter() - started
    if len(collected) < options.streams:
        raise DeviceError(f"{options.streams - len(collected)} of {options.streams} streams failed")
    totals = [value for stages in collected for value in stages["total"]]
    artifact = segmenters[0].artifact
    record = {
        "name": artifact.name,
        "categories": len(artifact.categories),
        "size": f"{artifact.preprocess.height}x{artifact.preprocess.width}",
        "frame": f"{frame[0]}x{frame[1]}",
        "precision": artifact.precision,
        "streams": options.streams,
        "threads": threads,
        "device": segmenters[0].device,
        "runs": len(totals),
        "frames_per_second": round(len(totals) / seconds, 3),
        "stages_ms": summaries({"total": totals}),
        "peak_rss_mb": peak_memory_mb(),
        "other_cores": others.cores,
        "machine": machine_facts(),
    }
    sys.stdout.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    sys.exit(main())
