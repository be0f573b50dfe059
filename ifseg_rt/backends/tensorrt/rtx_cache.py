"""Keeps what TensorRT-RTX compiled for this GPU, so that opening an engine again takes moments."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ifseg_rt.cache import file_lock, replace_file, seal, unseal, usable_folder

if TYPE_CHECKING:
    from filelock import FileLock

    from ifseg_rt.tensorrt.loading import CheckedEngine

_LOG = logging.getLogger(__name__)
_KEPT = 32  # files per version and device: the oldest go


def cache_file(checked: CheckedEngine) -> Path:
    """Where the compiled kernels of one engine lie, for one version of TensorRT-RTX on one kind of GPU."""
    gpu = checked.machine.gpu
    device = "unknown" if gpu is None else f"{gpu.name}-sm{gpu.compute_capability}"
    folder = f"{checked.tensorrt.name}-{checked.tensorrt.version}-{device}"
    name = re.sub(r"[^A-Za-z0-9.]+", "-", folder).strip("-")
    return usable_folder("compiled") / name / f"{checked.artifact.engine.sha256[:32]}.bin"


def open_cache(config: Any, path: Path) -> tuple[Any, bytes]:  # noqa: ANN401 - an IRuntimeConfig, an IRuntimeCache
    """A cache filled with what is known. One that cannot be read or that TensorRT-RTX refuses costs time, nothing else.

    Returns:
        The cache, or ``None`` where none can be made; and the bytes that it was filled with.
    """
    cache = config.create_runtime_cache()
    if cache is None:
        _LOG.debug("TensorRT-RTX gives no runtime cache")
        return None, b""
    known = _known(path)
    if known and not cache.deserialize(known):
        _LOG.debug("the runtime cache %s is of another driver or version; starting an empty one", path)
        known = b""
    return cache, known


def store(cache: Any, path: Path, known: bytes) -> bytes:  # noqa: ANN401
    """Writes what was compiled, unless the file has it already. Failing costs time at the next start, nothing else.

    Returns:
        What the file holds now, as far as known.
    """
    try:
        serialised = cache.serialize()
        content = b"" if serialised is None else bytes(memoryview(serialised))
        if content and content != known:
            with _lock(path):
                replace_file(path, seal(content))
                _forget_oldest(path.parent)
            return content
    except (OSError, RuntimeError) as error:  # the second is what the bindings raise
        _LOG.debug("the runtime cache %s cannot be kept: %s", path, error)
    return known


def _known(path: Path) -> bytes:
    """What was stored, if it is whole: machine code that was cut short or damaged must not reach the driver."""
    try:
        with _lock(path):
            stored = path.read_bytes() if path.is_file() else None
    except OSError as error:
        _LOG.debug("the runtime cache %s cannot be read: %s", path, error)
        return b""
    content = None if stored is None else unseal(stored)
    if stored is not None and content is None:
        _LOG.warning("the runtime cache %s is damaged and is made again", path)
    return content or b""


def _forget_oldest(folder: Path) -> None:
    files = sorted(folder.glob("*.bin"), key=lambda file: file.stat().st_mtime, reverse=True)
    for file in files[_KEPT:]:
        file.unlink(missing_ok=True)


def _lock(path: Path) -> FileLock:
    """One lock per folder; ``filelock.Timeout`` is an ``OSError`` too."""
    return file_lock(path.parent / "lock")
