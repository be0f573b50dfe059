"""Reads, verifies and writes an engine's sidecar ``model.engine.json``."""

from __future__ import annotations

from pathlib import Path

import msgspec

from ifseg_rt.artifact.file_kinds import identify
from ifseg_rt.artifact.schema import FileRecord
from ifseg_rt.artifact.sealed_json import SealedFormat, write_sealed
from ifseg_rt.artifact.sidecar import file_record
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
    EngineArtifact, ENGINE_KIND, OLDEST_ENGINE_SCHEMA_VERSION, ENGINE_SCHEMA_VERSION, "an engine", "build"
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
    sidecar, again = engine_sidecar_path(path), rebuild_hint(path)
    try:
        raw = sidecar.read_bytes()
    except FileNotFoundError:
        raise _no_sidecar(path, sidecar) from None
    except OSError as error:
        raise ArtifactError(f"cannot read the sidecar {sidecar}: {error.strerror}") from error
    engine = _FORM.decode(raw, sidecar, again)
    _check_meaning(engine, sidecar)
    return engine


def write_engine_sidecar(engine: EngineArtifact, sidecar: str | Path) -> EngineArtifact:
    """Seal ``engine``, write it to ``sidecar`` in one atomic step and return the sealed copy.

    Raises:
        ArtifactError: the fields contradict each other; nothing is written.
    """
    sidecar = Path(sidecar)
    engine = msgspec.structs.replace(engine, schema_version=ENGINE_SCHEMA_VERSION)
    _check_meaning(engine, sidecar)
    return write_sealed(engine, sidecar)


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
        if record.bytes == path.stat().st_size and record.sha256 == file_record(path).sha256:
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


def _check_meaning(engine: EngineArtifact, sidecar: Path) -> None:
    problem = next(iter(engine_contradictions(engine)), None)
    if problem is not None:
        raise ArtifactError(f"{sidecar} contradicts itself: {problem}")


def _check_file(path: Path, engine: EngineArtifact) -> None:
    record = engine.engine
    kind = identify(path)
    described = "an engine of TensorRT-RTX" if engine.build.runtime == "tensorrt_rtx" else "an engine of TensorRT"
    other = kind.known and kind.runtime != engine.build.runtime
    nature = f": it is {kind.title}, expected {described}" if other else ""
    hint = f"copy {path.name} and {engine_sidecar_path(path).name} again as a pair, or {rebuild_hint(path)}"
    size = path.stat().st_size
    if size != record.bytes:
        how = nature or f": expected {record.bytes} bytes, found {size}" + (
            " (the copy is not complete)" if size < record.bytes else ""
        )
        raise ArtifactError(f"{path} is not the engine its sidecar describes{how}", hint=hint)
    try:
        digest = file_record(path).sha256
    except OSError as error:
        raise ArtifactError(f"cannot read {path}: {error.strerror}") from error
    if digest != record.sha256:
        raise ArtifactError(
            f"{path} is not the engine its sidecar describes"
            + (nature or f": expected SHA-256 {record.sha256[:12]}..., found {digest[:12]}..."),
            hint=hint,
        )
