"""Times of every stage of a frame, for several models: ``python -m benchmarks.stages --model micro tiny base``.

Times do not depend on what the weights say: ``tiny``, ``base`` and the other OFA sizes are built with random weights,
so nothing has to be downloaded. Each model is made, exported by the product's own command and timed in a process of its
own. One JSON line per measurement goes to ``--out``; the table, beside the reference's times, to stdout.
"""

from __future__ import annotations

import json
import sys
import tempfile
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.command import run_command
from benchmarks.product import export, run_step
from benchmarks.report import REFERENCE, read_records, stage_table
from ifseg_rt.errors import UsageError


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit code is that of the failing step."""
    parser = ArgumentParser(
        prog="python -m benchmarks.stages", description=__doc__, formatter_class=RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--model",
        nargs="+",
        default=["micro", "tiny", "base"],
        help="micro, an OFA size (tiny, medium, base, large, huge), or a finished model.onnx",
    )
    parser.add_argument("--size", default="512", help="input size of the models made here, 512 or 384x640")
    parser.add_argument("--categories", type=int, default=12, help="how many categories the models made here have")
    parser.add_argument("--frame", default="480x640", help="frame size, height x width")
    parser.add_argument("--frames", type=int, default=50, help="timed frames per model")
    parser.add_argument("--warmup", type=int, default=5, help="frames before the timing starts")
    parser.add_argument("--threads", type=int, help="threads of the inference run time (default: its own choice)")
    parser.add_argument("--out", type=Path, help="append one JSON line per measurement to this file")
    parser.add_argument("--reference", type=Path, default=REFERENCE, help="figures to compare with")
    return run_command(parser, _measure, argv)


def _measure(options: Namespace) -> None:
    if options.categories < 1:
        raise UsageError(f"--categories {options.categories}: expected at least one")
    reference = read_records(options.reference)[0]
    records: list[dict[str, Any]] = []
    for name in options.model:
        with tempfile.TemporaryDirectory() as folder:
            model = Path(name) if name.endswith(".onnx") else _make(name, Path(folder), options)
            record = _timed(model, name, options)
        records.append(record)
        if options.out:
            options.out.parent.mkdir(parents=True, exist_ok=True)
            with options.out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
    sys.stdout.write(stage_table(records, reference))


def _make(name: str, folder: Path, options: Namespace) -> Path:
    """Return a freshly exported model: the shipped weights for ``micro``, random ones for an OFA size."""
    checkpoint, model = folder / "ckpt.pt", folder / f"{name}.onnx"
    run_step("benchmarks.untrained", [name, "--categories", str(options.categories), "--out", str(checkpoint)])
    export(checkpoint, model, size=options.size)
    return model


def _timed(model: Path, name: str, options: Namespace) -> dict[str, Any]:
    arguments = [str(model), "--label", Path(name).stem, "--frame", options.frame]
    arguments += ["--frames", str(options.frames), "--warmup", str(options.warmup)]
    if options.threads is not None:
        arguments += ["--threads", str(options.threads)]
    record: dict[str, Any] = json.loads(run_step("benchmarks.timing_run", arguments, capture=True))
    return record


if __name__ == "__main__":
    sys.exit(main())
