"""Everything about an NVIDIA GPU in one command: ``python -m benchmarks.gpu`` from a fresh clone.

Frames along every path (plain PyTorch fp16 as the reference, torch.compile, the frozen module in a CUDA graph without
and with our kernels, ONNX Runtime CUDA, TensorRT and TensorRT-RTX in fp16 and int8), from host to host and on the GPU;
whether each TensorRT runs on this GPU at all; our kernels against their floor; and the adaptation of base. Models have
random weights, so nothing is downloaded. Every item runs in a process of its own; one that fails is recorded with its
reason and stops nothing. One JSON line per item goes to ``--out``; what is there already is not measured again, so that
a run that was cut short goes on. The tables go to stdout as Markdown.

Needs: pip install -c constraints.txt ".[train,export,rtx,gpu]" (or tensorrt in place of rtx), not beside the extras cpu
or dev: those bring ONNX Runtime for the CPU, whose files take the place of the GPU's. What is missing costs its own
lines of the table only. Without network: benchmarks/README.md.
"""

from __future__ import annotations

import math
import sys
import tempfile
import time
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence
from pathlib import Path

from benchmarks.command import add_timing_options, run_command
from benchmarks.gpu.items import KINDS, PATHS, Item, plan
from benchmarks.gpu.measure import GpuMeasurements
from benchmarks.gpu.tables import adaptation_table, gpu_table, kernel_table
from benchmarks.records.store import RESULTS, RecordFile, failed
from benchmarks.records.tables import machines
from ifseg_rt.cli.values import parse_size, positive
from ifseg_rt.errors import DeviceError
from ifseg_rt.machine import Machine, this_machine

_MODELS = ("tiny", "base", "large")
_SIZES = ("512", "384x640")
_CLASSES = (12, 150)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; 5 where there is no GPU."""
    parser = ArgumentParser(
        prog="python -m benchmarks.gpu", description=__doc__, formatter_class=RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--model", nargs="+", default=list(_MODELS), help="OFA sizes: tiny, medium, base, large, huge; micro; mini")
    add("--size", nargs="+", default=list(_SIZES), help="input sizes, 512 or 384x640")
    add("--classes", nargs="+", type=positive, default=list(_CLASSES), help="numbers of categories")
    add("--path", nargs="+", choices=PATHS, default=list(PATHS), help="ways of running a frame")
    add("--item", nargs="+", choices=KINDS, default=list(KINDS), help="what to measure")
    add_timing_options(parser)
    parser.set_defaults(runs=100, warmup=10)
    add("--full", action="store_true", help="adapt all 2000 steps instead of timing 50")
    add("--minutes", type=float, help="give up what is not done after so many minutes; the next run goes on from there")
    add("--timeout", type=float, default=600, help="seconds after which one process is given up")
    add("--out", type=Path, default=RESULTS / "gpu.jsonl", help="JSON lines")
    add("--again", action="store_true", help="measure what the file has already")
    add("--keep", type=Path, help="keep the models made here in this folder, and use those that are in it")
    add("--list", action="store_true", help="only say what would be measured; needs no GPU")
    return run_command(parser, _measure, argv)


def items_of(options: Namespace) -> list[Item]:
    """Return what the options ask for.

    Raises:
        UsageError: an invalid size.
    """
    sizes = [parse_size(text) for text in options.size]
    return plan(options.model, sizes, options.classes, options.path, options.item, parse_size(options.frame))


def require_gpu(machine: Machine) -> str:
    """Return the GPU in one line.

    Raises:
        DeviceError: there is none that works.
    """
    gpu = machine.gpu
    if gpu is None:
        raise DeviceError(
            f"this benchmark needs an NVIDIA GPU: {machine.reason}", hint="python -m benchmarks.gpu --list"
        )
    driver = f", driver {gpu.driver}" if gpu.driver else ""
    return f"{gpu.name}, compute capability {gpu.compute_capability}{driver}, CUDA {gpu.cuda}"


def _measure(options: Namespace) -> None:
    items = items_of(options)
    if options.list:
        sys.stdout.write("".join(f"{item.label()}\n" for item in items))
        return
    machine = this_machine()
    title = require_gpu(machine)
    name = machine.gpu.name if machine.gpu else ""
    store = RecordFile(options.out, again=options.again)
    deadline = math.inf if options.minutes is None else time.monotonic() + 60 * options.minutes
    left = 0
    with tempfile.TemporaryDirectory(prefix="ifseg-rt-") as scratch:
        measurements = GpuMeasurements(options.keep or Path(scratch), options, machine, title, deadline)
        measurements.learn(store.records())
        for number, item in enumerate(items, 1):
            key = item.key(name)
            if store.has(key):
                sys.stderr.write(f"[{number}/{len(items)}] {item.label()}: already in {store.path}\n")
                continue
            if time.monotonic() >= deadline:
                left += 1
                continue
            sys.stderr.write(f"[{number}/{len(items)}] {item.label()} ...\n")
            record = measurements.measure(item, key)
            if record is None:
                left += 1
                continue
            if failed(record):
                sys.stderr.write(f"  failed: {record['failed']}\n")
            store.add(record)
            measurements.learn([record])
    wanted = [item.key(name) for item in items]
    found = [record for record in store.records() if record.get("key") in wanted]
    parts = (gpu_table(found), kernel_table(found), adaptation_table(found), machines(found))
    sys.stdout.write("\n".join(part for part in parts if part))
    if left:
        sys.stderr.write(f"{left} items are left: run the same command again\n")
