"""``python -m export.to_onnx``: from a checkpoint to ``model.onnx`` and its sidecar, checked against the model."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from export.arguments import (
    add_model_arguments,
    default_target,
    given,
    load_checkpoint,
)
from ifseg_rt.cli.exit_codes import parse, run_command
from ifseg_rt.cli.values import parse_batch, parse_size

_DEFAULT_SIZE = "512"

_EPILOG = """\
standard output: one line of JSON: artifact, sidecar, bytes, size, grid, categories and the parity report
(largest logit difference, share of equal labels, worst picture and class).

exit codes:
  1  the output cannot be written (a full disk), or a bug
  0  done                                              6  the export failed or computes something else
  2  invalid arguments                                 7  checkpoint missing, foreign or unfit
  3  pictures of the parity check missing or broken    8  categories missing, duplicate or unknown
  130 interrupted, 143 terminated (nothing is written)
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code; never raises for anything a user can meet."""
    return run_command(lambda given: _run(parse(_parser(), given)), arguments)


def _run(options: argparse.Namespace) -> None:
    from export.products.onnx_model import check_target, export_model
    from export.settings import ExportSettings

    smallest_batch, batch = parse_batch(options.batch)
    settings = ExportSettings(
        size=parse_size(options.size or _DEFAULT_SIZE),
        batch=batch,
        smallest_batch=smallest_batch,
        neighbours=given(options.neighbours, 3),
        rounds=given(options.rounds, 25),
        opset=options.opset,
        biases=options.biases,
        precision=options.precision,
        attention=options.attention,
        calibration=options.calibration,
        pictures=options.pictures,
    )
    settings.check()
    target = options.output or default_target(options.checkpoint, ".onnx")
    check_target(target, Path(options.checkpoint))

    def say(stage: str) -> None:
        if not options.quiet:
            sys.stderr.write(f"{stage} ...\n")
            sys.stderr.flush()

    loaded = load_checkpoint(options.checkpoint, options, say)
    if options.size is None and loaded.size is not None:
        settings = replace(settings, size=loaded.size)
    exported = export_model(loaded.model, target, settings, provenance=loaded.provenance, on_stage=say)
    total = sum(file.bytes for file in exported.artifact.files)
    if not options.quiet:
        sys.stderr.write(
            f"wrote {target} ({total / 1e6:.1f} MB) and its sidecar; labels agree on "
            f"{exported.report.label_agreement:.4%} of the pixels of {exported.report.pictures} pictures\n"
        )
        if (doubt := exported.report.doubt) is not None:
            sys.stderr.write(f"warning: {doubt}\n")
    result: dict[str, Any] = {
        "artifact": str(target),
        "sidecar": str(target.with_suffix(".json")),
        "bytes": total,
        "size": list(settings.size),
        "grid": list(exported.artifact.grid),
        "categories": len(exported.artifact.categories),
        "parity": exported.report.to_dict(),
    }
    sys.stdout.write(json.dumps(result, ensure_ascii=False) + "\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m export.to_onnx",
        description="Writes a model with its categories and its input size baked in: model.onnx and model.json.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("checkpoint", metavar="CKPT", help="ckpt.pt, an OFA checkpoint or folder, a hub id, or micro")
    parser.add_argument("-o", "--output", type=Path, metavar="PATH", help="the .onnx file (default: beside CKPT)")
    parser.add_argument(
        "--size", metavar="N|HxW", help="input size: 512 or 384x640 (default: as recorded by train.adapt, or 512)"
    )
    parser.add_argument(
        "--batch", default="1", metavar="N|A..B", help="pictures per call: a number, or any from A to B (default: 1)"
    )
    add_model_arguments(parser)
    parser.add_argument("--pictures", type=Path, metavar="DIR", help="compare on these pictures")
    parser.add_argument(
        "--calibration",
        type=Path,
        metavar="DIR",
        help="take int8_fp16's ranges from these pictures, not synthetic ones",
    )
    parser.add_argument(
        "--opset",
        type=int,
        metavar="N",
        help="ONNX operator set: 18 to 23 (default: the lowest that serves: 20; bf16: 22; fused attention: 23)",
    )
    parser.add_argument(
        "--precision",
        choices=("fp32", "fp16", "bf16", "int8", "int8_fp16"),
        default="fp32",
        help="of weights and matrix products: int8 is for CPUs; fp16, bf16 and int8_fp16 for GPUs (default: fp32)",
    )
    parser.add_argument(
        "--biases",
        choices=("auto", "factors", "tables"),
        default="auto",
        help="position biases as factors (auto: half the file) or as tables (for builders that fold nothing)",
    )
    parser.add_argument(
        "--attention",
        choices=("plain", "fused"),
        help="fused: one operator, faster on a CPU in ONNX Runtime 1.23 and later, unknown to others (default: plain)",
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="only errors on standard error")
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    return parser


if __name__ == "__main__":
    sys.exit(main())
