"""Makes an engine again on the machine at hand, from its ONNX model: no torch, no onnx, no checkpoint.

``ifseg-rt rebuild`` calls this. What the engine was built with before is taken from its sidecar, also where the engine
itself is missing or unfit; only what cannot apply here is changed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from ifseg_rt.artifact.file_kinds import ENGINE_SUFFIXES
from ifseg_rt.artifact.plain_file import is_file
from ifseg_rt.artifact.sidecar import Artifact, read_artifact
from ifseg_rt.errors import ArtifactError, DeviceError, IfsegError, UsageError
from ifseg_rt.machine import Machine, this_machine
from ifseg_rt.tensorrt.building.progress import BuildProgress
from ifseg_rt.tensorrt.building.settings import CURRENT, BuildSettings
from ifseg_rt.tensorrt.building.write import move_into_place, write_engine
from ifseg_rt.tensorrt.installed import TensorRt, find_tensorrt
from ifseg_rt.tensorrt.schema import EngineArtifact
from ifseg_rt.tensorrt.sidecar import engine_sidecar_path, read_engine_sidecar

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
        UsageError: settings that do not fit this TensorRT, or an invalid path.
        ExportError: the build failed.
        IfsegError: the disk is full, or the place cannot be written to.
    """
    path, machine = Path(path), machine or this_machine()
    onnx, engine = model_and_engine(path, output)
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
        with tempfile.TemporaryDirectory(prefix=f".{engine.name[:80]}.", dir=engine.parent) as scratch:
            draft = Path(scratch) / engine.name
            made = write_engine(
                onnx, draft, settings, tensorrt, machine=machine, progress=progress, skipped=_NOT_COMPARED
            )
            move_into_place([draft, engine_sidecar_path(draft)], engine.parent)
    except OSError as error:
        raise IfsegError(
            f"cannot write {engine}: {error.strerror or error}",
            hint="nothing was written; make room there, or name another place: -o PATH",
        ) from error
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


def model_and_engine(path: Path, output: Path | None) -> tuple[Path, Path]:
    """The ONNX model and the engine that are meant.

    Args:
        path: the ONNX model or the engine.
        output: the engine to write, where it is not the one beside the model.

    Raises:
        UsageError: an invalid path.
        ArtifactError: the engine's ONNX model is not beside it.
    """
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
    try:
        if not engine.parent.is_dir():
            raise UsageError(f"the folder {engine.parent} for the engine does not exist")
        for place in (engine, engine_sidecar_path(engine)):
            if place.is_symlink():
                raise UsageError(f"{place} is a link; expected a file to write, or nothing")
            if place.exists() and not place.is_file():
                raise UsageError(f"{place} is no file; expected the name of a file to write")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UsageError(f"the engine cannot be {engine}: {reason}") from None
    if onnx != path and not is_file(onnx):
        onnx = _recorded_model(path, onnx)
    return onnx, engine


def _recorded_model(engine: Path, expected: Path) -> Path:
    """The ONNX model beside an engine under the name that its sidecar gives, where the engine was renamed."""
    try:
        recorded = engine.with_name(read_engine_sidecar(engine).onnx.name)
    except ArtifactError:
        recorded = expected
    if is_file(recorded):
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
    if not is_file(engine_sidecar_path(engine)):
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
