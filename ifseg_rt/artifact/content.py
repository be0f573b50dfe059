"""The bytes of a model as they were verified: what is loaded is what was hashed, whatever happens to its files."""

from __future__ import annotations

import errno
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from ifseg_rt.artifact.graph_file import LARGEST_GRAPH, GraphOutline, NoGraphError, outline
from ifseg_rt.artifact.plain_file import FileIdentity, open_plain
from ifseg_rt.artifact.schema import FileRecord
from ifseg_rt.errors import ArtifactError

_CHUNK = 1 << 20
# Operators that hold machine code, or name a file of it, instead of a network.
_CODE = frozenset({"EPContext"})


@dataclass(frozen=True)
class ModelContent:
    """A verified model, in memory but for weights in files of their own.

    Attributes:
        path: the ``.onnx`` file.
        graph: its bytes, which the hash in the sidecar is of.
        outline: what it says about itself.
        weights: its files, as they were when they were hashed, where some weights are in files of their own. Those are
            mapped rather than read: in memory they would double what opening ``base`` takes (532 MB).
    """

    path: Path
    graph: bytes
    outline: GraphOutline
    weights: tuple[tuple[Path, FileIdentity], ...] = ()

    def require_unchanged(self) -> None:
        """Make sure that the files that a run time has opened by their names are those that were hashed.

        Raises:
            ArtifactError: one was replaced or written to since.
        """
        for path, identity in self.weights:
            try:
                now = FileIdentity.of(path.stat())
            except OSError:
                now = None
            if now != identity:
                raise ArtifactError(
                    f"{path} was changed while the model was being opened",
                    hint="open it again when nothing writes there",
                )


def read_graph(path: Path, record: FileRecord) -> tuple[bytes, FileIdentity, str | None]:
    """The bytes of a graph, which file it is, and what of it is not as recorded.

    Raises:
        OSError: it cannot be read, or is larger than an ONNX graph can be.
    """
    if record.bytes > LARGEST_GRAPH:
        raise OSError(errno.EFBIG, "a graph has at most 2 GiB")
    return read_bytes(path, record)


def read_bytes(path: Path, record: FileRecord) -> tuple[bytes, FileIdentity, str | None]:
    """The bytes of a file, which one it is, and what of it is not as recorded.

    Raises:
        OSError: it cannot be read.
    """
    with open_plain(path) as (file, identity):
        if identity.bytes != record.bytes:
            return b"", identity, _sizes(record.bytes, identity.bytes)
        data = file.read(record.bytes + 1)
    if len(data) != record.bytes:
        return b"", identity, _sizes(record.bytes, len(data))
    return data, identity, _digests(record, hashlib.sha256(data).hexdigest())


def hash_file(path: Path, record: FileRecord) -> tuple[FileIdentity, str | None]:
    """Which file it is, and what of it is not as recorded, its size before its content.

    Raises:
        OSError: it cannot be read.
    """
    with open_plain(path) as (file, identity):
        if identity.bytes != record.bytes:
            return identity, _sizes(record.bytes, identity.bytes)
        digest, count = hashlib.sha256(), 0
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            count += len(chunk)
            if count > record.bytes:
                return identity, _sizes(record.bytes, count)
        after = FileIdentity.of(os.fstat(file.fileno()))
    return after, _digests(record, digest.hexdigest())


def model_content(path: Path, graph: bytes, files: tuple[tuple[Path, FileIdentity], ...], again: str) -> ModelContent:
    """A verified model whose graph refers to nothing but the files that were verified with it.

    Args:
        path: the ``.onnx`` file.
        graph: its bytes.
        files: the graph and the model's other files.
        again: how to make the model again.

    Raises:
        ArtifactError: it is no ONNX graph, refers to a file that the sidecar does not list, or holds machine code.
    """
    others = files[1:]
    try:
        found = outline(graph)
    except NoGraphError as error:
        raise ArtifactError(f"{path} is no ONNX model: {error}", hint=again) from None
    listed = {other.name for other, _ in others}
    for name in sorted(found.external - listed):
        raise ArtifactError(
            f"{path} takes weights from the file {name[:80]!r}, which its sidecar does not list: nothing says what is "
            "in it",
            hint=again,
        )
    for name in sorted(found.operators & _CODE):
        raise ArtifactError(f"{path} holds machine code (the operator {name}), expected a network", hint=again)
    return ModelContent(path, graph, found, files if others else ())


def _sizes(expected: int, found: int) -> str:
    return f"expected {expected} bytes, found {found}"


def _digests(record: FileRecord, digest: str) -> str | None:
    return None if digest == record.sha256 else f"expected SHA-256 {record.sha256[:12]}..., found {digest[:12]}..."
