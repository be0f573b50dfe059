"""The user's cache folder: one place, one lock, one atomic replace for everything that is kept between runs."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from filelock import FileLock

CACHE_VARIABLE = "IFSEG_RT_CACHE"
_WAIT = 60.0  # seconds; what is done under a lock takes milliseconds


def cache_folder(room: str) -> Path:
    """The folder for one kind of content, which need not exist: below ``IFSEG_RT_CACHE`` or the system's cache folder.

    Args:
        room: ``"models"``, ``"kernels"``, ``"timing"``, ``"compiled"`` or ``"onnxruntime-tensorrt"``.
    """
    import platformdirs

    chosen = os.environ.get(CACHE_VARIABLE)
    return (Path(chosen) if chosen else platformdirs.user_cache_path("ifseg-rt")) / room


def file_lock(path: Path, *, wait: float | None = None) -> FileLock:
    """A lock between processes, itself the file ``path``, whose folder is made; taken with ``with``.

    Args:
        path: the lock file.
        wait: seconds until ``filelock.Timeout``, an ``OSError``, is raised by taking it; ``None`` for a minute, below
            0 for no limit.

    Raises:
        OSError: the folder cannot be made.
    """
    from filelock import FileLock

    path.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(path, timeout=_WAIT if wait is None else wait)


def replace_file(path: Path, content: bytes) -> None:
    """Write ``content`` beside ``path`` and put it in place in one step: a reader sees the old file or the new one.

    Raises:
        OSError: the file system refuses; ``path`` is as it was, and nothing is left beside it.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
