"""Latency of a frame, stage by stage: ``python -m benchmarks.latency --model micro tiny base --threads 2``.

Times do not depend on what the weights say: ``tiny``, ``base`` and the other OFA sizes are built with random weights,
so nothing has to be downloaded. Every measurement runs in a process of its own, so that PyTorch and ONNX Runtime never
share one. One JSON line per measurement goes to ``--out``; what is in that file already is not measured again. Several
values of an option are combined with each other. ``--sweep`` varies one setting, for ``python -m benchmarks.plots``.
"""

from __future__ import annotations

import sys
import tempfile
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import get_args

from benchmarks.command import add_timing_options, run_command
from benchmarks.making.children import MeasurementError
from benchmarks.making.made_models import MadeModels
from benchmarks.records.machine import machine_name, usable_cores
from benchmarks.records.store import RESULTS, RecordFile
from benchmarks.records.tables import latency_tables
from benchmarks.speed.measurement import Measurement, Size, Way, carry_out, read_finished
from benchmarks.speed.sweeps import SWEEPS, Sweep, sweep_values
from ifseg_rt.cli.values import parse_size, positive
from ifseg_rt.errors import IfsegError, UsageError

_WAYS: dict[str, Way] = {"onnxruntime": "segmenter", "torch": "plain"}
_SWEPT_WAYS: dict[str, Way] = {"batch": "session", "streams": "streams"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    return run_command(_parser(), _measure, argv)


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="python -m benchmarks.latency", description=__doc__, formatter_class=RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--model", nargs="+", default=["micro"], help="micro, tiny, medium, base, large, huge, or a model.onnx")
    add("--backend", nargs="+", choices=list(_WAYS), default=["onnxruntime"], help="torch: the plain implementation")
    add("--precision", nargs="+", default=["fp32"], help="as python -m export.to_onnx --precision")
    add("--size", nargs="+", default=["512"], help="input sizes, 512 or 384x640")
    add("--classes", nargs="+", type=positive, default=[12], help="numbers of categories")
    add_timing_options(parser)
    add("--sweep", choices=list(get_args(Sweep)), help="vary this")
    add("--values", nargs="+", help="what the sweep goes through (default: see --help of benchmarks.plots)")
    add("--out", type=Path, help="JSON lines (default: latency.jsonl or sweeps.jsonl in benchmarks/results)")
    add("--again", action="store_true", help="measure what the file has already")
    add("--keep", type=Path, help="keep the models made here in this folder, and use those that are in it")
    add("--list", action="store_true", help="only say what would be measured")
    return parser


def plan(options: Namespace) -> list[Measurement]:
    """Return the measurements that the options ask for, every one once.

    Raises:
        UsageError: an invalid value.
        ArtifactError: a finished model that cannot be read.
    """
    frame = parse_size(options.frame)
    sizes = [parse_size(text) for text in options.size]
    grid = product(options.model, options.backend, options.precision, sizes, options.classes)
    found = [_one(*settings, frame, options.threads) for settings in grid]
    if options.sweep:
        values = sweep_values(options.sweep, options.values, usable_cores())
        way = _SWEPT_WAYS.get(options.sweep)
        field = SWEEPS[options.sweep].field
        if way and "torch" in options.backend:
            raise UsageError(f"the plain implementation takes one frame at a time: no sweep over {options.sweep}")
        if field in ("size", "classes", "batch") and any(m.is_file for m in found):
            raise UsageError(f"a finished model has its {options.sweep} baked in", hint="name a model to make: micro")
        found = [replace(m, **({"way": way} if way else {}), **{field: value}) for m in found for value in values]
    elif options.values:
        raise UsageError("--values goes with --sweep")
    return list(dict.fromkeys(found))


def _one(
    model: str, backend: str, precision: str, size: Size, classes: int, frame: Size, threads: int | None
) -> Measurement:
    settings = {"precision": precision, "size": size, "classes": classes}
    if model.endswith(".onnx"):
        settings = read_finished(model)
    return Measurement(way=_WAYS[backend], model=model, frame=frame, threads=threads, **settings)


def _measure(options: Namespace) -> None:
    measurements = plan(options)
    if options.list:
        sys.stdout.write("".join(f"{measurement.label()}\n" for measurement in measurements))
        return
    out = options.out or RESULTS / ("sweeps.jsonl" if options.sweep else "latency.jsonl")
    store = RecordFile(out, again=options.again)
    failures = 0
    with tempfile.TemporaryDirectory(prefix="ifseg-rt-") as scratch:
        models = MadeModels(options.keep or Path(scratch))
        for measurement in measurements:
            failures += not _one_record(measurement, models, store, options)
    wanted = [measurement.key(machine_name()) for measurement in measurements]
    sys.stdout.write(latency_tables([record for record in store.records() if record.get("key") in wanted]))
    if failures:
        raise IfsegError(f"{failures} of {len(measurements)} measurements failed", hint="run it again to retry them")


def _one_record(measurement: Measurement, models: MadeModels, store: RecordFile, options: Namespace) -> bool:
    """Carry out one measurement unless it is there; ``False`` when it failed, which is recorded too."""
    key = measurement.key(machine_name())
    if store.has(key):
        sys.stderr.write(f"{measurement.label()}: already in {store.path}\n")
        return True
    sys.stderr.write(f"{measurement.label()} ...\n")
    try:
        record = carry_out(
            measurement,
            models,
            runs=options.runs,
            warmup=options.warmup,
            seconds=options.seconds,
            keep=options.keep is not None,
        )
    except MeasurementError as error:
        sys.stderr.write(f"  failed: {error}\n")
        store.add({"benchmark": "latency", "key": key, "failed": str(error)})
        return False
    store.add({"key": key, **record})
    return True


if __name__ == "__main__":
    sys.exit(main())
