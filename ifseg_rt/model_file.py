"""What a path names: an exported model or an engine, verified, with everything its sidecar says."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ifseg_rt.artifact.file_kinds import ENGINE_SUFFIXES
from ifseg_rt.artifact.sidecar import Artifact, open_artifact
from ifseg_rt.errors import ArtifactError, UsageError

if TYPE_CHECKING:
    from ifseg_rt.artifact.content import ModelContent
    from ifseg_rt.machine import Machine
    from ifseg_rt.tensorrt.building.progress import BuildProgress
    from ifseg_rt.tensorrt.loading import CheckedEngine

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModelFile:
    """A verified model.

    Attributes:
        path: the ``.onnx`` or engine file.
        artifact: categories, pre-processing, shapes for one picture per call.
        engine: for an engine: its own sidecar, and the TensorRT here that it fits.
        content: for an ``.onnx`` model: the bytes that were verified.
    """

    path: Path
    artifact: Artifact
    engine: CheckedEngine | None = None
    content: ModelContent | None = None


def is_engine(path: Path) -> bool:
    """Whether a path names an engine of TensorRT, by its suffix."""
    return path.suffix.lower() in ENGINE_SUFFIXES


def read_model(path: Path, *, rebuild: bool = False, machine: Machine | None = None, gpu: int = 0) -> ModelFile:
    """Read and verify the model at ``path``, its suffix says which kind.

    Args:
        path: ``.onnx``, or ``.engine``, ``.plan`` or ``.trt``.
        rebuild: build an engine that is missing, damaged or made for another machine again, from the ONNX model beside
            it; one that fits is left alone.
        machine: facts for engines; ``None`` looks at this machine.
        gpu: number of the GPU to look at, which an engine must fit.

    Raises:
        ArtifactError: the model or its sidecar is missing, foreign, edited, unfit for this machine, or made for
            batches.
        DeviceError: an engine, and no GPU or no TensorRT for it.
        UsageError: ``rebuild`` of a model that is not an engine.
    """
    if rebuild or is_engine(path):
        engine = refit_engine(path, machine=machine, gpu=gpu) if rebuild else _checked(path, machine, gpu)
        model = ModelFile(path, engine.artifact.model, engine)
    else:
        opened = open_artifact(path)
        model = ModelFile(path, opened.artifact, content=opened.content)
    if not model.artifact.takes_single_frames:
        least, most = model.artifact.smallest_batch, model.artifact.batch
        raise ArtifactError(
            f"{path} was exported for batches of {most if least is None else f'{least} to {most}'} frames; "
            "expected single frames",
            hint=f"export it again with --batch 1, or 1..{most} for both",
        )
    return replace(model, artifact=model.artifact.for_single_frames())


def _checked(path: Path, machine: Machine | None, gpu: int) -> CheckedEngine:
    from ifseg_rt.machine import this_machine
    from ifseg_rt.tensorrt.loading import check_engine

    return check_engine(path, machine=machine or this_machine(gpu))


def refit_engine(
    path: Path,
    *,
    machine: Machine | None = None,
    gpu: int = 0,
    progress: BuildProgress | None = None,
    on_note: Callable[[str], None] = _LOG.info,
) -> CheckedEngine:
    """An engine that fits this machine, built again where the one there does not.

    Args:
        path: the engine, its ONNX model beside it.
        machine: facts; ``None`` looks at this machine.
        gpu: number of the GPU to look at and to build on.
        progress: told of the builder's phases.
        on_note: told why it is built, and what is decided on the way.

    Raises:
        UsageError: the path names no engine.
        DeviceError: there is no GPU, or no TensorRT.
        ArtifactError, ExportError: the ONNX model is missing or damaged, or the build failed.
    """
    from ifseg_rt.machine import this_machine
    from ifseg_rt.tensorrt.building.rebuild import rebuild_engine
    from ifseg_rt.tensorrt.compatibility import require_gpu

    if not is_engine(path):
        raise UsageError(
            f"only engines are rebuilt; {path} is not one", hint="build one from it: ifseg-rt rebuild model.onnx"
        )
    machine = machine or this_machine(gpu)
    require_gpu(path, machine)  # before minutes of building something that cannot run here
    try:
        return _checked(path, machine, gpu)
    except ArtifactError as error:
        on_note(f"building {path.name} again: {error}")
    rebuild_engine(path, machine=machine, progress=progress, on_note=on_note)
    return _checked(path, machine, gpu)
