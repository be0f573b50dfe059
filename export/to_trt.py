"""``python -m export.to_trt``: from a checkpoint or an exported model to a checked engine of TensorRT."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export.arguments import (
    add_model_arguments,
    default_target,
    given,
    load_checkpoint,
)
from ifseg_rt.cli.exit_codes import parse, run_command
from ifseg_rt.cli.values import parse_batch, parse_size
from ifseg_rt.errors import UsageError

if TYPE_CHECKING:
    from export.frozen.precision import Precision
    from export.products.engine import MadeEngine, Workbench
    from export.settings import ExportSettings

_DEFAULT_SIZE = "512"
_DEFAULT_PRECISION = "fp16"
# Baked into an exported model; only a checkpoint leaves them open.
_OF_CHECKPOINTS = (
    "size",
    "batch",
    "categories",
    "categories_file",
    "tokenizer",
    "neighbours",
    "rounds",
    "biases",
    "calibration",
)
# TensorRT wants fixed scales; the int8 of an exported model has them measured on every picture, for CPUs.
_IN_GRAPHS: dict[str, Precision] = {"fp16": "fp16", "bf16": "bf16", "fp32": "fp32", "int8": "int8_fp16"}

_EPILOG = """\
Beside MODEL.engine lie its sidecar MODEL.engine.json and the model it was built from, MODEL.onnx with MODEL.json,
from which `ifseg-rt rebuild` makes the engine again on another machine. The engine itself is a plain engine file.

standard output: one line of JSON per engine: engine, sidecar, onnx, bytes, runtime, version, compute capabilities,
precision, size, seconds, and the parity report: PyTorch against ONNX, and the engine against either where a GPU here
can run it.

exit codes:
  1  the output cannot be written (a full disk), or a bug
  0  done                                              6  export or build failed, or computes something else
  2  invalid arguments                                 7  checkpoint missing, foreign or unfit
  3  pictures of the parity check missing or broken    8  categories missing, duplicate or unknown
  4  exported model or its sidecar missing or unfit    130 interrupted, 143 terminated (of the engine at work nothing
  5  no TensorRT, or no GPU where one is needed            is written; those finished before it stay)
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code; never raises for anything a user can meet."""
    return run_command(lambda given: _run(parse(_parser(), given)), arguments)


def _run(options: argparse.Namespace) -> None:
    from ifseg_rt.cli.build_progress import make_progress
    from ifseg_rt.cli.console import Console
    from ifseg_rt.cli.rebuild import build_settings, chosen_machine
    from ifseg_rt.tensorrt.building.settings import resolve_targets
    from ifseg_rt.tensorrt.installed import find_tensorrt

    if options.debug:
        logging.basicConfig(stream=sys.stderr, format="%(name)s: %(message)s")
        logging.getLogger("ifseg_rt").setLevel(logging.DEBUG)
    console = Console(quiet=options.quiet)
    machine = chosen_machine(options)
    tensorrt = find_tensorrt(options.runtime, machine=machine)
    wishes = build_settings(options)
    resolve_targets(wishes, tensorrt, machine)  # known now, or after minutes of export
    progress = make_progress(quiet=options.quiet, say=console.note)

    from export.products.engine import Workbench

    bench = Workbench(tensorrt, machine, wishes, progress, lambda stage: console.note(f"{stage} ..."), console.note)
    from_onnx = Path(options.source).suffix.lower() == ".onnx"
    with progress:
        for made in [_from_onnx(options, bench)] if from_onnx else _from_checkpoint(options, bench):
            console.note(
                f"wrote {made.path} ({made.artifact.engine.bytes / 1e6:.1f} MB in {made.artifact.build.seconds:.1f} s) "
                f"and its sidecar, built from {made.onnx}"
            )
            sys.stdout.write(json.dumps(_result(made), ensure_ascii=False) + "\n")
            sys.stdout.flush()


def _from_onnx(options: argparse.Namespace, bench: Workbench) -> MadeEngine:
    from export.products.engine import check_engine_target, engine_from_onnx
    from ifseg_rt.artifact.sidecar import read_artifact

    onnx = Path(options.source)
    given = [name for name in _OF_CHECKPOINTS if getattr(options, name) is not None]
    if given:
        raise UsageError(
            f"--{given[0].replace('_', '-')} is baked into {onnx.name}; only a checkpoint leaves it open",
            hint="build the engine from the checkpoint: python -m export.to_trt ckpt.pt",
        )
    target = options.output or onnx.with_suffix(".engine")
    check_engine_target(target, onnx, with_model=False)
    precision = read_artifact(onnx).precision
    if precision not in _IN_GRAPHS.values():
        raise UsageError(
            f"{onnx.name} is {precision}, which is for CPUs; an engine needs {', '.join(_IN_GRAPHS.values())}",
            hint="build it from the checkpoint: python -m export.to_trt ckpt.pt --precision int8",
        )
    if options.precision is not None and _IN_GRAPHS[options.precision] != precision:
        raise UsageError(
            f"{onnx.name} is {precision}, and its engine will be; found --precision {options.precision}",
            hint=f"build it from the checkpoint: python -m export.to_trt ckpt.pt --precision {options.precision}",
        )
    return engine_from_onnx(onnx, target, options.pictures, bench)


def _from_checkpoint(options: argparse.Namespace, bench: Workbench) -> Iterator[MadeEngine]:
    from export.products.engine import check_engine_target, engine_from_model
    from export.settings import ExportSettings

    precision = _IN_GRAPHS[options.precision or _DEFAULT_PRECISION]
    sizes = list(dict.fromkeys(parse_size(text) for text in options.size or [_DEFAULT_SIZE]))
    smallest_batch, batch = parse_batch(options.batch or "1")
    settings = ExportSettings(
        size=sizes[0],
        batch=batch,
        smallest_batch=smallest_batch,
        neighbours=given(options.neighbours, 3),
        rounds=given(options.rounds, 25),
        biases=options.biases or "tables",
        precision=precision,
        calibration=options.calibration,
        pictures=options.pictures,
    )
    settings.check()
    target = options.output or default_target(options.source, ".engine")
    check_engine_target(target, Path(options.source))
    loaded = load_checkpoint(options.source, options, bench.on_stage)
    if options.size is None and loaded.size is not None:
        sizes = [loaded.size]
    for size in sizes:
        # The position biases depend on the size: every size is a graph and an engine of its own.
        own = target if len(sizes) == 1 else target.with_name(f"{target.stem}-{size[0]}x{size[1]}{target.suffix}")
        _note_replaced(own.with_suffix(".onnx"), settings, bench)
        yield engine_from_model(loaded.model, own, replace(settings, size=size), bench, provenance=loaded.provenance)


def _note_replaced(onnx: Path, settings: ExportSettings, bench: Workbench) -> None:
    """An exported model under the engine's name may be of another precision, and in use on its own."""
    from ifseg_rt.artifact.sidecar import read_artifact
    from ifseg_rt.errors import ArtifactError

    try:
        before = read_artifact(onnx).precision
    except ArtifactError:
        return
    if before != settings.precision:
        bench.on_note(f"{onnx} is {before} and will be replaced by the {settings.precision} model of the engine")


def _result(made: MadeEngine) -> dict[str, Any]:
    from ifseg_rt.cli.rebuild import summary

    return {
        **summary(made.path, made.artifact),
        "onnx": str(made.onnx),
        "parity": {"onnx": made.onnx_parity, "engine": made.engine_parity},
    }


def _parser() -> argparse.ArgumentParser:
    from ifseg_rt.cli.rebuild import add_build_arguments

    parser = argparse.ArgumentParser(
        prog="python -m export.to_trt",
        description="Builds an engine for NVIDIA GPUs from a checkpoint or from an exported model.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "source", metavar="MODEL", help="ckpt.pt, an OFA checkpoint or folder, a hub id, micro, or model.onnx"
    )
    parser.add_argument("-o", "--output", type=Path, metavar="PATH", help="the engine (default: beside MODEL)")
    build = parser.add_argument_group("the engine")
    build.add_argument(
        "--runtime",
        choices=("auto", "tensorrt", "tensorrt_rtx"),
        default="auto",
        help="auto takes TensorRT where it is installed and a GPU works, else TensorRT-RTX, which needs none",
    )
    add_build_arguments(build)
    graph = parser.add_argument_group("the graph, where MODEL is a checkpoint")
    graph.add_argument(
        "--precision",
        choices=tuple(_IN_GRAPHS),
        help="of weights and matrix products; int8: linear layers with fixed ranges, the rest in fp16 (default: fp16; "
        "of model.onnx its own)",
    )
    graph.add_argument(
        "--calibration", type=Path, metavar="DIR", help="take int8's ranges from these pictures, not synthetic ones"
    )
    graph.add_argument(
        "--size",
        nargs="+",
        metavar="N|HxW",
        help="input sizes, an engine each: 512 384x640 (default: as recorded by train.adapt, or 512)",
    )
    graph.add_argument(
        "--batch",
        metavar="N|A..B",
        help="pictures per call: a number, or any from A to B, fastest at B (default: 1; ifseg-rt runs single ones)",
    )
    add_model_arguments(graph)
    graph.add_argument(
        "--biases",
        choices=("tables", "factors", "auto"),
        help="position biases as tables, as factors or by size (default: tables, which the builder need not fold)",
    )
    parser.add_argument("--pictures", type=Path, metavar="DIR", help="compare on these pictures")
    parser.add_argument("-q", "--quiet", action="store_true", help="only errors on standard error")
    parser.add_argument("--debug", action="store_true", help="show tracebacks and what TensorRT says")
    return parser


if __name__ == "__main__":
    sys.exit(main())
