"""Makes an engine again on the machine at hand, from its ONNX model: no torch, no onnx, no checkpoint.

This is ``ifseg-rt rebuild``. What the engine was built with before is taken from its sidecar, also where the engine
itself is missing or unfit; only what cannot apply here is changed.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ifseg_rt.artifact.sidecar import Artifact, read_artifact
from ifseg_rt.cli.console import Console
from ifseg_rt.errors import ArtifactError, DeviceError, ExportError, UsageError
from ifseg_rt.machine import Machine, require_gpu, this_machine
from ifseg_rt.options import DeviceChoice
from ifseg_rt.tensorrt.building.progress import BuildProgress, make_progress
from ifseg_rt.tensorrt.building.settings import CURRENT, BuildSettings
from ifseg_rt.tensorrt.building.write import move_into_place, write_engine
from ifseg_rt.tensorrt.installed import WANTED, TensorRt, find_tensorrt
from ifseg_rt.tensorrt.schema import EngineArtifact
from ifseg_rt.tensorrt.sidecar import ENGINE_SUFFIXES, engine_sidecar_path, read_engine_sidecar

_NOT_COMPARED = "it was built again where it runs; compare with: python -m export.to_trt model.onnx"


def rebuild_engine(
    path: str | Path,
    *,
    output: Path | None = None,
    settings: BuildSettings | None = None,
    runtime: str | None = None,
    machine: Machine | None = None,
    progress: BuildProgress | None = None,
    on_note: Callable[[str], None] = lambda note: None,
) -> EngineArtifact:
    """Builds an engine again; on any failure nothing is written and nothing that existed is touched.

    Args:
        path: the ONNX model, or the engine (which may be missing or damaged) with its ONNX model beside it.
        output: the engine to write; ``None`` for the one beside the model.
        settings: what is wished; ``None`` for what the engine's sidecar says it was built with.
        runtime: flavour of TensorRT; ``None`` for the one it was built with, where that is usable here.
        machine: facts of this machine; ``None`` to find them out.
        progress: told of the builder's phases.
        on_note: told what is decided on the way.

    Raises:
        ArtifactError: the model is missing or damaged, or is not the one that the engine was built from.
        DeviceError: no TensorRT is usable, or a GPU is needed and missing.
        UsageError: wishes that do not fit the flavour, or a path that cannot be meant.
        ExportError: the build failed.
    """
    path, machine = Path(path), machine or this_machine()
    onnx, engine = _places(path, output)
    before = _before(engine, on_note)
    model = read_artifact(onnx)
    if before is not None and path != onnx and (unlike := _first_other(before.model, model)) is not None:
        expected, found = unlike
        raise ArtifactError(
            f"{onnx.name} is not the model that {engine.name} was built from: expected {expected}, found {found}",
            hint=f"if that is meant: ifseg-rt rebuild {onnx}",
        )
    tensorrt = _tensorrt(runtime, before, machine, on_note)
    if settings is None:
        settings = settings_before(before, tensorrt, machine)
    on_note(f"building {engine.name} from {onnx.name} with {tensorrt.title} ...")
    try:
        with tempfile.TemporaryDirectory(prefix=f".{engine.name}.", dir=engine.parent) as scratch:
            draft = Path(scratch) / engine.name
            made = write_engine(
                onnx, draft, settings, tensorrt, machine=machine, progress=progress, skipped=_NOT_COMPARED
            )
            move_into_place([draft, engine_sidecar_path(draft)], engine.parent)
    except OSError as error:
        raise ExportError(f"cannot write {engine}: {error.strerror or error}") from error
    return made


def settings_before(before: EngineArtifact | None, tensorrt: TensorRt, machine: Machine) -> BuildSettings:
    """What an engine was built with, as far as this flavour and this machine have it."""
    if before is None:
        return BuildSettings()
    build, targets = before.build, before.build.compute_capabilities
    if not tensorrt.builds_without_gpu or build.runtime != tensorrt.name:
        targets = ()
    elif targets and machine.gpu is not None and machine.gpu.compute_capability not in targets:
        targets = (CURRENT,)
    level = build.hardware_compatibility
    return BuildSettings(
        compute_capabilities=targets,
        version_compatible=build.version_compatible and tensorrt.has_version_compatibility,
        hardware_compatibility=level if level in tensorrt.hardware_levels else "none",
        workspace_mb=build.workspace_mb,
    )


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
    _, engine = _places(options.model, options.output)
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


def _places(path: Path, output: Path | None) -> tuple[Path, Path]:
    """The ONNX model and the engine that are meant."""
    if path.suffix.lower() == ".onnx":
        onnx, engine = path, output or path.with_suffix(".engine")
    elif path.suffix.lower() in ENGINE_SUFFIXES:
        onnx, engine = path.with_suffix(".onnx"), output or path
    else:
        raise UsageError(
            f"{path} is neither an ONNX model nor an engine", hint="a checkpoint becomes one: python -m export.to_trt"
        )
    if engine.suffix.lower() not in ENGINE_SUFFIXES:
        raise UsageError(f"the engine must end in {', '.join(sorted(ENGINE_SUFFIXES))}, found {engine.name!r}")
    if not engine.parent.is_dir():
        raise UsageError(f"the folder {engine.parent} for the engine does not exist")
    if onnx != path and not onnx.is_file():
        onnx = _recorded_model(path, onnx)
    return onnx, engine


def _recorded_model(engine: Path, expected: Path) -> Path:
    """The ONNX model beside an engine under the name that its sidecar gives, where the engine was renamed."""
    try:
        recorded = engine.with_name(read_engine_sidecar(engine).onnx.name)
    except ArtifactError:
        recorded = expected
    if recorded.is_file():
        return recorded
    names = dict.fromkeys((expected.name, recorded.name))
    raise ArtifactError(
        f"{engine.name} cannot be built again: expected its ONNX model beside it ({' or '.join(names)}), found none",
        hint="copy model.onnx and model.json there, or name the model: ifseg-rt rebuild model.onnx -o " + str(engine),
    )


def _first_other(before: Artifact, now: Artifact) -> tuple[str, str] | None:
    """Hashes of the first file of a model (the graph, its weights) that is not what it was; names do not matter."""
    if len(before.files) != len(now.files):
        return f"{len(before.files)} files", f"{len(now.files)}"
    for then, here in zip(before.files, now.files, strict=True):
        if then.sha256 != here.sha256:
            return f"SHA-256 {then.sha256[:12]}...", f"{here.sha256[:12]}..."
    return None


def _before(engine: Path, on_note: Callable[[str], None]) -> EngineArtifact | None:
    if not engine_sidecar_path(engine).is_file():
        return None
    try:
        return read_engine_sidecar(engine)
    except ArtifactError as error:
        on_note(f"building with default settings, because the old ones cannot be trusted: {error}")
        return None


def _tensorrt(
    runtime: str | None, before: EngineArtifact | None, machine: Machine, on_note: Callable[[str], None]
) -> TensorRt:
    if runtime is not None or before is None:
        return find_tensorrt(runtime or "auto", machine=machine)
    try:
        return find_tensorrt(before.build.runtime, machine=machine)
    except DeviceError as error:
        tensorrt = find_tensorrt("auto", machine=machine)
        on_note(f"building with {tensorrt.title}: {error}")
        return tensorrt
