"""What a file is, by its suffix and its first bytes: engines of other flavours are told apart, whatever their name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ENGINE_SUFFIXES = frozenset({".engine", ".plan", ".trt"})
CHECKPOINT_SUFFIXES = frozenset({".pt", ".pth", ".bin", ".safetensors"})


@dataclass(frozen=True)
class FileKind:
    """Nature of a file.

    Attributes:
        title: for messages, with its article.
        runtime: flavour of TensorRT whose engine it is, or ``None``.
        suffix: what such files are called, where that helps.
        known: whether the first bytes say anything at all.
    """

    title: str
    runtime: str | None = None
    suffix: str | None = None
    known: bool = True

    @property
    def is_engine(self) -> bool:
        """Whether a TensorRT made it."""
        return self.runtime is not None


_UNKNOWN = FileKind("a file of an unknown kind", known=False)
# TensorRT-RTX plans begin with "vtrt" (seen with 1.7); those of full TensorRT with "ftrt", older ones with "ptrt".
_MAGICS = (
    (b"vtrt", FileKind("an engine of TensorRT-RTX", "tensorrt_rtx")),
    (b"ftrt", FileKind("an engine of TensorRT", "tensorrt")),
    (b"ptrt", FileKind("an engine of TensorRT", "tensorrt")),
    (b"PK\x03\x04", FileKind("a checkpoint or another zip file", suffix=".pt")),
    (b"version https://git-lfs", FileKind("a placeholder of Git LFS, not the file itself")),
    (b"\x08", FileKind("an ONNX model", suffix=".onnx")),  # field 1 of ModelProto, its IR version
    (b"{", FileKind("a JSON file", suffix=".json")),
)


def identify(path: Path) -> FileKind:
    """What ``path`` is; unreadable files count as unknown."""
    head = _head(path)
    if not head:
        return FileKind("an empty file")
    return next((kind for magic, kind in _MAGICS if head.startswith(magic)), _UNKNOWN)


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(64)
    except OSError:
        return b""
