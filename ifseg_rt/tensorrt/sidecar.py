"""Reads, verifies and writes an engine's sidecar ``model.engine.json``."""

from __future__ import annotations

from pathlib import Path

import msgspec

from ifseg_rt.artifact.file_kinds import identify
from ifseg_rt.artifact.schema import FileRecord
from ifseg_rt.artifact.sealed_json import SealedFormat
from ifseg_rt.artifact.sidecar import file_difference
from ifseg_rt.errors import ArtifactError
from ifseg_rt.tensorrt.schema import (
    ENGINE_KIND,
    ENGINE_SCHEMA_VERSION,
    OLDEST_ENGINE_SCHEMA_VERSION,
    EngineArtifact,
    EngineBuild,
    EngineParity,
    engine_contradictions,
    engine_outputs,
)

__all__ = [
    "ENGINE_KIND",
    "ENGINE_SCHEMA_VERSION",
    "EngineArtifact",
    "EngineBuild",
    "EngineParity",
    "engine_outputs",
    "engine_sidecar_path",
    "read_engine",
    "read_engine_sidecar",
    "rebuild_hint",
    "write_engine_sidecar",
]

_FORM = SealedFormat(
    EngineArtifact,
    ENGINE_KIND,
    OLDEST_ENGINE_SCHEMA_VERSION,
    ENGINE_SCHEMA_VERSION,
    "an engine",
    "build",
    engine_contradictions,
)


def engine_sidecar_path(engine: str | Path) -> Path:
    """The sidecar of an engine: its whole name with ``.json`` added, since ``model.json`` is the ONNX model's."""
    engine = Path(engine)
    return engine.with_name(engine.name + ".json")


def rebuild_hint(engine: str | Path) -> str:
    """How to make an engine again: from the ONNX model beside it, or from the checkpoint."""
    engine = Path(engine)
    twin = engine.with_suffix(".onnx")
    model = twin.name if not twin.is_file() else twin
    return f"build it here: ifseg-rt rebuild {model} (or python -m export.to_trt {model})"


def read_engine(path: str | Path) -> EngineArtifact:
    """Read and verify an engine's sidecar, and that the engine is the file it describes.

    Raises:
        ArtifactError: engine or sidecar is missing, renamed alone, foreign, of another schema version, edited or
            truncated. The message says what was expected and what was found.
    """
    path = Path(path)
    _require_engine(path)
    engine = read_engine_sidecar(path)
    _check_file(path, engine)
    return engine


def read_engine_sidecar(path: str | Path) -> EngineArtifact:
    """Read and verify the sidecar alone, for an engine that may be missing or unfit.

    Raises:
        ArtifactError: it is missing, foreign, of another schema version or edited.
    """
    path = Path(path)
    sidecar = engine_sidecar_path(path)
    return _FORM.read(sidecar, rebuild_hint(path), lambda: _no_sidecar(path, sidecar))


def write_engine_sidecar(engine: EngineArtifact, sidecar: str | Path) -> EngineArtifact:
    """Seal ``engine``, write it to ``sidecar`` in one atomic step and return the sealed copy.

    Raises:
        ArtifactError: the fields contradict each other; nothing is written.
    """
    return _FORM.write(engine, Path(sidecar))


def _require_engine(path: Path) -> None:
    if not path.is_file():
        raise ArtifactError(f"there is no engine {path}", hint=rebuild_hint(path))
    kind = identify(path)
    if kind.known and not kind.is_engine and not engine_sidecar_path(path).is_file():
        raise ArtifactError(
            f"{path} is {kind.title}, not an engine",
            hint=f"give it its own suffix again: {kind.suffix}" if kind.suffix else rebuild_hint(path),
        )


def _no_sidecar(path: Path, expected: Path) -> ArtifactError:
    """Names the sidecar that an engine had before it was renamed, where it lies in the same folder."""
    for other in sorted(path.parent.glob("*.json")) if path.is_file() else ():
        try:
            record = msgspec.json.decode(other.read_bytes(), type=_EngineRecord).engine
        except (OSError, msgspec.DecodeError):
            continue
        if file_difference(path, record) is None:
            return ArtifactError(
                f"{path.name} is the engine that {other.name} describes, under another name: its sidecar has to be "
                f"{expected.name}",
                hint=f"rename both together: {other.name} to {expected.name}",
            )
    return ArtifactError(
        f"{path} has no sidecar: expected {expected.name} beside it, found none",
        hint=f"copy {expected.name} together with {path.name}, or {rebuild_hint(path)}",
    )


class _EngineRecord(msgspec.Struct):
    engine: FileRecord


def _check_file(path: Path, engine: EngineArtifact) -> None:
    record = engine.engine
    try:
        difference = file_difference(path, record)
        incomplete = path.stat().st_size < record.bytes
    except OSError as error:
        raise ArtifactError(f"cannot read {path}: {error.strerror}") from error
    if difference is None:
        return
    kind = identify(path)
    described = "an engine of TensorRT-RTX" if engine.build.runtime == "tensorrt_rtx" else "an engine of TensorRT"
    if kind.known and kind.runtime != engine.build.runtime:
        difference = f"it is {kind.title}, expected {described}"
    elif incomplete:
        difference += " (the copy is not complete)"
    raise ArtifactError(
        f"{path} is not the engine its sidecar describes: {difference}",
        hint=f"copy {path.name} and {engine_sidecar_path(path).name} again as a pair, or {rebuild_hint(path)}",
    )
