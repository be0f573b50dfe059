"""Builds an engine and writes it with its sidecar."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ifseg_rt.artifact.sidecar import file_record, open_artifact
from ifseg_rt.cache import file_lock, usable_folder
from ifseg_rt.machine import Machine
from ifseg_rt.tensorrt.building.build import build_engine
from ifseg_rt.tensorrt.building.progress import BuildProgress
from ifseg_rt.tensorrt.building.settings import BuildSettings
from ifseg_rt.tensorrt.installed import TensorRt
from ifseg_rt.tensorrt.schema import ENGINE_SCHEMA_VERSION, EngineArtifact, EngineParity
from ifseg_rt.tensorrt.sidecar import engine_sidecar_path, write_engine_sidecar


def write_engine(
    onnx_path: Path,
    target: Path,
    settings: BuildSettings,
    tensorrt: TensorRt,
    *,
    machine: Machine | None = None,
    progress: BuildProgress | None = None,
    skipped: str = "it was not compared",
) -> EngineArtifact:
    """Builds ``target`` and its sidecar from a verified model. Not atomic: ``target`` should lie in a scratch folder.

    Args:
        onnx_path: the ONNX model; its sidecar lies beside it.
        target: the engine file to write.
        settings: what is wished.
        tensorrt: the one that builds.
        machine: facts of this machine; ``None`` to find them out.
        progress: told of the builder's phases.
        skipped: recorded as the reason why the engine was not compared with the model.

    Raises:
        IfsegError: the model is damaged, the wishes do not fit, or the build failed; see :func:`build_engine`.
        OSError: ``target`` cannot be written.
        KeyboardInterrupt: interrupted.
    """
    opened = open_artifact(onnx_path)
    model = opened.artifact
    built = build_engine(
        onnx_path, model, settings, tensorrt, machine=machine, progress=progress, content=opened.content
    )
    with target.open("wb") as file:
        file.write(built.data)
    engine = EngineArtifact(
        schema_version=ENGINE_SCHEMA_VERSION,
        kind="ifseg-rt-engine",
        engine=file_record(target),
        onnx=model.files[0],
        model=model,
        build=built.build,
        parity=EngineParity(skipped=skipped),
    )
    return write_engine_sidecar(engine, engine_sidecar_path(target))


def move_into_place(drafts: Sequence[Path], folder: Path) -> None:
    """Moves finished files into ``folder`` in this order, a sidecar after what it describes.

    Until a sidecar arrives, a reader is refused by its hashes and never sees a wrong pair. The lock keeps two processes
    that make the same engine from leaving the engine of one with the sidecar of the other.

    Raises:
        OSError: a file cannot be moved.
    """
    lock = None
    try:
        lock = file_lock(usable_folder("timing") / "move-into-place.lock")
        lock.acquire()
    except OSError:
        lock = None  # a cache folder that cannot be written is no reason to fail
    try:
        for draft in drafts:
            draft.replace(folder / draft.name)
    finally:
        if lock is not None:
            lock.release()
