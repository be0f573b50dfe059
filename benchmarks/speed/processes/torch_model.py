"""Times the plain PyTorch implementation stage by stage, in a process of its own; prints one JSON object."""

from __future__ import annotations

import json
import sys
import time
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence
from pathlib import Path

from benchmarks.command import add_timing_options, run_command
from ifseg_rt.cli.values import parse_size

DTYPES = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = ArgumentParser(
        prog="python -m benchmarks.speed.processes.torch_model",
        description=__doc__,
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument("checkpoint", help="an adapted ckpt.pt")
    parser.add_argument("--size", default="512", help="input size, 512 or 384x640")
    parser.add_argument("--precision", choices=sorted(DTYPES), default="fp32", help="of weights and arithmetic")
    add_timing_options(parser)
    return run_command(parser, _time, argv)


def _time(options: Namespace) -> None:
    import torch

    from benchmarks.records.machine import machine_facts, peak_memory_mb
    from benchmarks.records.other_work import OtherWork
    from benchmarks.speed.plain import PlainSegmenter
    from benchmarks.speed.timing import repeat, summaries, synthetic_frames
    from train import load_model

    if options.threads is not None:
        torch.set_num_threads(options.threads)
    size, frame = parse_size(options.size), parse_size(options.frame)
    opening = time.perf_counter()
    model = load_model(options.checkpoint).module
    plain = PlainSegmenter(model, size, dtype=getattr(torch, DTYPES[options.precision]))
    load_ms = 1e3 * (time.perf_counter() - opening)
    with OtherWork() as others:
        stages = repeat(
            lambda picture: plain(picture)[1], synthetic_frames(*frame), options.runs, options.warmup, options.seconds
        )
    record = {
        "name": model.config.name,
        "categories": len(model.category_embedding),
        "size": f"{size[0]}x{size[1]}",
        "frame": f"{frame[0]}x{frame[1]}",
        "precision": options.precision,
        "model_mb": round(Path(options.checkpoint).stat().st_size / 1e6, 1),
        "parameters_m": round(sum(p.numel() for p in model.parameters()) / 1e6, 1),
        "device": "cpu",
        "threads": options.threads,
        "runs": len(stages["total"]),
        "load_ms": round(load_ms, 1),
        "stages_ms": summaries(stages),
        "peak_rss_mb": peak_memory_mb(),
        "other_cores": others.cores,
        "machine": machine_facts(),
    }
    sys.stdout.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    sys.exit(main())
