"""``ifseg-rt rebuild``: its arguments, its run and what it says; ``python -m export.to_trt`` shares most of them."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from ifseg_rt.cli.build_progress import make_progress
from ifseg_rt.cli.console import Console
from ifseg_rt.errors import UsageError
from ifseg_rt.machine import Machine, require_gpu, this_machine
from ifseg_rt.options import DeviceChoice
from ifseg_rt.tensorrt.building.rebuild import model_and_engine, rebuild_engine
from ifseg_rt.tensorrt.building.settings import BuildSettings
from ifseg_rt.tensorrt.installed import WANTED
from ifseg_rt.tensorrt.schema import EngineArtifact
from ifseg_rt.tensorrt.sidecar import engine_sidecar_path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``ifseg-rt rebuild``."""
    parser.add_argument("model", type=Path, metavar="MODEL", help="model.onnx, or model.engine with its ONNX beside it")
    parser.add_argument("-o", "--output", type=Path, metavar="PATH", help="the engine (default: beside the model)")
    parser.add_argument(
        "--runtime", choices=WANTED, help="flavour of TensorRT (default: as the engine was built, or what works here)"
    )
    add_build_arguments(parser)
    parser.add_argument("-q", "--quiet", action="store_true", help="only warnings and errors on standard error")
    parser.add_argument("--debug", action="store_true", help="show tracebacks and what TensorRT says")


def add_build_arguments(parser: argparse._ActionsContainer) -> None:
    """Arguments about the engine itself, the same wherever one is built."""
    parser.add_argument(
        "--device", default="cuda:0", metavar="cuda:N", help="the GPU to build on and for (default: cuda:0)"
    )
    parser.add_argument(
        "--compute-capability",
        nargs="+",
        default=(),
        metavar="CC",
        help="GPUs to build for: current, all, or numbers like 8.6 8.9 (default: TensorRT-RTX all, TensorRT current)",
    )
    parser.add_argument(
        "--version-compatible", action="store_true", help="full TensorRT: an engine for later versions as well"
    )
    parser.add_argument(
        "--hardware-compatible",
        nargs="?",
        const="ampere_plus",
        default="none",
        choices=("ampere_plus", "same_compute_capability"),
        help="full TensorRT: an engine for other GPUs as well (without a value: ampere_plus)",
    )
    parser.add_argument("--workspace", type=int, metavar="MB", help="limit of the builder's scratch memory, in MiB")


def build_settings(options: argparse.Namespace) -> BuildSettings:
    """The wishes in parsed arguments of :func:`add_build_arguments`."""
    return BuildSettings(
        compute_capabilities=tuple(options.compute_capability),
        version_compatible=options.version_compatible,
        hardware_compatibility=options.hardware_compatible,
        workspace_mb=options.workspace,
    )


def chosen_machine(options: argparse.Namespace) -> Machine:
    """Facts of this machine with the GPU of ``--device``.

    Raises:
        UsageError: it names no GPU.
        DeviceError: this machine has GPUs, but not that one.
    """
    choice = DeviceChoice.parse(options.device)
    if choice.kind == "cpu":
        raise UsageError("engines are built for GPUs; --device cpu was asked for", hint="--device cuda:0")
    require_gpu(choice.kind, choice.index)
    return this_machine(choice.gpu)


def run(options: argparse.Namespace) -> int:
    """Carries out ``ifseg-rt rebuild``: one line of JSON on standard output, console on standard error.

    Returns:
        The exit code, 0.

    Raises:
        IfsegError: see :func:`rebuild_engine`; the class carries the exit code.
    """
    machine = chosen_machine(options)
    console = Console(quiet=options.quiet)
    wishes = build_settings(options)
    progress = make_progress(quiet=options.quiet, say=console.note)
    with progress:
        made = rebuild_engine(
            options.model,
            output=options.output,
            settings=None if wishes == BuildSettings() else wishes,
            runtime=options.runtime,
            machine=machine,
            progress=progress,
            on_note=console.note,
        )
    _, engine = model_and_engine(options.model, options.output)
    console.note(f"wrote {engine} ({made.engine.bytes / 1e6:.1f} MB in {made.build.seconds:.1f} s) and its sidecar")
    sys.stdout.write(json.dumps(summary(engine, made), ensure_ascii=False) + "\n")
    return 0


def summary(engine: Path, made: EngineArtifact) -> dict[str, Any]:
    """What the commands say about an engine on standard output."""
    build = made.build
    return {
        "engine": str(engine),
        "sidecar": str(engine_sidecar_path(engine)),
        "bytes": made.engine.bytes,
        "runtime": build.runtime,
        "version": build.version,
        "compute_capabilities": list(build.compute_capabilities) or "all",
        "precision": made.model.precision,
        "size": [made.model.preprocess.height, made.model.preprocess.width],
        "batch": made.model.batch,
        "smallest_batch": made.model.smallest_batch or made.model.batch,
        "categories": len(made.model.categories),
        "seconds": build.seconds,
    }
