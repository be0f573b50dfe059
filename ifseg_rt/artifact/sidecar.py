"""The exported model: ``model.onnx`` and its checked sidecar ``model.json``.

The sidecar says everything the run time has to know (categories, pre-processing as data, shapes, refinement settings)
and everything that proves the two files belong together (sizes, SHA-256, and a seal over the sidecar itself).
The engine knows nothing else about the model: any network that fills this contract runs.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from ifseg_rt.artifact.content import ModelContent, hash_file, model_content, read_graph
from ifseg_rt.artifact.file_kinds import CHECKPOINT_SUFFIXES, ENGINE_SUFFIXES
from ifseg_rt.artifact.plain_file import is_file
from ifseg_rt.artifact.schema import (
    KIND,
    OLDEST_SCHEMA_VERSION,
    OPEN_AXIS,
    SCHEMA_VERSION,
    Artifact,
    CategoryRecord,
    FileRecord,
    Parity,
    Preprocess,
    Refinement,
    TensorSpec,
    contradictions,
)
from ifseg_rt.artifact.sealed_json import SealedFormat
from ifseg_rt.errors import ArtifactError

__all__ = [
    "KIND",
    "OPEN_AXIS",
    "SCHEMA_VERSION",
    "Artifact",
    "CategoryRecord",
    "FileRecord",
    "OpenedArtifact",
    "Parity",
    "Preprocess",
    "Refinement",
    "TensorSpec",
    "file_difference",
    "file_record",
    "file_sha256",
    "open_artifact",
    "read_artifact",
    "sidecar_path",
    "write_artifact",
]

_FORM = SealedFormat(Artifact, KIND, OLDEST_SCHEMA_VERSION, SCHEMA_VERSION, "a model", "export", contradictions)
_EXPORT_AGAIN = "export it again: python -m export.to_onnx ckpt.pt -o {name}"


def sidecar_path(model_path: str | Path) -> Path:
    """The sidecar of a model: the same path with the suffix ``.json``."""
    return Path(model_path).with_suffix(".json")


def file_record(path: str | Path) -> FileRecord:
    """Measure a file for the sidecar: plain name, size in bytes, SHA-256."""
    path = Path(path)
    return FileRecord(name=path.name, bytes=path.stat().st_size, sha256=file_sha256(path))


@dataclass(frozen=True)
class OpenedArtifact:
    """A verified model: what its sidecar says, and the bytes that were verified."""

    artifact: Artifact
    content: ModelContent


def read_artifact(model_path: str | Path) -> Artifact:
    """What the sidecar of a verified model says; see :func:`open_artifact`.

    Raises:
        ArtifactError: as there.
    """
    return open_artifact(model_path).artifact


def open_artifact(model_path: str | Path) -> OpenedArtifact:
    """Read and verify the artifact of ``model.onnx``; its sidecar is ``model.json`` beside it.

    Raises:
        ArtifactError: the model or the sidecar is missing, foreign, of another schema version, edited or truncated, or
            the model refers to files that the sidecar does not list. The message says what was expected and what was
            found.
    """
    model = Path(model_path)
    _refuse_other_formats(model)
    if not is_file(model):
        raise ArtifactError(f"there is no model file {model}", hint=_EXPORT_AGAIN.format(name=model.name))
    sidecar, again = sidecar_path(model), _EXPORT_AGAIN.format(name=model.name)

    def absent() -> ArtifactError:
        return ArtifactError(
            f"{model} has no sidecar: expected {sidecar.name} beside it, found none",
            hint=f"copy {sidecar.name} together with {model.name}, or {again}",
        )

    artifact = _FORM.read(sidecar, again, absent)
    return OpenedArtifact(artifact, _verified(artifact, model, again))


def write_artifact(artifact: Artifact, sidecar: str | Path) -> Artifact:
    """Seal ``artifact``, write it to ``sidecar`` in one atomic step and return the sealed copy.

    What is written is of the latest schema version, whichever it was read from.

    Raises:
        ArtifactError: the fields contradict each other; nothing is written.
    """
    return _FORM.write(artifact, Path(sidecar))


def _refuse_other_formats(model: Path) -> None:
    suffix = model.suffix.lower()
    if suffix == ".onnx":
        return
    if suffix in ENGINE_SUFFIXES:
        twin = model.with_suffix(".onnx")
        beside = f"use {twin}" if is_file(twin) else "use the .onnx file it was built from"
        raise ArtifactError(f"{model} is an engine; expected the .onnx model", hint=beside)
    if suffix in CHECKPOINT_SUFFIXES:
        raise ArtifactError(
            f"{model} is a checkpoint; the run time expects an exported .onnx model",
            hint=f"export it first: python -m export.to_onnx {model} -o {model.with_suffix('.onnx').name}",
        )
    if suffix == ".json":
        raise ArtifactError(
            f"{model} is a sidecar; expected the model beside it", hint=f"use {model.with_suffix('.onnx')}"
        )
    raise ArtifactError(f"{model} is not a model this build can run: expected a file ending in .onnx or .engine")


def _verified(artifact: Artifact, model: Path, again: str) -> ModelContent:
    # The first record is the model itself, proven by its hash: both files may be renamed together.
    first, *rest = artifact.files
    path = model
    try:
        graph, identity, difference = read_graph(model, first)
        files = [(model, identity)]
        for record in rest if difference is None else ():
            path = model.parent / record.name
            identity, difference = hash_file(path, record)
            files.append((path, identity))
            if difference is not None:
                break
    except FileNotFoundError:
        raise ArtifactError(
            f"{path} is missing: {sidecar_path(model).name} lists it as part of the model", hint=again
        ) from None
    except OSError as error:
        raise ArtifactError(f"cannot read {path}: {error.strerror}") from error
    if difference is not None:
        raise ArtifactError(
            f"{path} is not the file its sidecar describes: {difference}",
            hint=f"copy {path.name} and {sidecar_path(model).name} again as a pair, or {again}",
        )
    return model_content(model, graph, tuple(files), again)


def file_difference(path: Path, record: FileRecord) -> str | None:
    """What of a file is not as recorded, its size before its content; ``None`` where it is the one.

    Raises:
        OSError: it cannot be read.
    """
    return hash_file(path, record)[1]


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
